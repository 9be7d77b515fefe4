"""Rotates linear residual streams into bases in which few bits lose less; the network computes the same.

Between layers with nothing but additions (`dfq.post_training.rotation.linear_streams`), x may become R x for any
orthogonal R, if rows of the layers that write are mixed by R, and columns of those that read by Rᵀ. One grid serves all
channels of a map, and its step follows the widest, so R makes all channels equally wide. The eigenvectors of the
stream's second moments, mixed in equal parts, do that. Mixed weights are also closer to a Gaussian, with fewer values
far from the rest, from which per-channel grids of few bits suffer (for transformers: QuIP, Chee et al., NeurIPS 2023,
arXiv 2307.13304; QuaRot, Ashkboos et al., NeurIPS 2024, arXiv 2404.00456). It costs nothing at run time, because the
file has the rotated weights.

Deviation: those works rotate by random or Hadamard matrices. Here the directions come from (synthetic) images, and any
number of channels will do. A stream stays as it is where its readers would lose more: where narrow channels count for
much, noise that is spread over all of them is worse than noise in the wide ones.
"""

import copy

import torch
from torch import Tensor, fx, nn

from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.tensor_samples import TensorSamples
from dfq.post_training.rotation.linear_streams import LinearStream, find_linear_streams
from dfq.post_training.rotation.settings import RotationSettings
from dfq.quantizers.fake_quantize import quantize_to_integers
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import QuantSpec
from dfq.student.set_ranges import input_quantizer
from dfq.teacher import Teacher


@torch.no_grad()
def rotate_linear_streams(
    student: fx.GraphModule, teacher: Teacher, images: Tensor, *, settings: RotationSettings = RotationSettings()
) -> Teacher:
    """Rotates the student's streams in place; returns the teacher rotated alike, or as it is where none is rotated.

    The teacher computes the same as before, but for rounding in floating point. This is for a student whose ranges are
    not calibrated yet.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        teacher: Its teacher.
        images: Normalised images (N, C, H, W). They say how wide a stream is in which direction.
        settings: Settings of the rotation.
    """
    reference = copy.deepcopy(teacher.traced)
    streams = find_linear_streams(reference)
    read = {node for stream in streams for node in stream.readers.values()}
    samples = TensorSamples(
        reference,
        dict.fromkeys(read, 1),
        images[: settings.max_images],
        settings.samples,
        batch_size=settings.batch_size,
    )
    rotated = False
    for stream in streams:
        rows = {name: samples.rows(node) for name, node in stream.readers.items()}
        moments = [_moments(samples.rows(node)) for node in dict.fromkeys(stream.readers.values())]
        rotation = equalizing_rotation(torch.stack(moments).sum(0))
        if _loses_less(rotation, rows, student, settings):
            rotated = True
            for network in (student, reference):
                _apply(rotation, stream, network)
    return teacher.rewritten(reference) if rotated else teacher


def equalizing_rotation(moments: Tensor) -> Tensor:
    """Returns an orthogonal R (C, C), float32, for which all diagonal entries of R M Rᵀ are about as large.

    Eigenvectors become waves. The two largest become those of constant amplitude, and the others pairs of cosine and
    sine, whose squares add up to a constant. So each channel gets the same share of each pair.

    Args:
        moments: The matrix M (C, C), symmetric and positive semidefinite.
    """
    vectors = torch.linalg.eigh(moments.double()).eigenvectors.flip(1)  # The largest eigenvalue comes first.
    return (_waves(len(moments)).to(vectors) @ vectors.T).float()


def _waves(count: int) -> Tensor:
    """Returns the orthogonal real Fourier basis (count, count), float64, with one wave in each column."""
    place = torch.arange(count, dtype=torch.float64)
    angles = 2 * torch.pi * place[:, None] * torch.arange(1, (count + 1) // 2) / count
    pairs = torch.stack([angles.cos(), angles.sin()], 2).flatten(1) * (2 / count) ** 0.5
    flat = [torch.ones_like(place), 1 - 2 * (place % 2)][: 2 - count % 2]
    return torch.cat([torch.stack(flat, 1) / count**0.5, pairs], 1)


def _moments(rows: Tensor) -> Tensor:
    """Returns the second moments (C, C) of rows (M, C), with trace 1, so that tensors of one stream count alike."""
    moments = rows.double().T @ rows.double()
    return moments / moments.trace().clamp(min=1e-30)


def _loses_less(rotation: Tensor, rows: dict[str, Tensor], student: fx.GraphModule, settings: RotationSettings) -> bool:
    """Tells whether rounding of what the readers read costs their outputs less behind the rotation.

    Args:
        rotation: The rotation, (C, C).
        rows: What each reader reads, by name, (M, C).
        student: The student, not rotated.
        settings: Settings of the rotation.
    """
    calls, modules = matrix_calls(student), dict(student.named_modules())
    before, after = 0.0, 0.0
    for name, values in rows.items():
        quantizer = input_quantizer(calls[name], modules)
        if quantizer is not None:
            columns = _columns(student.get_submodule(name))
            kept = settings.samples_per_tensor
            before += _lost(values, columns, quantizer.spec, kept)
            after += _lost(values @ rotation.T, columns @ rotation.T, quantizer.spec, kept)
    return after <= before


def _columns(layer: nn.Module) -> Tensor:
    """Returns what a convolution makes of one position, (outputs · kernel, C)."""
    return layer.weight.detach().permute(0, 2, 3, 1).flatten(0, 2)


def _lost(values: Tensor, columns: Tensor, spec: QuantSpec, kept: int) -> float:
    """Returns the squared error of columns · values ÷ its variance once values (M, C) are on one grid.

    The grid is fitted to about `kept` of the values.
    """
    some = values[:: max(values.numel() // kept, 1)]
    scale, zero_point = RANGES["mse"](some.flatten()[None], spec)
    error = (quantize_to_integers(values, scale, zero_point, spec) - zero_point) * scale - values
    variance = (values @ columns.T).var(0).sum()
    return float((error @ columns.T).square().mean(0).sum() / variance.clamp(min=1e-30))


def _apply(rotation: Tensor, stream: LinearStream, network: fx.GraphModule) -> None:
    calls, rotation = matrix_calls(network), rotation.double()
    for name in stream.writers:
        layer = network.get_submodule(name)
        layer.weight.copy_(torch.einsum("ij, jkhw -> ikhw", rotation, layer.weight.double()))
        if layer.bias is not None:
            layer.bias.copy_(rotation @ layer.bias.double())
        calls[name].meta.pop(OUTPUT_MOMENTS, None)  # They are those of single channels before these were mixed.
    for name in stream.readers:
        layer = network.get_submodule(name)
        layer.weight.copy_(torch.einsum("ojhw, ij -> oihw", layer.weight.double(), rotation))
