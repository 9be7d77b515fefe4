"""Fits one block: learned rounding and scales, so that its output on quantized inputs is the teacher's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import cos, isfinite, pi

import torch
from torch import Tensor, nn

from dfq.post_training.reconstruction.adaround import LearnedRounding
from dfq.post_training.reconstruction.block_data import take
from dfq.post_training.reconstruction.blocks import Block
from dfq.post_training.reconstruction.qdrop import DroppedQuantize, mixed
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Task

PUBLISHED_ITERATIONS = 20_000
MAX_HASTE = 30.0
MIN_COST = 0.01  # of rounding, as a part of the error: errors of weights and activations may cancel by chance
JUDGED = 32  # images that this cost is measured on


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a block is fitted (BRECQ, ICLR 2021, with AdaRound and QDrop).

    Attributes:
        iterations: per block; published: 20,000 on a GPU.
        batch_size: images per iteration, at most.
        positions: of a block's largest map, per iteration, at most, but one image at least: each is an example of its
            own and costs as much as any: 8 images up to 16×16, 4 of 32×32, 1 from 64×64 on. Published: 32 images,
            which is what a GPU gets (`on`).
        rounding_rate: of Adam for v at the published iterations. Fewer iterations, by setting or because time runs
            out, take proportionally larger steps, at most 30 times as large: v must travel the same way.
        scale_rate: of Adam for the weights' scales, relative to each scale, falling to 0 by a cosine; 0: they stay.
        step_rate: the same for the scales of activations.
        rounding_weight: of the mean of 1 − |2h − 1|^β over all weights, in units of what rounding each of them to the
            nearest grid point adds to the squared error, at the start. Published is one λ = 0.01 for the sum, of plain
            errors: that is a weight of 50 to 1500 in ResNet-20, but 0.04 to 30 in most of MobileNetV2, where roundings
            then stay undecided until the last step rounds them to the nearest.
        warm_up: share of the iterations without that term.
        sharpness: β at the end of the warm-up and at the end.
        least_squares: a block's weights and biases are first fitted to its quantized inputs (`fit_least_squares`).
        bias_rate: of Adam for biases, relative to their mean size in the layer, falling to 0; 0: they stay.
        drop: probability that an element of an activation, or of the block's input, is left unquantized.
    """

    iterations: int = 1000
    batch_size: int = 8
    positions: int = 2**12
    rounding_rate: float = 1e-3
    scale_rate: float = 1e-3
    step_rate: float = 1e-3
    rounding_weight: float = 100.0
    warm_up: float = 0.2
    sharpness: tuple[float, float] = (20.0, 2.0)
    least_squares: bool = True
    bias_rate: float = 0.02
    drop: float = 0.5

    def on(self, device: torch.device) -> "FitSettings":
        """The same on `device`: a GPU starts operations no faster on a few images than on as many as published."""
        if device.type != "cuda":
            return self
        return replace(self, batch_size=max(self.batch_size, 32), positions=max(self.positions, 2**17))

    def haste(self, iterations: float) -> float:
        """How much larger than published the steps of v are if a block gets that many iterations."""
        return min(max(PUBLISHED_ITERATIONS / iterations, 1.0), MAX_HASTE)


@dataclass(frozen=True)
class BlockData:
    """What a block is fitted on; all (N, …), on the CPU or the student's device.

    Attributes:
        quantized: its inputs as the quantized blocks before it give them.
        exact: its inputs in the teacher.
        targets: its outputs in the teacher.
    """

    quantized: Tensor
    exact: Tensor
    targets: Tensor


def fit_block(
    block: Block, data: BlockData, settings: FitSettings, budget: Budget, task: Task, generator: torch.Generator
) -> int:
    """Learns roundings, weight scales and activation scales of `block`, in place; returns the iterations done."""
    seed = int(torch.randint(2**31, (), generator=generator))
    batch_size = images_per_iteration(block, settings)
    with _learning(block, settings.drop) as (roundings, quantizers), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for what is dropped
        is_fused = data.targets.is_cuda  # else a GPU waits for a dozen small operations on each parameter
        optimizer = torch.optim.Adam(_groups(block, roundings, quantizers, settings), fused=is_fused)
        first_rates = [group["lr"] for group in optimizer.param_groups]
        weight = settings.rounding_weight * _cost_of_rounding(block, data, roundings, settings, generator)
        step = 0
        while (done := budget.done(step, settings.iterations)) < 1:
            haste = settings.haste(step / done if step else settings.iterations)
            for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                group["lr"] = rate * (0.5 * (1 + cos(pi * done)) if group["cosine"] else haste)
            index = torch.randint(len(data.targets), (batch_size,), generator=generator)
            error = _error(block, data, index, settings.drop)
            loss = error + weight * _undecided(roundings, settings, done)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if isfinite(loss.item()):
                optimizer.step()
            step += 1
            task.advance(1, error=error.item())
        task.advance(settings.iterations - step)
    return step


