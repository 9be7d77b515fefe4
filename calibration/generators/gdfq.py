"""GDFQ: a conditional generator trained along with the student (Xu et al., ECCV 2020, arXiv 2003.03603).

Each training step first moves the generator (cross-entropy of the drawn labels, deviation from the BatchNorm
statistics), then gives its images to the student. Deviations, none of them in the loss: the last iterate is reported,
not the best epoch on real validation images. Images that leave the synthesizer for calibration, the contact sheet and
the held-out set are clipped to valid pixels; the student trains on what the generator puts out, as published.

With RGAL's terms in addition (`GDFQConfig.terms`), the same generator works against the student as it learns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.calibration.frozen_student import frozen
from dfq.calibration.generators.trained_generator import NetworkConfig, RunningGenerator, knowledge_of, warm_up
from dfq.calibration.gradient_weights import WeightedTerms
from dfq.calibration.inversion_terms import SynthesisStep, Term
from dfq.graph.features import Features, features_of
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import input_prior, label_cross_entropy


@dataclass(frozen=True, kw_only=True)
class GDFQConfig(NetworkConfig):
    """Settings of `GDFQ`, as published for CIFAR.

    Attributes:
        deviation_weight: Weight of the deviation from the BatchNorm statistics.
        warm_up: Number of steps that the generator takes alone, before there is a student (published: 4 epochs of 200
            steps, which `gdfq-published` takes, and 50 epochs for ImageNet).
        terms: Further losses of the generator; the paper has none.
    """

    latent: int = 100
    betas: tuple[float, float] = (0.5, 0.999)
    deviation_weight: float = 0.1
    warm_up: int = 200
    terms: tuple[Term, ...] = ()


class GDFQ:
    """Synthesizer with one generator for the whole run (`dfq.calibration.Synthesizer`).

    Args:
        config: Settings of the method.
        teacher: Network that the images are made for.
        stage: Time, report and seed; its budget may cut the warm-up short.
        batch_size: Number of images in a step, at most `NetworkConfig.max_batch`.
        augment: Ignored, because every image is new.
    """

    def __init__(
        self,
        config: GDFQConfig,
        teacher: Teacher,
        stage: Stage | None = None,
        *,
        batch_size: int = 256,
        augment: Augment | None = None,
    ):
        self.config, self.teacher, self.batch_size = config, teacher, min(batch_size, config.max_batch)
        self.stage = stage or Stage()
        self.notes: list[str] = []
        self.knowledge = knowledge_of(teacher, statistics=True)
        paired = any(getattr(term, "needs_pairs", False) for term in config.terms)
        self.generator = RunningGenerator(
            config, teacher, seed=self.stage.seed, num_classes=teacher.num_answers, paired=paired
        )
        self.terms, self.steps = WeightedTerms(config.terms), 0

    def update(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator and returns its losses, by name; as published, the student plays no part."""
        images, labels = self.generator.images(self.batch_size)
        assert labels is not None
        self._latest = Batch(images.detach(), labels)
        with self.teacher.bn_statistics() as statistics, frozen(student):
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
                features = features_of(student)(images) if self.config.terms and student is not None else None
            deviation = statistics.mean_squared_loss() if self.teacher.has_batch_norm else input_prior(images)
            losses = {
                "class": label_cross_entropy(logits, labels),
                "deviation": self.config.deviation_weight * deviation,
            }
            base = torch.stack([loss.float() for loss in losses.values()]).sum()
            figures = self.generator.step(losses | self._terms(base, images, labels, logits, features))
        self.steps += 1
        return figures

    def _terms(
        self, base: Tensor, images: Tensor, labels: Tensor, logits: Tensor, student: Features | None
    ) -> dict[str, Tensor]:
        spec = self.teacher.input_spec
        step = SynthesisStep(
            images, spec.to_pixels(images), images, labels, logits, student, spec.is_standardized, self.generator.random
        )
        return self.terms.losses(base, step)

    def fresh(self) -> Batch:
        """Returns the images of the last `update`: the student trains on what the generator has just learned from."""
        return self._latest

    def sample(self, count: int) -> Batch:
        """Returns `count` images, clipped to valid 8-bit pixels; the first call warms the generator up."""
        if self.steps < self.config.warm_up:
            steps = self.config.warm_up - self.steps
            self.notes += warm_up(self, lambda: self.update(None), steps, self.stage)
        return self.generator.sample(count, self.batch_size)

    def state_dict(self) -> dict:
        return {**self.generator.state_dict(), "steps": self.steps, "terms": self.terms.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.generator.load_state_dict(state)
        self.steps = state["steps"]
        self.terms.load_state_dict(state["terms"])
