"""GDFQ: a conditional generator trained along with the student (Xu et al., ECCV 2020, arXiv 2003.03603).

Each training step first moves the generator (cross-entropy of the drawn labels, deviation from the BatchNorm
statistics), then gives its images to the student. Deviations: none in the loss; the last iterate is reported, not the
best epoch on real validation images. Images that leave the synthesizer for calibration, the contact sheet and the
held-out set are clipped to valid pixels; the student trains on what the generator puts out, as published.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn.functional import batch_norm

from dfq.augment import Augment
from dfq.batch import Batch
from dfq.budget import Budget
from dfq.calibration.generator import seeded_generator
from dfq.losses import input_prior, label_cross_entropy
from dfq.precision import fast_autocast
from dfq.progress import Progress, Silent
from dfq.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class GDFQConfig:
    """Settings of `GDFQ`, as published for CIFAR; [ImageNet] where they differ.

    Attributes:
        latent, width: of the generator.
        learning_rate, betas: of the generator's Adam.
        deviation_weight: of the deviation from the BatchNorm statistics.
        warm_up: steps of the generator alone, before there is a student (published: 4 [50] epochs of 200 steps).
    """

    latent: int = 100
    width: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    deviation_weight: float = 0.1
    warm_up: int = 200


class GDFQ:
    """Synthesizer with one generator for the whole run (`dfq.calibration.Synthesizer`)."""

    def __init__(
        self,
        config: GDFQConfig,
        teacher: Teacher,
        *,
        batch_size: int = 256,
        augment: Augment | None = None,
        seed: int = 0,
        budget: Budget | None = None,
        progress: Progress | None = None,
    ):
        self.config, self.teacher, self.batch_size = config, teacher, min(batch_size, 128)
        self.random = torch.Generator().manual_seed(seed)
        self.budget, self.progress = budget or Budget(), progress or Silent()
        self.notes: list[str] = []
        self.network = seeded_generator(
            seed, teacher.input_spec.size, config.latent, config.width, teacher.num_classes
        ).to(teacher.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=config.betas)
        self.steps = 0

    def update(self, student: fx.GraphModule | None) -> dict[str, float]:
        """One step of the generator; the student plays no part in it."""
        images, labels = self._generate(self.batch_size)
        self._latest = Batch(images.detach(), labels)
        with self.teacher.bn_statistics() as statistics:
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
            deviation = statistics.absolute_loss() if self.teacher.has_batch_norm else input_prior(images)
        class_loss = label_cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        (class_loss + self.config.deviation_weight * deviation).backward()
        self.optimizer.step()
        self.steps += 1
        return {"generator_class": class_loss.item(), "generator_deviation": deviation.item()}

    def fresh(self) -> Batch:
        """The images of the last `update`: the student trains on those that the generator has just learned from."""
        return self._latest

    def sample(self, count: int) -> Batch:
        """`count` images, clipped to valid 8-bit pixels; the first call warms the generator up."""
        self._warm_up()
        spec, made = self.teacher.input_spec, []
        for start in range(0, count, self.batch_size):
            with torch.no_grad():
                images, labels = self._generate(min(self.batch_size, count - start))
            pixels = (spec.to_pixels(images).clamp(0, 1) * 255).round() / 255
            made.append((spec.normalize(pixels), labels))
        images, labels = (torch.cat(parts) for parts in zip(*made, strict=True))
        return Batch(images.contiguous(memory_format=torch.channels_last), labels)

    def _warm_up(self) -> None:
        steps = self.config.warm_up - self.steps
        if steps <= 0:
            return
        budget = self.budget.part(1.0)
        with self.progress.task("Warming up the generator", steps) as task:
            while budget.done(self.steps, self.config.warm_up) < 1:
                task.advance(1, **self.update(None))
        if self.steps < self.config.warm_up:
            self.notes.append(f"the budget allowed {self.steps} of {self.config.warm_up} warm-up steps")

    def _generate(self, count: int) -> tuple[Tensor, Tensor]:
        """(normalised images, drawn labels). The last BatchNorm gives each batch the mean and deviation 0 and 1."""
        device = self.teacher.device
        noise = torch.randn(count, self.config.latent, generator=self.random).to(device)
        labels = torch.randint(self.teacher.num_classes, (count,), generator=self.random).to(device)
        with fast_autocast(device):
            images = torch.tanh(self.network(noise, labels).float())
        return batch_norm(images, None, None, training=True), labels

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"].cpu())
        self.steps = state["steps"]
