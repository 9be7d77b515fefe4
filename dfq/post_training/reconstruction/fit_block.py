"""Fits one block: learns roundings and scales, so that its output on quantized inputs is the teacher's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfq.graph.outputs import as_tuple, for_each
from dfq.post_training.reconstruction.adaround import LearnedRounding
from dfq.post_training.reconstruction.block_data import BlockData, take
from dfq.post_training.reconstruction.blocks import Block
from dfq.post_training.reconstruction.qdrop import DroppedQuantize, Dropping
from dfq.post_training.reconstruction.settings import FitSettings
from dfq.post_training.reconstruction.unfinished_block import UnfinishedBlock
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.system.compute_dtype import fast_autocast
from dfq.system.exchange import add_up, share_of
from dfq.system.processes import processes
from dfq.system.progress import Task
from dfq.system.stage import Stage
from dfq.system.state_file import StateFile
from dfq.training.optimizer_steps import cosine, step_if_finite


def fit_block(
    block: Block, data: BlockData, settings: FitSettings, stage: Stage, task: Task, generator: torch.Generator
) -> int:
    """Learns roundings, weight scales and activation scales of `block`, in place; returns the number of iterations.

    The processes of a run share the images of each iteration, and take its step together.

    Args:
        block: The block.
        data: What it is fitted on.
        settings: How it is fitted.
        stage: Time of the block, and the file in which its unfinished work is kept.
        task: Where progress is shown.
        generator: Source of the random numbers. Its state tells whether that file belongs to this block.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    batch_size = images_per_iteration(block, settings)
    dropping = Dropping(settings.drop)
    with _learning(block, settings, dropping) as (roundings, quantizers), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # This is for what is dropped.
        is_fused = as_tuple(data.targets)[
            0
        ].is_cuda  # Otherwise a GPU waits for a dozen small operations on each parameter.
        optimizer = torch.optim.Adam(_groups(block, roundings, quantizers, settings), fused=is_fused)
        first_rates = [group["lr"] for group in optimizer.param_groups]
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        weight = settings.rounding_weight * _cost_of_rounding(block, data, roundings, settings, dropping, generator)
        unfinished = UnfinishedBlock(StateFile(stage.checkpoint), (block.name, seed), optimizer, generator)
        step = unfinished.resume()
        task.advance(step)
        while (done := stage.done(step, settings.iterations)) < 1:
            unfinished.save_if_due(step)
            haste = settings.haste(step / done if step else settings.iterations)
            for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                group["lr"] = rate * (cosine(done) if group["cosine"] else haste)
            index = torch.randint(len(data), (batch_size,), generator=generator)
            error, part = _error(block, data, index, dropping)
            loss = part * error + weight * _undecided(roundings, settings, done)
            step_if_finite(optimizer, loss, learned, together=True)
            step += 1
            task.advance(1, error=error.item())
        task.advance(settings.iterations - step)
    return step


