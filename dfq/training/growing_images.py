"""A pool of images that grows while the student learns: each round is made against the student as it is then."""

import time
from math import ceil, isfinite
from typing import Protocol

import torch
from torch import fx

from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.system.exchange import number_of_first
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.image_sources import FixedImages, predicted_labels
from dfq.training.relational_losses import mean_distances
from dfq.training.settings import ImageSourceSettings
from dfq.training.shared_work import sample_together


class GrowingSynthesizer(Protocol):
    """What a growing pool needs of its synthesizer (`dfq.calibration.Synthesizer`)."""

    batch_size: int
    budget: Budget

    def update(self, student: fx.GraphModule) -> dict[str, float]: ...

    def sample(self, count: int) -> Batch: ...

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


class GrowingImages(FixedImages):
    """A pool that grows in rounds of equal size while the student learns.

    The first round waits until the student answers as the teacher does on most images: a student that knows nothing
    yet gives gradients that mean nothing. The number of rounds does not depend on how many images are made together.

    Args:
        teacher: Teacher, which says the classes of paired images.
        images: First images of the pool.
        synthesizer: Synthesizer of the other images.
        total: Number of images that the pool grows to.
        paired: Share of a batch, at its end, in which every image comes with others of its class, in [0, 1].
        budget: Clock of the training, a share of which synthesis gets.

    Attributes:
        rounds: What was found at each round: `done`, the fraction of the training that was over; `images`, the number
            of images that the pool then had; `agreement` of the student with the teacher, in [0, 1]; and mean distances
            in the student's penultimate features between images of one class and of different classes, of the first
            images of the pool and of the images that the round made; None where there is no such pair.
    """

    def __init__(
        self,
        teacher: Teacher,
        images: Batch,
        synthesizer: GrowingSynthesizer,
        total: int,
        *,
        paired: float = 0.0,
        budget: Budget | None = None,
    ):
        super().__init__(teacher, images, paired=paired)
        self.synthesizer, self.first, self.total = synthesizer, len(images), total
        self.budget = budget or Budget()
        self.planned, self.per_round = self._plan(max(total - self.first, 0))
        self.started: float | None = None  # the fraction of the training at which the first round is made
        self.looked = -1.0  # the fraction at which the student was last compared with the teacher
        self.rounds: list[dict] = []

    def _plan(self, count: int) -> tuple[int, int]:
        """Returns in how many rounds so many images are made, and how many in each."""
        return self.settings.rounds, max(ceil(count / self.settings.rounds), 1)

    def batch(self, student, size, done, generator):
        if self.started is None and len(self.images) < self.total and self._is_time(student, done):
            self.started = done
        while self.started is not None and len(self.images) < self._wanted(done):
            self._grow(student, done)
        return super().batch(student, size, done, generator)

    def _is_time(self, student: fx.GraphModule, done: float) -> bool:
        """Returns whether the first round is due; the student is compared with the teacher from time to time only."""
        if done >= self.settings.latest:
            return True
        if done < self.settings.earliest or done - self.looked < self.settings.look_every:
            return False
        self.looked = done
        return number_of_first(self.agreement(student)) >= self.settings.agreement

    def _wanted(self, done: float) -> int:
        """Returns how many images the pool is to have by now."""
        assert self.started is not None
        span = max(self.settings.grow_until - self.started, 1e-9)
        due = min(int((done - self.started) / span * self.planned) + 1, self.planned)
        return min(self.first + due * self.per_round, self.total)

    def _grow(self, student: fx.GraphModule, done: float) -> None:
        start, count = time.monotonic(), min(self.per_round, self.total - len(self.images))
        student.eval()
        left = ceil((self.total - len(self.images)) / self.per_round)
        self.synthesizer.budget = self.budget.part(self.settings.growth_share / left)
        self.synthesizer.update(student)
        made = sample_together(self.synthesizer, count, self.teacher.device)
        self._take(self.images.joined(made))
        self.rounds.append(
            {"done": done, "images": len(self.images), "agreement": self.agreement(student)}
            | self._distances(student, made)
        )
        self.seconds += time.monotonic() - start

    @torch.no_grad()
    def agreement(self, student: fx.GraphModule) -> float:
        """Returns the share of held-out images that the student puts into the teacher's class; 1 without classes.

        Where nothing is held out, these are the first images of the pool.
        """
        if not self.teacher.is_classifier:
            return 1.0
        student.eval()
        boundary, watched = self.teacher.boundary, (self.held_out or self.images).images[: self.settings.watched]
        same = [
            answers(student(part), boundary) == answers(self.teacher(part), boundary)
            for part in watched.split(self.settings.label_batch_size)
        ]
        return float(torch.cat(same).float().mean())

    @torch.no_grad()
    def _distances(self, student: fx.GraphModule, made: Batch) -> dict[str, float | None]:
        figures: dict[str, float | None] = {}
        count = min(len(made), self.settings.label_batch_size)
        for name, images in (("first", self.images.images[:count]), ("made", made.images[:count])):
            if self.teacher.is_classifier:
                labels = answers(self.teacher(images), self.teacher.boundary)
                found = mean_distances(features_of(student)(images).penultimate, labels)
                same, different = (distance if isfinite(distance) else None for distance in found)
                figures |= {f"{name}_same": same, f"{name}_different": different}
        return figures

    def _take(self, images: Batch) -> None:
        self.images = images
        if self.paired:
            self.labels = predicted_labels(self.teacher, images.images, self.settings)

    def state_dict(self) -> dict:
        return {
            "images": self.images.images, "labels": self.images.labels, "started": self.started, "looked": self.looked,
            "rounds": self.rounds, "synthesizer": self.synthesizer.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict) -> None:
        self._take(Batch(state["images"], state["labels"]))
        self.started, self.looked, self.rounds = state["started"], state["looked"], list(state["rounds"])
        self.synthesizer.load_state_dict(state["synthesizer"])


class SteadilyGrowingImages(GrowingImages):
    """A pool that grows by one batch of the synthesizer at a time, from the first step of the training to its end.

    This is how CMI and RGAL publish it; ours waits for a student that knows something (`GrowingImages`).
    """

    settings = ImageSourceSettings(earliest=0.0, latest=0.0, grow_until=1.0)

    def _plan(self, count: int) -> tuple[int, int]:
        return max(ceil(count / self.synthesizer.batch_size), 1), self.synthesizer.batch_size
