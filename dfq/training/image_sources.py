"""Where the trainer's batches come from: one class for each way of mixing synthesis and training."""

import time
from typing import Protocol

import torch
from torch import Tensor, fx

from dfq.images.batch import Batch
from dfq.system.exchange import of_first
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.paired_images import paired_index, paired_rows
from dfq.training.settings import ImageSourceSettings
from dfq.training.shared_work import sample_together


class ImageSource(Protocol):
    """Gives the trainer its batches.

    Attributes:
        seconds: Time in seconds that the synthesizer has taken while the student was trained.
        held_out: Images that are never trained on, on which a source may look at the student; the trainer hands them
            in. None: there are none.
    """

    seconds: float
    held_out: Batch | None

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
        paired: Share of a batch, at its end, in which every image comes with others that the teacher puts into the same
            class, in [0, 1].

    Attributes:
        settings: Settings of the source; a subclass may have others.
    """

    settings: ImageSourceSettings = ImageSourceSettings()
    held_out: Batch | None = None

    def __init__(
        self, teacher: Teacher, images: Batch, synthesizer=None, total: int = 0, *, paired: float = 0.0, budget=None
    ):
        self.teacher, self.images, self.paired, self.seconds = teacher, images, paired, 0.0
        self.labels = predicted_labels(teacher, images.images, self.settings) if paired else None

    def batch(self, student, size, done, generator):
        pairs = paired_rows(size, self.paired)
        index = torch.randint(len(self.images), (size - pairs,), generator=generator)
        if self.labels is not None and pairs:
            index = torch.cat([index, paired_index(self.labels, pairs, generator)])
        return self.images.pick(index.to(self.images.images.device)), {}

    def images_at_the_end(self) -> Batch:
        return self.images

    def unseen_at_the_end(self) -> Batch | None:
        return None

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


class FreshImages:
    """New images at every step, from a generator that learns along with the student (GDFQ).

    The generator learns in the first process of a run, from which all others get the images.

    Args:
        teacher: Teacher, on whose device the images are.
        images: Images that were made before training. They are not trained on.
        synthesizer: Generator.
    """

    held_out: Batch | None = None

    def __init__(
        self, teacher: Teacher, images: Batch, synthesizer, total: int = 0, *, paired: float = 0.0, budget=None
    ):
        self.synthesizer, self.count, self.seconds, self.device = synthesizer, len(images), 0.0, teacher.device

    def batch(self, student, size, done, generator):
        start = time.monotonic()
        batch, losses = of_first(lambda: self._made(student), self.device)
        self.seconds += time.monotonic() - start
        return batch, losses

    def _made(self, student: fx.GraphModule) -> tuple[Batch, dict[str, float]]:
        losses = self.synthesizer.update(student)
        return self.synthesizer.fresh(), losses

    def images_at_the_end(self) -> Batch:
        return sample_together(self.synthesizer, self.count, self.device)

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
