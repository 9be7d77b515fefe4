"""`RunningGenerator`: one generator network for a whole run, as in GDFQ, Qimera, DAFL, AdaDFKD, RDSKD and Retain."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from dfq.calibration.generator_network import seeded_generator
from dfq.images.batch import Batch
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.system.state_file import StateFile
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.optimizer_steps import step_if_finite


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network of a generator, its Adam, and its batches.

    Attributes:
        latent: Number of random numbers that an image is made from.
        width: Number of channels of the network (`dfq.calibration.generator_network.Generator`).
        learning_rate: Learning rate of Adam.
        betas: Decay rates of Adam's two moments.
        max_batch: Largest number of images in a step; a larger batch size is cut down to it.
    """

    latent: int
    width: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    max_batch: int = 128


IMAGES_OF_A_CLASS = 4  # in a batch whose images are compared with others of their class, at least


class RunningGenerator:
    """A generator, its Adam and its random draws.

    Its images are tanh(network(z)), brought to mean 0 and standard deviation 1 in each batch, as in DAFL, GDFQ, RDSKD
    and Retain. `sample` clips them to valid 8-bit pixels; a student that learns along sees them unclipped, as
    published.

    Args:
        config: Settings of the network and of its Adam.
        teacher: Network that the images are made for.
        seed: Seed of the network's start and of its random draws.
        num_classes: Number of classes of a conditional generator; None: it is unconditional, and no labels are drawn.
        paired: Whether there are several images of each drawn class; of many classes, a batch holds few pairs
            otherwise.
    """

    def __init__(
        self,
        config: NetworkConfig,
        teacher: Teacher,
        *,
        seed: int,
        num_classes: int | None = None,
        paired: bool = False,
    ):
        self.teacher, self.latent, self.num_classes, self.paired = teacher, config.latent, num_classes, paired
        self.random = torch.Generator().manual_seed(seed)
        network = seeded_generator(seed, teacher.input_spec.size, config.latent, config.width, num_classes)
        self.network = network.to(teacher.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=config.betas)

    def images(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Returns `count` normalised images (N, C, H, W), differentiable, and their labels (N,).

        The labels are None where none are drawn.
        """
        device = self.teacher.device
        noise, labels = torch.randn(count, self.latent, generator=self.random).to(device), None
        if self.num_classes is not None:
            labels = self._labels(count, self.num_classes).to(device)
        return self.render(noise, labels), labels

    def _labels(self, count: int, classes: int) -> Tensor:
        if not self.paired:
            return torch.randint(classes, (count,), generator=self.random)
        drawn = torch.randperm(classes, generator=self.random)[: max(count // IMAGES_OF_A_CLASS, 1)]
        return drawn.repeat(ceil(count / len(drawn)))[:count]

    def render(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the normalised images (N, C, H, W) of noise (N, latent) and labels (N,), differentiable."""
        with fast_autocast(self.teacher.device):
            images = torch.tanh(self.network(noise, labels).float())
        return batch_norm(images, None, None, training=True)

    def step(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Takes one step of Adam against the sum of `losses`; returns them under their names in the report.

        A step whose gradient is not finite is left out: it would turn every later image into NaN.
        """
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        step_if_finite(self.optimizer, total, self.network.parameters())
        return {f"generator_{name}": loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def sample(self, count: int, batch_size: int) -> Batch:
        """Returns `count` images, clipped to valid 8-bit pixels, which are made `batch_size` at a time.

        Where no labels are drawn, the teacher's answers are the labels.
        """
        spec, images, labels = self.teacher.input_spec, [], []
        for start in range(0, count, batch_size):
            made, drawn = self.images(min(batch_size, count - start))
            pixels = (spec.to_pixels(made).clamp(0, 1) * 255).round() / 255
            images.append(spec.normalize(pixels))
            labels.append(answers(self.teacher(images[-1]), self.teacher.boundary) if drawn is None else drawn)
        return Batch(torch.cat(images).contiguous(memory_format=torch.channels_last), torch.cat(labels))

    def state_dict(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"].cpu())


class WarmedUp(Protocol):
    """A synthesizer whose generator learns alone first.

    Attributes:
        steps: Number of the steps so far, by which an unfinished warm-up is known.
        teacher: Network that the images are made for.
    """

    steps: int
    teacher: Teacher

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> None: ...


def warm_up(synthesizer: WarmedUp, step: Callable[[], dict[str, float]], steps: int, stage: Stage) -> list[str]:
    """Takes `steps` steps of a generator alone, or as many as the budget allows; returns notes for the report.

    What a killed run left of the same warm-up is taken over, from the stage's checkpoint.
    """
    budget, taken, start = stage.budget.part(1.0), 0, (synthesizer.steps, steps)
    file = StateFile(stage.checkpoint)
    state = file.load(synthesizer.teacher.device)
    if state is not None and tuple(state["start"]) == start:
        synthesizer.load_state_dict(state["synthesizer"])
        taken = state["taken"]
    with stage.task("Warming up generator", steps) as task:
        task.advance(taken)
        while budget.done(taken, steps) < 1:
            task.advance(1, **step())
            taken += 1
            if file.is_due():
                file.save({"start": start, "taken": taken, "synthesizer": synthesizer.state_dict()})
    return [] if taken >= steps else [f"the budget allowed {taken} of {steps} warm-up steps of the generator"]


def knowledge_of(teacher: Teacher, *, statistics: bool) -> str:
    """Returns in words what the images of a generator are made from."""
    answers_alone = "a generator that learns from the teacher's answers"
    return f"{answers_alone} and its BatchNorm statistics" if statistics and teacher.has_batch_norm else answers_alone
