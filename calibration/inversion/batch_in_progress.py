"""A batch of images that is being optimised, and its state, from which it can be gone on with."""

import copy
from math import inf
from typing import Any

import torch
from torch import Tensor

from dfq.calibration.gradient_weights import WeightedTerms
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.labels import draw_labels
from dfq.calibration.inversion.low_pass import low_pass
from dfq.teacher import Teacher
from dfq.training.optimizer_steps import step_if_finite


class BatchInProgress:
    """Images of one kind as they are written down, with their optimizer.

    Args:
        config: The kind.
        size: Number of images.
        teacher: Network that the images are made for.
        generator: Source of all random numbers of the batch: its start, its labels, and what its steps draw.

    Attributes:
        generator: The same source.
        labels: Labels of the images (N,); None where the teacher is no classifier.
        seed: Seed of the terms that read what the network computes inside.
        losses: The loss of each step that was taken.
        step: Number of steps, those included that were left out because they were not finite.
    """

    def __init__(self, config: InversionConfig, size: int, teacher: Teacher, generator: torch.Generator):
        self.config, self.size, self.teacher, self.generator = config, size, teacher, generator
        self.parametrization = config.parametrization(size, teacher.input_spec.size, generator, teacher.device)
        self.labels: Tensor | None = None
        if teacher.is_classifier:
            drawn = draw_labels(size, teacher.num_answers, generator, paired=config.needs_pairs)
            self.labels = drawn.to(teacher.device)
        self.seed = int(torch.randint(2**31, (), generator=generator)) if config.needs_inner else 0
        self.optimizer = torch.optim.Adam(
            self.parametrization.parameters(), lr=config.learning_rate, betas=config.betas, eps=config.eps
        )
        self.terms, self.losses, self.step = WeightedTerms(config.terms), list[float](), 0
        self._best: dict[str, Tensor] | None = None

    def take_step(self, loss: Tensor) -> None:
        """Takes one step against `loss`, unless it is not finite."""
        if self.config.keep_best and loss.item() <= min(self.losses, default=inf):
            self._best = copy.deepcopy(self.parametrization.state_dict())
        if step_if_finite(self.optimizer, loss, self.parametrization.parameters()):
            self.losses.append(loss.item())
        self.step += 1

    @torch.no_grad()
    def images(self) -> Tensor:
        """Returns the images as they are now, normalised, (N, C, H, W); pixels lie on the 8-bit grid of image files."""
        if self._best is not None:
            self.parametrization.load_state_dict(self._best)
        pixels = self.parametrization.to_pixels(self.parametrization.logits().float())
        pixels = pixels if self.config.cutoff is None else low_pass(pixels, self.config.cutoff)
        pixels = (pixels.clamp(0, 1) * 255).round() / 255
        return self.teacher.input_spec.normalize(pixels).contiguous(memory_format=torch.channels_last)

    def state_dict(self) -> dict[str, Any]:
        return {
            "parametrization": self.parametrization.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "terms": self.terms.state_dict(),
            "generator": self.generator.get_state(),
            "labels": self.labels,
            "seed": self.seed,
            "losses": self.losses,
            "step": self.step,
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.parametrization.load_state_dict(state["parametrization"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.terms.load_state_dict(state["terms"])
        self.generator.set_state(state["generator"].cpu())
        self.labels, self.seed, self._best = state["labels"], state["seed"], state["best"]
        self.losses, self.step = list(state["losses"]), state["step"]
