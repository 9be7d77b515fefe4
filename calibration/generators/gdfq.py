"""GDFQ: a conditional generator trained along with the student (Xu et al., ECCV 2020, arXiv 2003.03603).

Each training step first moves the generator (cross-entropy of the drawn labels, deviation from the BatchNorm
statistics), then gives its images to the student. Deviations: none in the loss; the last iterate is reported, not the
best epoch on real validation images. Images that leave the synthesizer for calibration, the contact sheet and the
held-out set are clipped to valid pixels; the student trains on what the generator puts out, as published.

With RGAL's terms beside (`GDFQConfig.terms`) the same generator works against the student as it learns.
"""

from dataclasses import dataclass

from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.generators.trained_generator import RunningGenerator, warm_up
from dfq.calibration.inversion_terms import SynthesisStep, Term
from dfq.graph.features import Features, features_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.budget import Budget
from dfq.system.compute_dtype import fast_autocast
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher
from dfq.training.losses import input_prior, label_cross_entropy


@dataclass(frozen=True, kw_only=True)
class GDFQConfig:
    """Settings of `GDFQ`, as published for CIFAR; [ImageNet] where they differ.

    Attributes:
        latent, width: of the generator.
        learning_rate, betas: of the generator's Adam.
        deviation_weight: of the deviation from the BatchNorm statistics.
        warm_up: steps of the generator alone, before there is a student (published: 4 [50] epochs of 200 steps).
        terms: further losses of the generator; none as published.
    """

    latent: int = 100
    width: int = 128
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    deviation_weight: float = 0.1
    warm_up: int = 200
    terms: tuple[Term, ...] = ()


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
        self.budget, self.progress = budget or Budget(), progress or Silent()
        self.notes: list[str] = []
        self.generator = RunningGenerator(
            teacher, latent=config.latent, width=config.width, learning_rate=config.learning_rate, betas=config.betas,
            seed=seed, num_classes=teacher.num_answers,
        )  # fmt: skip
        self.steps = 0

    def update(self, student: fx.GraphModule | None) -> dict[str, float]:
        """One step of the generator; as published, the student plays no part in it."""
        images, labels = self.generator.images(self.batch_size)
        assert labels is not None
        self._latest = Batch(images.detach(), labels)
        with self.teacher.bn_statistics() as statistics, frozen(student):
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
                features = features_of(student)(images) if self.config.terms and student is not None else None
            deviation = statistics.absolute_loss() if self.teacher.has_batch_norm else input_prior(images)
            losses = {
                "class": label_cross_entropy(logits, labels),
                "deviation": self.config.deviation_weight * deviation,
                **self._terms(images, labels, logits, features),
            }
            figures = self.generator.step(losses)
        self.steps += 1
        return figures

    def _terms(self, images: Tensor, labels: Tensor, logits: Tensor, student: Features | None) -> dict[str, Tensor]:
        spec = self.teacher.input_spec
        step = SynthesisStep(
            images, spec.to_pixels(images), images, labels, logits, student, spec.is_standardized, self.generator.random
        )
        losses = {type(term).__name__.lower(): term(step) for term in self.config.terms}
        return {name: loss for name, loss in losses.items() if loss is not None}

    def fresh(self) -> Batch:
        """The images of the last `update`: the student trains on those that the generator has just learned from."""
        return self._latest

    def sample(self, count: int) -> Batch:
        """`count` images, clipped to valid 8-bit pixels; the first call warms the generator up."""
        if self.steps < self.config.warm_up:
            steps = self.config.warm_up - self.steps
            self.notes += warm_up(lambda: self.update(None), steps, self.budget, self.progress)
        return self.generator.sample(count, self.batch_size)

    def state_dict(self) -> dict:
        return {**self.generator.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.generator.load_state_dict(state)
        self.steps = state["steps"]
