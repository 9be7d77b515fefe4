"""`RunningGenerator`: one generator network for a whole run, as GDFQ, AdaDFKD, RDSKD and Retain have it."""

from collections.abc import Callable
from math import inf, isfinite

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from dfq.calibration.generator_network import seeded_generator
from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Progress
from dfq.teacher import Teacher
from dfq.teacher.answers import answers


class RunningGenerator:
    """A generator, its Adam and its random draws.

    Its images are tanh(network(z)), given the mean 0 and deviation 1 of each batch, as DAFL, GDFQ, RDSKD and Retain
    have it. `sample` clips them to valid 8-bit pixels; a student that learns along sees them unclipped, as published.

    Args:
        latent, width: of the network (`dfq.calibration.generator_network.Generator`).
        learning_rate, betas: of Adam.
        num_classes: of a conditional generator; None: unconditional, and no labels are drawn.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        latent: int,
        width: int,
        learning_rate: float,
        betas: tuple[float, float],
        seed: int,
        num_classes: int | None = None,
    ):
        self.teacher, self.latent, self.num_classes = teacher, latent, num_classes
        self.random = torch.Generator().manual_seed(seed)
        self.network = seeded_generator(seed, teacher.input_spec.size, latent, width, num_classes).to(teacher.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate, betas=betas)

    def images(self, count: int) -> tuple[Tensor, Tensor | None]:
        """(normalised images (N, C, H, W), drawn labels (N,)), differentiable; None in place of labels: none drawn."""
        device = self.teacher.device
        noise, labels = torch.randn(count, self.latent, generator=self.random).to(device), None
        if self.num_classes is not None:
            labels = torch.randint(self.num_classes, (count,), generator=self.random).to(device)
        return self.render(noise, labels), labels

    def render(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Normalised images (N, C, H, W) of noise (N, latent), differentiable."""
        with fast_autocast(self.teacher.device):
            images = torch.tanh(self.network(noise, labels).float())
        return batch_norm(images, None, None, training=True)

    def step(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """One step of Adam against the sum of `losses`; returns them under names for the report.

        A step whose gradient is not finite is left out: it would turn every later image into NaN.
        """
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), inf)
        if isfinite(norm):
            self.optimizer.step()
        return {f"generator_{name}": loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def sample(self, count: int, batch_size: int) -> Batch:
        """`count` images, clipped to valid 8-bit pixels. Where no labels are drawn, the teacher's answers are given."""
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


def warm_up(step: Callable[[], dict[str, float]], steps: int, budget: Budget, progress: Progress) -> list[str]:
    """`steps` steps of a generator alone, or as many as the budget allows; returns notes for the report."""
    budget, taken = budget.part(1.0), 0
    with progress.task("Warming up the generator", steps) as task:
        while budget.done(taken, steps) < 1:
            task.advance(1, **step())
            taken += 1
    return [] if taken >= steps else [f"the budget allowed {taken} of {steps} warm-up steps of the generator"]