def images_per_iteration(block: Block, settings: FitSettings) -> int:
    """Returns the number of images per iteration, as `FitSettings.positions` limits it."""
    shapes = [getattr(node.meta.get("tensor_meta"), "shape", ()) for node in block.student.graph.nodes]
    positions = max((torch.Size(shape[2:]).numel() for shape in shapes if len(shape) == 4), default=1)
    return min(settings.batch_size, max(settings.positions // positions, 1))


def _error(block: Block, data: BlockData, index: Tensor, dropping: Dropping) -> tuple[Tensor, float]:
    """Returns the error of this process's part of some images, and how large a part it is, in [0, 1].

    The error is squared, summed over channels (or features) and averaged over the rest. Of several outputs, it is the
    sum of the mean squared errors, each ÷ the variance of the teacher's output.

    Args:
        block: The block.
        data: What it is fitted on.
        index: The images of all processes, int64 (N,).
        dropping: What is dropped; it is told which images these are.
    """
    dropping.images, dropping.rows = len(index), share_of(len(index))
    index = index[dropping.rows]
    if not len(index):
        return torch.zeros((), device=as_tuple(data.targets)[0].device), 0.0
    part = len(index) / dropping.images
    inputs = for_each(lambda q, exact: dropping.mixed(take(q, index), take(exact, index)), data.quantized, data.exact)
    targets = for_each(lambda target: take(target, index), data.targets)
    with fast_autocast(as_tuple(inputs)[0].device):
        outputs = block.student(*as_tuple(inputs))
    squared = for_each(lambda output, target: (output.float() - target).square(), outputs, targets)
    if isinstance(squared, tuple):
        relative = [each.mean() / size for each, size in zip(squared, data.variances, strict=True)]
        return torch.stack(relative).sum(), part
    return squared.sum(1 if squared.dim() in (2, 4) else -1).mean(), part


@torch.no_grad()
def _cost_of_rounding(
    block: Block,
    data: BlockData,
    roundings: list[LearnedRounding],
    settings: FitSettings,
    dropping: Dropping,
    generator: torch.Generator,
) -> float:
    """Returns how much rounding to the nearest adds to the error of the undecided block.

    It is at least the part `FitSettings.min_cost` of the error.
    """
    index = torch.randint(len(data), (settings.judged,), generator=generator)
    undecided, part = _error(block, data, index, dropping)
    for rounding in roundings:
        rounding.decided = True
    decided, part = _error(block, data, index, dropping)
    for rounding in roundings:
        rounding.decided = False
    undecided, decided = part * undecided, part * decided
    add_up([undecided, decided])
    return max(float(decided - undecided), settings.min_cost * float(decided))


def _undecided(roundings: list[LearnedRounding], settings: FitSettings, done: float) -> Tensor | float:
    """Returns this process's part of the mean over all weights of 1 − |2h − 1|^β; 0 in the warm-up.

    Each process sums over some of the layers.
    """
    if done < settings.warm_up:
        return 0.0
    start, end = settings.sharpness
    progress = (done - settings.warm_up) / (1 - settings.warm_up)
    sharpness = end + (start - end) * cosine(progress)
    now = processes()
    total = sum(rounding.undecided(sharpness) for rounding in roundings[now.rank :: now.count])
    return total / sum(rounding.v.numel() for rounding in roundings)


def _groups(
    block: Block, roundings: list[LearnedRounding], quantizers: list[FakeQuantize], settings: FitSettings
) -> list[dict]:
    """Returns the optimizer's groups, each with whether its learning rate falls by a cosine."""
    up_or_down = [{"params": [r.v], "lr": settings.rounding_rate, "cosine": False} for r in roundings]
    scales = [(r.scale, settings.scale_rate) for r in roundings]
    scales += [(quantizer.scale, settings.step_rate) for quantizer in quantizers]
    biases = [block.student.get_submodule(name).bias for name in block.layers]
    scales += [(bias, settings.bias_rate) for bias in biases if bias is not None and settings.bias_rate]
    return up_or_down + [
        {"params": [scale], "lr": rate * float(scale.detach().abs().mean()), "cosine": True} for scale, rate in scales
    ]


@contextmanager
def _learning(
    block: Block, settings: FitSettings, dropping: Dropping
) -> Iterator[tuple[list[LearnedRounding], list[FakeQuantize]]]:
    """Makes the block round softly and drop; in the end, layers and quantizers get what was learned."""
    layers = [block.student.get_submodule(name) for name in block.layers]
    before: list[FakeQuantize] = [layer.weight_quantizer for layer in layers]
    rounding_settings = settings.learned_rounding
    roundings = [LearnedRounding(q, layer.weight, rounding_settings) for q, layer in zip(before, layers, strict=True)]
    own = {name: block.student.get_submodule(name) for name in block.quantizers}
    quantizers = {name: module for name, module in own.items() if isinstance(module, FakeQuantize)}
    for layer, rounding in zip(layers, roundings, strict=True):
        layer.weight_quantizer = rounding
    for name, quantizer in quantizers.items():
        _replace(block.student, name, DroppedQuantize(quantizer, dropping))
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