def images_per_iteration(block: Block, settings: FitSettings) -> int:
    """As `FitSettings.positions` says."""
    shapes = [getattr(node.meta.get("tensor_meta"), "shape", ()) for node in block.student.graph.nodes]
    positions = max((torch.Size(shape[2:]).numel() for shape in shapes if len(shape) == 4), default=1)
    return min(settings.batch_size, max(settings.positions // positions, 1))


def _error(block: Block, data: BlockData, index: Tensor, drop: float) -> Tensor:
    """Squared error summed over channels (or features), averaged over the rest."""
    inputs = mixed(take(data.quantized, index), take(data.exact, index), drop)
    target = take(data.targets, index)
    with fast_autocast(inputs.device):
        output = block.student(inputs)
    squared = (output.float() - target).square()
    return squared.sum(1).mean() if squared.dim() in (2, 4) else squared.sum(-1).mean()


@torch.no_grad()
def _cost_of_rounding(
    block: Block, data: BlockData, roundings: list[LearnedRounding], settings: FitSettings, generator: torch.Generator
) -> float:
    """How much rounding to the nearest adds to the error of the undecided block; at least a part of that error."""
    index = torch.randint(len(data.targets), (JUDGED,), generator=generator)
    undecided = _error(block, data, index, settings.drop)
    for rounding in roundings:
        rounding.decided = True
    decided = _error(block, data, index, settings.drop)
    for rounding in roundings:
        rounding.decided = False
    return max(float(decided - undecided), MIN_COST * float(decided))


def _undecided(roundings: list[LearnedRounding], settings: FitSettings, done: float) -> Tensor | float:
    """Mean over all weights of 1 − |2h − 1|^β, or 0 in the warm-up."""
    if done < settings.warm_up:
        return 0.0
    start, end = settings.sharpness
    progress = (done - settings.warm_up) / (1 - settings.warm_up)
    sharpness = end + 0.5 * (start - end) * (1 + cos(pi * progress))
    total = sum(rounding.undecided(sharpness) for rounding in roundings)
    return total / sum(rounding.v.numel() for rounding in roundings)


def _groups(
    block: Block, roundings: list[LearnedRounding], quantizers: list[FakeQuantize], settings: FitSettings
) -> list[dict]:
    up_or_down = [{"params": [r.v], "lr": settings.rounding_rate, "cosine": False} for r in roundings]
    scales = [(r.scale, settings.scale_rate) for r in roundings]
    scales += [(quantizer.scale, settings.step_rate) for quantizer in quantizers]
    biases = [block.student.get_submodule(name).bias for name in block.layers]
    scales += [(bias, settings.bias_rate) for bias in biases if bias is not None and settings.bias_rate]
    return up_or_down + [
        {"params": [scale], "lr": rate * float(scale.detach().abs().mean()), "cosine": True} for scale, rate in scales
    ]


@contextmanager
def _learning(block: Block, drop: float) -> Iterator[tuple[list[LearnedRounding], list[FakeQuantize]]]:
    """Within it, the block rounds softly and drops; behind it, what was learned stands in layers and quantizers."""
    layers = [block.student.get_submodule(name) for name in block.layers]
    before: list[FakeQuantize] = [layer.weight_quantizer for layer in layers]
    roundings = [LearnedRounding(q, layer.weight) for q, layer in zip(before, layers, strict=True)]
    own = {name: block.student.get_submodule(name) for name in block.quantizers}
    quantizers = {name: module for name, module in own.items() if isinstance(module, FakeQuantize)}
    for layer, rounding in zip(layers, roundings, strict=True):
        layer.weight_quantizer = rounding
    for name, quantizer in quantizers.items():
        _replace(block.student, name, DroppedQuantize(quantizer, drop))
    try:
        yield roundings, list(quantizers.values())
    finally:
        for name, quantizer in quantizers.items():
            _replace(block.student, name, quantizer)
        for layer, weight_quantizer in zip(layers, before, strict=True):
            layer.weight_quantizer = weight_quantizer
    for layer, rounding in zip(layers, roundings, strict=True):
        rounding.settle(layer.weight_quantizer, layer.weight)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)
