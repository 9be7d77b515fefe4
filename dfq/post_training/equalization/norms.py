"""Rescales and moves the channels of normalizations in front of matrix layers; the network computes the same.

LayerNorm leaves some channels ten times as wide as others and far from zero, and one grid for all of them spends its
steps on these. Its factor γ and its offset β can make them even at no cost: with γ / s and (β − m) / s in place of γ
and β, a layer that reads the result multiplies its column c by s_c and adds Σ W_c m_c to its bias. This is the
reparametrization of RepQ-ViT (Li et al., ICCV 2023, arXiv 2212.08254), with m the middle of a channel.

Deviations: RepQ-ViT makes all channels equally wide, so that weights alone bear what is left of the differences. Here
factors that share them between activations and weights (`dfq.post_training.equalization.cross_layer`) are tried as
well, in full and by half, with and without m. Those are taken with which the readers compute the best results from
rounded weights and inputs, and none where little is gained. A channel counts as at least as wide as its γ and β let
expect, because synthetic images do not fill all channels (decision record 0032). RepQ-ViT looks at LayerNorm in front
of attention and of the MLP; here it is any normalization that matrix layers alone read.
"""

import copy

import torch
from torch import Tensor, fx, nn

from dfq.graph.layer_outputs import channel_dimension
from dfq.graph.tensor_samples import TensorSamples
from dfq.post_training.equalization.norm_changes import Change, Changes, grids
from dfq.post_training.equalization.norm_outputs import NormOutput, find_norm_outputs
from dfq.post_training.equalization.rescaling import by_input_channel, multiply_columns
from dfq.post_training.equalization.settings import NormSettings
from dfq.teacher import Teacher


@torch.no_grad()
def rescale_norms(
    student: fx.GraphModule, teacher: Teacher, images: Tensor, *, settings: NormSettings = NormSettings()
) -> Teacher:
    """Rescales the student in place; returns the teacher with the same changes, or as it is where there are none.

    The teacher computes the same as before, but for rounding in floating point. This is for a student whose ranges are
    not calibrated yet.

    Args:
        student: Student of `dfq.student.convert.make_student`.
        teacher: Its teacher.
        images: Normalised images (N, C, H, W). They say where channels end and what a change is worth.
        settings: Settings of the rescaling.
    """
    reference = copy.deepcopy(teacher.traced)
    norms = [norm for norm in find_norm_outputs(reference, images[:1]) if grids(norm, student)]
    dimensions = {
        reader.source: channel_dimension(student.get_submodule(name))
        for norm in norms
        for name, reader in norm.readers.items()
    }
    some = images[: settings.max_images]
    samples = TensorSamples(reference, dimensions, some, settings.rows, batch_size=settings.batch_size)
    changes = [(norm, change) for norm in norms if (change := Changes(norm, student, samples, settings).best())]
    for norm, change in changes:
        for network in (student, reference):
            apply_change(network, norm, change)
    return teacher.rewritten(reference) if changes else teacher


@torch.no_grad()
def apply_change(network: fx.GraphModule, norm: NormOutput, change: Change) -> None:
    """Changes what a normalization gives, and makes its readers compute what they did before; in place."""
    _write(network, norm.affine.factor, torch.zeros_like(change.middle), change.factor)
    if norm.affine.offset is not None:
        _write(network, norm.affine.offset, change.middle, change.factor)
    for name, reader in norm.readers.items():
        layer = network.get_submodule(name)
        if change.middle.any():
            _add_to_bias(layer, change.middle[reader.columns])
        multiply_columns(layer, change.factor[reader.columns])


def _write(network: fx.GraphModule, path: str, middle: Tensor, factor: Tensor) -> None:
    """Turns a stored tensor t of one number for each channel into (t − middle) / factor, in place."""
    owner, _, name = path.rpartition(".")
    tensor = getattr(network.get_submodule(owner), name)
    tensor.copy_((tensor.double() - middle.to(tensor).view_as(tensor)) / factor.to(tensor).view_as(tensor))


def _add_to_bias(layer: nn.Module, inputs: Tensor) -> None:
    """Adds what a layer makes of constant inputs (features,) to its bias."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and isinstance(bias, Tensor)
    columns = by_input_channel(weight, layer, len(inputs)).double().sum(-1)  # (groups, out / groups, in / groups)
    sums = torch.einsum("goi, gi -> go", columns, inputs.to(columns).view(len(columns), -1))
    bias.add_(sums.flatten().to(bias))
