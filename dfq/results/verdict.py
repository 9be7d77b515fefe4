"""The verdict, in sentences: how much of a network is on integers, why the rest is not, and what would change it.

Terminal, page and report begin with it. It is made from the content of `report.json` (`coverage`, `float_file`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from dfq.errors import DfqError
from dfq.results.settings import VerdictSettings
from dfq.student.coverage import (
    COMPUTED_WEIGHT,
    MATRIX_PER_POSITION,
    NO_KERNEL,
    NOT_QUANTIZED,
    NOT_RECOGNISED,
    NOT_WRITTEN,
)
from dfq.student.placement_graph import FEW_PRODUCTS, ONE_POSITION

MAX_NAMES = 8  # A sentence names at most this many layers.
BY_CHOICE = "--layer-bits NAME=8 puts such a layer on integers; another --target, such as openvino, does so for all"
DEPLOY = "--scheme deploy quantizes it"
WAYS_OUT = {
    ONE_POSITION: BY_CHOICE,
    FEW_PRODUCTS: BY_CHOICE,
    NO_KERNEL: "only a layer of another kind would change that",
    COMPUTED_WEIGHT: "only a weight that is stored would change that",
    MATRIX_PER_POSITION: "only one weight for all positions would change that",
    NOT_RECOGNISED: "they would be recognised if they were written as nn.Conv2d or nn.Linear; please report them",
    NOT_QUANTIZED: DEPLOY,
    NOT_WRITTEN: DEPLOY,
}
SHORT = {
    ONE_POSITION: "pooled in float",
    FEW_PRODUCTS: "few products",
    NO_KERNEL: "no kernel",
    COMPUTED_WEIGHT: "weight computed",
    MATRIX_PER_POSITION: "per position",
    NOT_RECOGNISED: "not recognised",
    NOT_QUANTIZED: "input in float",
    NOT_WRITTEN: "output in float",
}


@dataclass(frozen=True)
class Sentence:
    """One line of the verdict.

    Attributes:
        text: The sentence.
        is_loud: Whether it must not be overlooked.
    """

    text: str
    is_loud: bool = False


def share(fraction: float) -> str:
    """Returns a percentage with one decimal, rounded down: what is below a limit must not read as if it met it."""
    return f"{floor(round(1000 * fraction, 6)) / 10:.1f} %"


def small_share(fraction: float) -> str:
    """Returns a percentage with one decimal; what would be rounded to 0.0 % becomes "<0.1 %"."""
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else "<0.1 %"


def is_low(coverage: Mapping, min_share: float) -> bool:
    return coverage["share_of_macs"] < min_share


def verdict(
    coverage: Mapping | None,
    float_file: Mapping | None = None,
    *,
    settings: VerdictSettings = VerdictSettings(),
) -> list[Sentence]:
    """Returns the sentences, the most important one first.

    Args:
        coverage: What `dfq.student.coverage.Coverage.to_dict` returned; None: the report is older than this entry, and
            there is no verdict.
        float_file: What `dfq.export.validation.float_file.compare_float_file` returned, where a file was written.
    """
    if coverage is None:
        return []
    low = is_low(coverage, settings.min_share)
    doubt = _float_file(float_file, settings.max_float_error)
    said = [Sentence(_headline(coverage, settings.min_share), low), *([Sentence(doubt, True)] if doubt else [])]
    if low:
        return said + [Sentence(f"{reason}.", False) for reason in _reasons(coverage)]
    if coverage["not_recognised"]:
        said.append(Sentence(f"Not recognised as layers, in floating point: {_names(coverage)}.", True))
    return said


def check_strict(coverage: Mapping, *, settings: VerdictSettings = VerdictSettings()) -> None:
    """Raises `DfqError` where too little is on integers, or where a layer was not recognised."""
    if not is_low(coverage, settings.min_share) and not coverage["not_recognised"]:
        return
    unknown = f", and layers that were not recognised: {_names(coverage)}" if coverage["not_recognised"] else ""
    reasons = "; ".join(_reasons(coverage))
    raise DfqError(
        f"{share(coverage['share_of_macs'])} of the multiply–accumulates on integers{unknown}",
        f"with --strict, at least {settings.min_share:.0%} of them, and every layer recognised".replace("%", " %"),
        f"leave --strict out, or change what is in floating point: {reasons}",
        exit_code=1,
    )


def _headline(coverage: Mapping, min_share: float) -> str:
    macs, weights = share(coverage["share_of_macs"]), share(coverage["share_of_weights"])
    total = sum(layer["macs"] for layer in coverage["layers"])
    products = coverage["attention_macs"] / max(total, 1)
    more = f"; {small_share(products)} more are products of two activations, in floating point" if products else ""
    start = "Only " if is_low(coverage, min_share) else ""
    expected = f", where at least {100 * min_share:.0f} % of the former are expected" if start else ""
    return f"{start}{macs} of the multiply–accumulates and {weights} of the weights are on integers{expected}{more}."


def _reasons(coverage: Mapping) -> list[str]:
    """Returns each reason with its share of the multiply–accumulates and what would change it, which is said once."""
    said, told = [], set[str]()
    for reason, part in coverage["float_shares"].items():
        names = f" ({_names(coverage)})" if reason == NOT_RECOGNISED else ""
        way_out = WAYS_OUT.get(reason, "")
        ending = "" if not way_out else " – likewise" if way_out in told else f" – {way_out}"
        told.add(way_out)
        said.append(f"{small_share(part)} in floating point: {reason}{names}{ending}")
    return said


def _names(coverage: Mapping) -> str:
    names = coverage["not_recognised"]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _float_file(found: Mapping | None, max_error: float) -> str | None:
    if found is None:
        return None
    error, images = found["relative_error"], found["images"]
    if error is not None and error <= max_error:
        return None
    apart = "are not finite" if error is None else f"differ by up to {100 * error:.2g} % of the largest one"
    return f"The float file does not compute what the network computes: its logits {apart}, on {images} images."
