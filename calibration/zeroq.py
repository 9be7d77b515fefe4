"""ZeroQ: images distilled from BatchNorm statistics (Cai et al., CVPR 2020, arXiv 2001.00281), improved.

As published, each pixel is free, starts from N(0, 1) and follows Adam until the batch's statistics match the
BatchNorm layers' (plus the prior that the image itself has mean 0 and standard deviation 1). Deviations, not yet
ablated one by one: images are sums of grids (`pixel_grids`), statistics are compared relatively per channel,
dead channels are left out, images are mirrored and shifted while they are optimised, a small cross-entropy draws
different classes, total variation and saturation are punished, the step size follows a cosine.
"""

from dataclasses import dataclass
from math import cos, pi

import torch
from torch import Tensor

from dfq.augment import Augment
from dfq.batch import Batch
from dfq.budget import Budget
from dfq.calibration.pixel_grids import PixelGrids
from dfq.losses import input_prior, label_cross_entropy, saturation, total_variation
from dfq.precision import fast_autocast
from dfq.progress import Progress, Silent, Task
from dfq.teacher import Teacher

LEAST_TIME = 0.6  # of an earlier batch's time that must be left to start another one
PATIENCE, LEAST_GAIN = 60, 0.01  # stop a batch when 60 iterations improve its loss by less than 1 %


@dataclass(frozen=True, kw_only=True)
class ZeroQSettings:
    """Settings of `ZeroQ`; the paper's value in brackets.

    Attributes:
        batch_size: images optimised together, whose joint statistics are matched (32 to 64).
        iterations: gradient steps for each batch (500).
        learning_rate: of Adam, falling to 0 by a cosine (0.5, on plateaus, for free pixels).
        label_weight: of the cross-entropy to drawn labels (0).
        variation_weight, saturation_weight: of the two pixel penalties (0).
        augment: mirror and shift in the loop (none).
    """

    batch_size: int = 256
    iterations: int = 200
    learning_rate: float = 0.1
    label_weight: float = 0.3
    variation_weight: float = 0.05
    saturation_weight: float = 0.02
    augment: Augment = Augment()


class ZeroQ:
    """Synthesizer that optimises images directly, batch by batch.

    Without BatchNorm in the teacher there are no statistics to match: it falls back to the input prior and label
    cross-entropy, and says so in `notes`.
    """

    def __init__(
        self,
        teacher: Teacher,
        settings: ZeroQSettings | None = None,
        *,
        seed: int = 0,
        budget: Budget | None = None,
        progress: Progress | None = None,
    ):
        self.teacher, self.settings = teacher, settings or ZeroQSettings()
        self.generator = torch.Generator().manual_seed(seed)
        self.budget, self.progress = budget or Budget(), progress or Silent()
        self.notes: list[str] = []
        if not teacher.has_batch_norm:
            self.notes.append(
                "the teacher has no BatchNorm statistics: images come from the input prior and label cross-entropy "
                "alone, which describes the training data far less; expect a larger drop"
            )

    def sample(self, count: int) -> Batch:
        """`count` images with labels in equal shares; pixels lie on the 8-bit grid that image files have.

        Where the time budget ends first, there are fewer images (and a note): a few finished ones serve better than
        many that have hardly left their random start.
        """
        sizes = [min(self.settings.batch_size, count - i) for i in range(0, count, self.settings.batch_size)]
        batches: list[tuple[Tensor, Tensor]] = []
        with self.progress.task("Synthesizing images", len(sizes) * self.settings.iterations) as task:
            for index, size in enumerate(sizes):
                per_batch = self.budget.elapsed() / max(index, 1)
                if self.budget.remaining() < LEAST_TIME * per_batch:
                    self.notes.append(f"the budget allowed {sum(sizes[:index])} of {count} synthetic images")
                    task.advance((len(sizes) - index) * self.settings.iterations)
                    break
                batches.append(self._batch(size, self.budget.part(1.0), task))
        images, labels = zip(*batches, strict=True)
        return Batch(torch.cat(images), torch.cat(labels))

    def _batch(self, size: int, budget: Budget, task: Task) -> tuple[Tensor, Tensor]:
        settings, spec, device = self.settings, self.teacher.input_spec, self.teacher.device
        grids = PixelGrids(size, spec.size, self.generator, device)
        labels = self._draw_labels(size).to(device)
        optimizer = torch.optim.Adam(grids.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
        losses: list[float] = []
        step = 0
        with self.teacher.bn_statistics() as statistics:
            while (done := budget.done(step, settings.iterations)) < 1 and not _has_settled(losses):
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * 0.5 * (1 + cos(pi * done))
                loss = self._loss(grids, labels, statistics)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                step += 1
                task.advance(1, loss=losses[-1])
        task.advance(settings.iterations - step)
        with torch.no_grad():
            pixels = (torch.sigmoid(grids.logits()) * 255).round() / 255
        return spec.normalize(pixels).detach().contiguous(memory_format=torch.channels_last), labels

    def _loss(self, grids: PixelGrids, labels: Tensor, statistics) -> Tensor:
        settings = self.settings
        pixel_logits = grids.logits()
        pixels = torch.sigmoid(pixel_logits)
        images = self.teacher.input_spec.normalize(settings.augment(pixels, self.generator))
        with fast_autocast(self.teacher.device):
            logits = self.teacher(images)
        deviation = statistics.loss() if self.teacher.has_batch_norm else input_prior(images)
        return (
            deviation
            + settings.label_weight * label_cross_entropy(logits, labels)
            + settings.variation_weight * total_variation(pixels)
            + settings.saturation_weight * saturation(pixel_logits)
        )

    def _draw_labels(self, size: int) -> Tensor:
        """As many of each class as fit, the rest at random, shuffled."""
        classes = self.teacher.num_classes
        whole = torch.arange(classes).repeat(size // classes)
        rest = torch.randperm(classes, generator=self.generator)[: size - len(whole)]
        labels = torch.cat([whole, rest])
        return labels[torch.randperm(size, generator=self.generator)]


def _has_settled(losses: list[float]) -> bool:
    if len(losses) <= 2 * PATIENCE:
        return False
    before, now = min(losses[:-PATIENCE]), min(losses[-PATIENCE:])
    return now > before * (1 - LEAST_GAIN)
