"""`reconstruct`: fits a calibrated student block by block, from the stem to the head."""

import time
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, fx

from dfq.post_training.bias_correction import give_bias
from dfq.post_training.reconstruction.activations import Activations
from dfq.post_training.reconstruction.blocks import Block, cut_into_blocks
from dfq.post_training.reconstruction.doubts import hardly_following, too_large
from dfq.post_training.reconstruction.fit_block import fit_block, images_per_iteration
from dfq.post_training.reconstruction.least_squares import fit_least_squares
from dfq.post_training.reconstruction.settings import FitSettings, ReconstructionSettings
from dfq.quantizers.quantized_layers import MATRIX_LAYERS
from dfq.system.exchange import copy_from
from dfq.system.progress import Task
from dfq.system.reading import reading
from dfq.system.stage import Stage
from dfq.system.state_file import AFRESH, StateFile, part_of
from dfq.teacher import Teacher


@dataclass
class BlockRecord:
    """What the reconstruction of one block did.

    Attributes:
        name: Name of the block.
        before: Squared error on held-out images ÷ variance of the teacher's output, before the block was fitted.
        after: The same error afterwards.
        iterations: Number of iterations.
        seconds: Time that it took, in seconds.
        kept: Whether the block got better. If not, it keeps what it had.
    """

    name: str
    before: float
    after: float
    iterations: int
    seconds: float
    kept: bool


@dataclass
class ReconstructionHistory:
    """What the reconstruction did.

    Attributes:
        blocks: What it did with each block, in order.
        notes: Sentences for the report.
    """

    blocks: list[BlockRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


def reconstruct(
    student: fx.GraphModule,
    teacher: Teacher,
    images: Tensor,
    settings: FitSettings = FitSettings(),
    stage: Stage | None = None,
    *,
    whole: ReconstructionSettings = ReconstructionSettings(),
) -> ReconstructionHistory:
    """Fits the rounding of each weight and all scales of `student`, in place (Li et al., BRECQ, ICLR 2021).

    Each block's inputs come from the quantized blocks before it, and its targets from the teacher. A block that does
    not get better on held-out images keeps what it had. Within a time budget, each block gets a share of what is left
    that follows its cost.

    Args:
        student: Student after `dfq.student.set_ranges.calibrate`.
        teacher: Its teacher.
        images: Synthetic images, normalised, (N, C, H, W), N ≥ 2.
        settings: How a block is fitted.
        stage: Time, report and seed of the reconstruction. Its checkpoint is rewritten after each block, and a
            second file beside it, `part_of(checkpoint, "block")`, while a block is fitted.
        whole: How the blocks are cut, judged and stored.
    """
    stage = stage or Stage()
    student.eval()
    for layer in student.modules():
        if isinstance(layer, MATRIX_LAYERS):
            give_bias(layer)  # Biases take shifts back. They must be there before any state is kept.
    blocks = cut_into_blocks(
        student, teacher.traced, max_layers=whole.max_layers, recombined_within=whole.recombined_within
    )
    run = _Run(student, Activations(blocks, images, whole.store), settings, stage, whole)
    history = run.resume()
    large = too_large(blocks, whole.doubts)
    for note in large:
        stage.progress.note(note)
    with stage.task("Reconstructing blocks", len(blocks) * settings.iterations) as task:
        for index, block in enumerate(blocks):
            task.name(block.name)
            if index < len(history.blocks):
                run.pass_by(block)
                task.advance(settings.iterations)
                continue
            record = run.fit(block, stage.part(_share(blocks[index:], settings, whole.value_cost)), task)
            history.blocks.append(record)
            task.advance(0, before=record.before, after=record.after)
            run.save(history)
    hardly = hardly_following(history.blocks, whole.doubts)
    for note in hardly:
        stage.progress.note(note)
    history.notes = [*large, *hardly]
    return history


def _share(blocks: list[Block], settings: FitSettings, value_cost: int) -> float:
    """Returns the share of the remaining time that the first of the remaining blocks gets, by its cost."""
    costs = [_cost(block, value_cost) * images_per_iteration(block, settings) for block in blocks]
    return costs[0] / sum(costs)


def _cost(block: Block, value_cost: int) -> float:
    """Returns the multiplications of one image, plus `value_cost` for each value that is moved."""
    total = 0.0
    for node in block.student.graph.nodes:
        shape = getattr(node.meta.get("tensor_meta"), "shape", ())
        values = float(torch.Size(shape[1:]).numel()) if shape else 0.0
        layer = block.student.get_submodule(str(node.target)) if str(node.target) in block.layers else None
        total += values * (value_cost + (layer.weight[0].numel() if layer is not None else 0))
    return total


class _Run:
    """The state that goes from block to block: activations, quantized and exact, and the source of random numbers."""

    def __init__(
        self,
        student: fx.GraphModule,
        activations: Activations,
        settings: FitSettings,
        stage: Stage,
        whole: ReconstructionSettings,
    ):
        self.student, self.settings, self.file, self.seed = student, settings, StateFile(stage.checkpoint), stage.seed
        self.generator, self.activations = torch.Generator().manual_seed(stage.seed), activations
        self.fitted = activations.images - max(activations.images // whole.held_out, 1)

    def fit(self, block: Block, stage: Stage, task: Task) -> BlockRecord:
        """Fits the next block and goes on behind it."""
        start = time.monotonic()
        stored = self.activations.around(block)
        data, held_out = stored[: self.fitted], stored[self.fitted :]
        before_state = _state(block)
        before = self.activations.error(block, held_out)
        if self.settings.least_squares:
            compensation = self.settings.least_squares_fit
            fit_least_squares(block, data.quantized, data.exact, seed=self.seed, settings=compensation)
        copy_from([*block.student.state_dict().values()], source=0)  # Rounding may differ between machines.
        within = replace(stage, checkpoint=self.file.path and part_of(self.file.path, "block"))
        iterations = fit_block(block, data, self.settings, within, task, self.generator)
        after = self.activations.error(block, held_out)
        if not (kept := after < before):
            block.student.load_state_dict(before_state)
        self.activations.go_on(block, stored)
        return BlockRecord(block.name, before, after, iterations, time.monotonic() - start, kept)

    def pass_by(self, block: Block) -> None:
        """Goes on behind the next block, which an earlier, killed run fitted."""
        self.activations.go_on(block, self.activations.around(block))

    def save(self, history: ReconstructionHistory) -> None:
        """Writes what a killed run goes on from."""
        self.file.save(
            {
                "student": self.student.state_dict(),
                "history": history.to_dict(),
                "generator": self.generator.get_state(),
            }
        )

    def resume(self) -> ReconstructionHistory:
        """Takes over what an earlier, killed run has done, if there was one, and returns its history."""
        state = self.file.load(next(self.student.parameters()).device)
        if state is None or self.file.path is None:
            return ReconstructionHistory()
        with reading(self.file.path, way_out=AFRESH):
            self.student.load_state_dict(state["student"])
            self.generator.set_state(state["generator"].cpu())
            return ReconstructionHistory([BlockRecord(**block) for block in state["history"]["blocks"]])


def _state(block: Block) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in block.student.state_dict().items()}
