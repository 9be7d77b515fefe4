"""`OutputAgreement`: how far one output of a network is from that of another, whatever the output means."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dfq.evaluation.signal_to_noise import ratio_in_db
from dfq.graph.outputs import is_whole, other_axes

# Pairs of networks: the one that is judged, and the one that is right.
PAIRS = {
    "onnx_student": ("onnx", "student"),
    "student_teacher": ("student", "teacher"),
    "onnx_teacher": ("onnx", "teacher"),
    "student_float64": ("student_float64", "student"),
}
ByPair = dict[str, dict[str, float | None]]


@dataclass(frozen=True, kw_only=True)
class OutputAgreement:
    """One output. Figures are by pair of networks (`PAIRS`) and kind of image; None where there is none.

    Attributes:
        name: Name of the output in the file.
        shape: Its shape for one image.
        snr_db: Signal-to-quantization-noise ratio in dB: 10 log₁₀(Σ y² ÷ Σ (ŷ − y)²) over all images, at most 150; y is
            the right output. None for whole numbers.
        varying_snr_db: The same where the signal is only what varies: y less its mean over images and positions, by
            channel. It is below `snr_db` where an output has a large constant part.
        same_choice: Share of positions, in [0, 1], where both choose the same: the largest channel of each pixel (for
            logits of each pixel's classes), the sign of each pixel (one channel), or the same whole number.
    """

    name: str
    shape: list[int]
    snr_db: ByPair
    varying_snr_db: ByPair
    same_choice: ByPair

    def to_dict(self) -> dict:
        return asdict(self)


def compare_outputs(
    names: Sequence[str],
    outputs: Mapping[str, Mapping[str, Sequence[np.ndarray]]],
    size: Sequence[int],
) -> list[OutputAgreement]:
    """Compares all outputs.

    Args:
        names: Names of the outputs.
        outputs: Kind of image → network ("onnx", "student", "teacher") → its outputs (N, …), as far as they were run.
        size: Size (C, H, W) of the images.
    """
    rows = []
    for place, name in enumerate(names):
        found: dict[str, ByPair] = {"snr_db": {}, "varying_snr_db": {}, "same_choice": {}}
        for pair, (judged, right) in PAIRS.items():
            for figure in found.values():
                figure[pair] = dict.fromkeys(outputs)
            for kind, networks in outputs.items():
                if judged in networks and right in networks:
                    pair_of_outputs = networks[judged][place], networks[right][place]
                    count = min(map(len, pair_of_outputs))  # of images: double precision computes only a few
                    one, other = (each[:count] for each in pair_of_outputs)
                    found["snr_db"][pair][kind] = snr_db(one, other)
                    found["varying_snr_db"][pair][kind] = snr_db(one, other, varying=True)
                    found["same_choice"][pair][kind] = same_choice(one, other, size)
        shape = next(list(each[place].shape[1:]) for networks in outputs.values() for each in networks.values())
        rows.append(OutputAgreement(name=name, shape=shape, **found))
    return rows


def snr_db(found: np.ndarray, expected: np.ndarray, *, varying: bool = False) -> float | None:
    """Returns the signal-to-noise ratio of `found` in dB; None where the outputs are whole numbers, or where
    nothing can vary because each channel has one value.

    Args:
        found: The output with noise (N, …).
        expected: The right output (N, …).
        varying: Whether the signal is what varies of each channel, and not all of it.
    """
    if is_whole(expected):
        return None
    signal = expected.astype(np.float64)
    noise = float(np.square(found - signal).sum())
    if varying:
        others = other_axes(expected.shape)
        if np.prod([expected.shape[axis] for axis in others]) < 2:
            return None
        signal = signal - signal.mean(others, keepdims=True)
    power = float(np.square(signal).sum())
    return ratio_in_db(power, noise)


def same_choice(found: np.ndarray, expected: np.ndarray, size: Sequence[int]) -> float | None:
    """Returns the share of positions where both outputs choose the same; None where nothing is chosen."""
    if is_whole(expected):
        return float((found == expected).mean())
    if not (expected.ndim == 4 and expected.shape[2:] == tuple(size[1:]) and expected.shape[1] != size[0]):
        return None
    if expected.shape[1] > 1:
        return float((found.argmax(1) == expected.argmax(1)).mean())
    signs = expected > 0
    return None if signs.all() or not signs.any() else float(((found > 0) == signs).mean())
