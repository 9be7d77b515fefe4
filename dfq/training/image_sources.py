"""Where the trainer's batches come from: one class for each way of mixing synthesis and training."""

import time
from math import ceil
from typing import Protocol

import torch
from torch import Tensor, fx

from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.settings import ImageSourceSettings


class GrowingSynthesizer(Protocol):
    """What a growing pool needs of its synthesizer (`dfq.calibration.Synthesizer`)."""

    batch_size: int
    budget: Budget

    def update(self, student: fx.GraphModule) -> dict[str, float]: ...

    def sample(self, count: int) -> Batch: ...


class ImageSource(Protocol):
    """Gives the trainer its batches.

    Attributes:
        seconds: Time in seconds that the synthesizer has taken while the student was trained.
    """

    seconds: float

    def batch(
        self, student: fx.GraphModule, size: int, done: float, generator: torch.Generator
    ) -> tuple[Batch, dict[str, float]]:
        """Returns a batch of about `size` images, and the losses of the synthesizer if it moved.

        Args:
            student: The student as it is now.
            size: Number of images.
            done: Fraction of training that is over, in [0, 1).
            generator: Source of the random numbers.
        """

    def images_at_the_end(self) -> Batch:
        """Returns what the student was trained on, or a sample of it where every step had its own images."""

    def unseen_at_the_end(self) -> Batch | None:
        """Returns images as they are made now, untrained on; None where they are made as before training."""

    def state_dict(self) -> dict:
        """Returns the tensors and numbers from which `load_state_dict` goes on."""

    def load_state_dict(self, state: dict) -> None: ...


class FixedImages:
    """The images that were made before training.

    Args:
        teacher: Teacher, which says the classes of paired images.
        images: Images that were made before training.
        paired: Whether every image comes with another one that the teacher puts into the same class.

    Attributes:
        settings: Settings of the source; a subclass may have others.
    """

    settings: ImageSourceSettings = ImageSourceSettings()

    def __init__(
        self, teacher: Teacher, images: Batch, synthesizer=None, total: int = 0, *, paired: bool = False, budget=None
    ):
        self.teacher, self.images, self.paired, self.seconds = teacher, images, paired, 0.0
        self.labels = predicted_labels(teacher, images.images, self.settings) if paired else None

    def batch(self, student, size, done, generator):
        index = torch.randint(len(self.images), (size,), generator=generator)
        if self.labels is not None:
            index = paired_index(self.labels, size, generator)
        return self.images.pick(index.to(self.images.images.device)), {}

    def images_at_the_end(self) -> Batch:
        return self.images

    def unseen_at_the_end(self) -> Batch | None:
        return None

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class GrowingImages(FixedImages):
    """A pool that grows while the student learns: each new batch of images is made against the student as it is then.

    Args:
        teacher: Teacher, which says the classes of paired images.
        images: First images of the pool.
        synthesizer: Synthesizer of the other images.
        total: Number of images that the pool grows to, in even steps from the start of the training on.
        paired: Whether every image comes with another one that the teacher puts into the same class.
        budget: Clock of the training, a share of which synthesis gets.
    """

    def __init__(
        self,
        teacher: Teacher,
        images: Batch,
        synthesizer: GrowingSynthesizer,
        total: int,
        *,
        paired: bool = False,
        budget: Budget | None = None,
    ):
        super().__init__(teacher, images, paired=paired)
        self.synthesizer, self.first, self.total = synthesizer, len(images), total
        self.budget = budget or Budget()
        self.rounds = ceil(max(total - self.first, 0) / synthesizer.batch_size)

    def batch(self, student, size, done, generator):
        rounds_due = min(int(done / self.settings.grow_until * self.rounds) + 1, self.rounds)
        while len(self.images) < min(self.first + rounds_due * self.synthesizer.batch_size, self.total):
            self._grow(student)
        return super().batch(student, size, done, generator)

    def _grow(self, student: fx.GraphModule) -> None:
        start, count = time.monotonic(), min(self.synthesizer.batch_size, self.total - len(self.images))
        student.eval()
        rounds_left = ceil((self.total - len(self.images)) / self.synthesizer.batch_size)
        self.synthesizer.budget = self.budget.part(self.settings.growth_share / rounds_left)
        self.synthesizer.update(student)
        self._take(self.images.joined(self.synthesizer.sample(count)))
        self.seconds += time.monotonic() - start

    def _take(self, images: Batch) -> None:
        self.images = images
        if self.paired:
            self.labels = predicted_labels(self.teacher, images.images, self.settings)

    def state_dict(self) -> dict:
        return {"images": self.images.images, "labels": self.images.labels}

    def load_state_dict(self, state: dict) -> None:
        self._take(Batch(state["images"], state["labels"]))


class FreshImages:
    """New images at every step, from a generator that learns along with the student (GDFQ).

    Args:
        teacher: Teacher, which is not needed here.
        images: Images that were made before training. They are not trained on.
        synthesizer: Generator.
    """

    def __init__(
        self, teacher: Teacher, images: Batch, synthesizer, total: int = 0, *, paired: bool = False, budget=None
    ):
        self.synthesizer, self.count, self.seconds = synthesizer, len(images), 0.0

    def batch(self, student, size, done, generator):
        start = time.monotonic()
        losses = self.synthesizer.update(student)
        self.seconds += time.monotonic() - start
        return self.synthesizer.fresh(), losses

    def images_at_the_end(self) -> Batch:
        return self.synthesizer.sample(self.count)

    def unseen_at_the_end(self) -> Batch | None:
        return self.images_at_the_end()

    def state_dict(self) -> dict:
        return self.synthesizer.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.synthesizer.load_state_dict(state)


class ScheduledImages(FreshImages):
    """`FreshImages` of a synthesizer that goes from easy to hard, and is told before each step how far training is."""

    def batch(self, student, size, done, generator):
        self.synthesizer.done = done
        return super().batch(student, size, done, generator)


@torch.no_grad()
def predicted_labels(teacher: Teacher, images: Tensor, settings: ImageSourceSettings = ImageSourceSettings()) -> Tensor:
    """Returns the teacher's classes of images (N, C, H, W), int64 (N,), on the CPU."""
    parts = images.split(settings.label_batch_size)
    return torch.cat([answers(teacher(part), teacher.boundary) for part in parts]).cpu()


def paired_index(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Returns an index (size,) of images in pairs of equal labels: random anchors, then another image of each's class.

    Only images whose class has at least two are drawn. Where no class has two, any images are drawn.
    """
    half = size // 2
    counts = torch.bincount(labels)
    candidates = (counts[labels] > 1).nonzero().flatten()
    if not len(candidates):
        return torch.randint(len(labels), (size,), generator=generator)
    anchors = candidates[torch.randint(len(candidates), (half,), generator=generator)]
    order = torch.argsort(labels, stable=True)  # The images of a class stand side by side.
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    first = torch.cumsum(counts, 0)[labels[anchors]] - counts[labels[anchors]]
    group = counts[labels[anchors]]
    step = 1 + (torch.rand(half, generator=generator) * (group - 1)).long().clamp(max=group - 2)
    partners = order[first + (place[anchors] - first + step) % group]
    return torch.cat([anchors, partners])
