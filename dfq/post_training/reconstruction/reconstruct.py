"""`reconstruct`: fits a calibrated student block by block, from the stem to the head."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, fx

from dfq.post_training.bias_correction import give_bias
from dfq.post_training.reconstruction.block_data import BATCH_SIZE, store_outputs, take
from dfq.post_training.reconstruction.blocks import Block, cut_into_blocks
from dfq.post_training.reconstruction.doubts import hardly_following, too_large
from dfq.post_training.reconstruction.fit_block import BlockData, FitSettings, fit_block, images_per_iteration
from dfq.post_training.reconstruction.least_squares import fit_least_squares
from dfq.quantizers.quantized_layers import MATRIX_LAYERS
from dfq.system.atomic_files import replacing
from dfq.system.budget import Budget
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher

HELD_OUT = 8  # one image in eight is never fitted on: it tells whether a block got better


@dataclass
class BlockRecord:
    """One block: error before and after, relative to the variance of the teacher's output, on held-out images."""

    name: str
    before: float
    after: float
    iterations: int
    seconds: float
    kept: bool


@dataclass
class ReconstructionHistory:
    """What reconstruction did, block by block, and sentences for the report."""

    blocks: list[BlockRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


def reconstruct(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor,
    settings: FitSettings,
    *,
    budget: Budget | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    seed: int = 0,
) -> ReconstructionHistory:
    """Fits the rounding of each weight and all scales of `student`, in place (Li et al., BRECQ, ICLR 2021).

    Each block's inputs come from the quantized blocks before it, its targets from the teacher; a block that did not
    get better on held-out images keeps what it had. Within a time budget, each block gets a share of what is left that
    follows its size.

    Args:
        student: calibrated (`dfq.student.set_ranges.calibrate`).
        images: synthetic, normalised, (N, C, H, W), N ≥ 2.
        checkpoint: a file that is rewritten after each block and read at the start where it exists.
    """
    budget, progress = budget or Budget(), progress or Silent()
    student.eval()
    for layer in student.modules():
        if isinstance(layer, MATRIX_LAYERS):
            give_bias(layer)  # to take shifts back; before any state is kept
    blocks = cut_into_blocks(student, teacher.traced)
    run = _Run(student, images, settings, checkpoint, seed)
    history = run.resume()
    large = too_large(blocks)
    for note in large:  # before the time is spent
        progress.note(note)
    with progress.task("Reconstructing blocks", len(blocks) * settings.iterations) as task:
        for index, block in enumerate(blocks):
            task.name(block.name)
            if index < len(history.blocks):
                run.pass_by(block)
                task.advance(settings.iterations)
                continue
            record = run.fit(block, budget.part(_share(blocks, index, settings)), task)
            history.blocks.append(record)
            task.advance(0, before=record.before, after=record.after)
            run.save(history)
    hardly = hardly_following(history.blocks)
    for note in hardly:
        progress.note(note)
    history.notes = [*large, *hardly]
    return history


def _share(blocks: list[Block], index: int, settings: FitSettings) -> float:
    """Returns the share of the remaining time of the block at `index`, in proportion to its cost."""
    costs = [_cost(block) * images_per_iteration(block, settings) for block in blocks[index:]]
    return costs[0] / sum(costs)


def _cost(block: Block) -> float:
    """Multiplications of one image, plus the values that are moved."""
    total = 0.0
    for node in block.student.graph.nodes:
        shape = getattr(node.meta.get("tensor_meta"), "shape", ())
        values = float(torch.Size(shape[1:]).numel()) if shape else 0.0
        layer = block.student.get_submodule(str(node.target)) if str(node.target) in block.layers else None
        total += values * (16 + (layer.weight[0].numel() if layer is not None else 0))
    return total


class _Run:
    """The state that walks from block to block: the inputs of the next one, quantized and exact."""

    def __init__(self, student: fx.GraphModule, images: Tensor, settings: FitSettings, path: Path | None, seed: int):
        self.student, self.settings, self.path, self.seed = student, settings, path, seed
        self.generator = torch.Generator().manual_seed(seed)
        self.quantized = self.exact = images
        self.fitted = len(images) - max(len(images) // HELD_OUT, 1)

    def fit(self, block: Block, budget: Budget, task) -> BlockRecord:
        start = time.monotonic()
        targets = store_outputs(block.teacher, self.exact)
        data = BlockData(self.quantized[: self.fitted], self.exact[: self.fitted], targets[: self.fitted])
        before_state = _state(block)
        before = self._error(block, targets)
        if self.settings.least_squares:
            fit_least_squares(block, self.quantized[: self.fitted], self.exact[: self.fitted], seed=self.seed)
        iterations = fit_block(block, data, self.settings, budget, task, self.generator)
        after = self._error(block, targets)
        if not (kept := after < before):
            block.student.load_state_dict(before_state)
        self._advance(block, targets)
        return BlockRecord(block.name, before, after, iterations, time.monotonic() - start, kept)

    def pass_by(self, block: Block) -> None:
        """For a block that an earlier, killed run fitted."""
        self._advance(block, store_outputs(block.teacher, self.exact))

    def _advance(self, block: Block, targets: Tensor) -> None:
        self.quantized = store_outputs(block.student, self.quantized)
        self.exact = targets

    @torch.no_grad()
    def _error(self, block: Block, targets: Tensor) -> float:
        """Mean squared error on the held-out images ÷ variance of the teacher's output."""
        squared, count = 0.0, 0
        held_out = torch.arange(self.fitted, len(targets))
        wanted = take(targets, held_out)
        for index, target in zip(held_out.split(BATCH_SIZE), wanted.split(BATCH_SIZE), strict=True):
            squared += float((block.student(take(self.quantized, index)) - target).square().sum())
            count += target.numel()
        return squared / count / max(float(wanted.var()), 1e-12)

    def save(self, history: ReconstructionHistory) -> None:
        if self.path is None:
            return
        state = {"student": self.student.state_dict(), "history": history.to_dict()}
        state["generator"] = self.generator.get_state()
        with replacing(self.path) as temporary:
            torch.save(state, temporary)

    def resume(self) -> ReconstructionHistory:
        if self.path is None or not self.path.exists():
            return ReconstructionHistory()
        device = next(self.student.parameters()).device
        state = torch.load(self.path, weights_only=True, map_location=device)
        self.student.load_state_dict(state["student"])
        self.generator.set_state(state["generator"].cpu())
        return ReconstructionHistory([BlockRecord(**block) for block in state["history"]["blocks"]])


def _state(block: Block) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in block.student.state_dict().items()}
