"""Fits a block's weights and biases by least squares, so that they undo what errors of their inputs do.

Quantized inputs differ from the teacher's, and not by noise alone: coarse grids behind ReLU shift means and shrink
what is small. Roundings cannot undo a shift. So before they are learned, each layer's weight and bias become those
that map its quantized inputs x̂ to the teacher's outputs y best: ΔW = E[(y − W x̂) x̂ᵀ] (E[x̂ x̂ᵀ] + ridge)⁻¹, where moments
are about the mean, and the bias takes the rest of the mean. Layers are fitted in the order of the graph, each on what
the fitted ones before it give. (The fit of biases is that of Nagel et al., ICCV 2019, arXiv 1906.04721, section 4.2.
The fit of weights is the first step of GPFQ and GPTAQ, which go on to round in the same pass.)
"""

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from dfq.graph.layer_outputs import LayerVisitor, matrix_calls
from dfq.graph.outputs import Outputs, as_tuple
from dfq.post_training.reconstruction.block_data import take
from dfq.post_training.reconstruction.blocks import Block
from dfq.post_training.reconstruction.settings import LeastSquaresSettings
from dfq.student.set_ranges import fit_range, quantizers_in_mode


@torch.no_grad()
def fit_least_squares(
    block: Block,
    quantized: Outputs,
    exact: Outputs,
    *,
    seed: int = 0,
    settings: LeastSquaresSettings = LeastSquaresSettings(),
) -> None:
    """Fits the block's weights and biases in place, and searches the scales of its weights anew.

    Every layer must have a bias.

    Args:
        block: The block.
        quantized: The block's inputs as the quantized blocks before it give them, one tensor (N, …) or several.
        exact: The block's inputs in the teacher.
        seed: Seed of the draws of positions.
        settings: Settings of the fit.
    """
    positions = max(each[0].shape[1:].numel() for each in as_tuple(quantized))
    count = min(max(settings.examples // positions, settings.min_images), settings.max_images)
    wanted: dict[str, Tensor] = {}

    def see(name: str, output: Tensor) -> Tensor:
        wanted[name] = output_rows(output, block.teacher.get_submodule(name), seed, settings.examples)
        return output

    LayerVisitor(block.teacher, see).run(*_first(exact, count))
    _LeastSquaresFit(block, wanted, seed, settings).run(*_first(quantized, count))


def _first(stored: Outputs, count: int) -> tuple[Tensor, ...]:
    return tuple(take(each, torch.arange(len(each))[:count]) for each in as_tuple(stored))


class _LeastSquaresFit(fx.Interpreter):
    """Runs a block and fits every layer to its `wanted` outputs before it is computed."""

    def __init__(self, block: Block, wanted: dict[str, Tensor], seed: int, settings: LeastSquaresSettings):
        super().__init__(block.student)
        self.wanted = {name: wanted[name] for name in matrix_calls(block.student)}
        self.seed, self.settings = seed, settings

    def call_module(self, target: Any, args: tuple, kwargs: dict) -> Any:
        if target not in self.wanted:
            return super().call_module(target, args, kwargs)
        layer = self.fetch_attr(target)
        inputs = input_rows(args[0], layer, self.seed, self.settings.examples)
        _fit(layer, inputs, self.wanted[target], self.settings.ridge)
        fit_range(layer.weight_quantizer, layer.weight.flatten(1).float(), "mse", target)
        # What follows is fitted to exact weights, because learned rounding comes closer to them than rounding to the
        # nearest does.
        with quantizers_in_mode(layer, "off"):
            return super().call_module(target, args, kwargs)


def _fit(layer: nn.Module, inputs: Tensor, outputs: Tensor, ridge: float) -> None:
    """Fits a layer by least squares, with a ridge that holds the weight where it is.

    Where there are fewer examples than inputs, only the bias is fitted. (A classifier sees one example per image. With
    1280 inputs, weights that fit 200 examples fit no others.)

    Args:
        layer: The layer, which is changed in place.
        inputs: What each output multiplies, (groups, M, inputs of one output).
        outputs: Wanted outputs, (groups, M, outputs of a group).
        ridge: Ridge, as a part of the mean variance of an input.
    """
    groups, _, width = inputs.shape
    weight = layer.weight.view(groups, -1, width)
    centre, target = inputs.mean(1, keepdim=True), outputs.mean(1, keepdim=True)
    if inputs.shape[1] >= width:
        weight = weight + _correction(inputs - centre, outputs - target, weight, ridge)
        layer.weight.copy_(weight.reshape(layer.weight.shape))
    layer.bias.copy_((target - centre @ weight.mT).flatten())


def _correction(inputs: Tensor, outputs: Tensor, weight: Tensor, ridge: float) -> Tensor:
    """Returns ΔW (groups, outputs of a group, width) for inputs and outputs about their means."""
    residual = outputs - inputs @ weight.mT
    moments = inputs.mT @ inputs / inputs.shape[1]
    added = ridge * moments.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    moments.diagonal(dim1=1, dim2=2).add_(added[:, None])
    return torch.linalg.solve(moments, inputs.mT @ residual / inputs.shape[1]).mT


def output_rows(output: Tensor, layer: nn.Module, seed: int, examples: int = LeastSquaresSettings.examples) -> Tensor:
    """Returns about `examples` rows of what a layer computes, (groups, M, outputs of a group)."""
    if isinstance(layer, nn.Linear):
        return _some(output.flatten(0, -2), seed, examples).float()[None]
    kept = output.flatten(2)[:, :, _places(output, seed, examples)]  # (N, C, P)
    return kept.float().unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2)


def input_rows(values: Tensor, layer: nn.Module, seed: int, examples: int = LeastSquaresSettings.examples) -> Tensor:
    """Returns what the layer multiplies for the rows of `output_rows`, (groups, M, inputs of one output)."""
    if isinstance(layer, nn.Linear):
        return _some(values.flatten(0, -2), seed, examples).float()[None]
    shape = layer(values[:1]).shape
    places = _places(values.new_empty(len(values), *shape[1:], device="meta"), seed, examples).to(values.device)
    rows, columns = places // shape[3] * layer.stride[0], places % shape[3] * layer.stride[1]
    padded = _padded(values, layer)
    patches = [
        padded[:, :, rows + i * layer.dilation[0], columns + j * layer.dilation[1]]
        for i in range(layer.kernel_size[0])
        for j in range(layer.kernel_size[1])
    ]  # Each is (N, C, P).
    kept = torch.stack(patches, 2).float().unflatten(1, (layer.groups, -1))  # (N, groups, C / groups, k, P)
    return kept.flatten(2, 3).permute(1, 0, 3, 2).flatten(1, 2)


def _places(output: Tensor, seed: int, examples: int) -> Tensor:
    """Returns the positions of a map (N, C, H, W) that are kept, counted along rows, and the same in all images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(output.shape[2:].numel(), generator=generator)[: -(-examples // len(output))]


def _some(rows: Tensor, seed: int, examples: int) -> Tensor:
    """Returns `examples` random rows, or all where there are fewer, in random order."""
    index = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:examples]
    return rows[index.to(rows.device)]


def _padded(values: Tensor, layer: nn.Conv2d) -> Tensor:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        return F.pad(values, layer._reversed_padding_repeated_twice, mode=mode)
    above, left = layer.padding
    return F.pad(values, (left, left, above, above))
