"""Qimera: images between classes from superposed class embeddings (Choi et al., NeurIPS 2021, arXiv 2111.02625).

A conditional generator is trained on single classes as in GDFQ, by the cross-entropy of the drawn class and the
deviation from the BatchNorm statistics. The student also sees images whose embedding is a weighted sum of several
classes' embeddings. They lie near the teacher's decision boundaries, where noise alone hardly leads. The embedding of a
class is a learned linear map (disentanglement mapping) of the teacher's own classifier weights for that class, so that
classes which the teacher finds alike have similar embeddings.

Deviations: the student is distilled by divergence alone, as in most rows of the table; all images of a step come from
one draw of the generator; the deviation from the statistics has GDFQ's weight. The weights of a superposition are a
softmax of normal numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import normalize

from dfq.calibration.generators.trained_generator import RunningGenerator
from dfq.calibration.generators.unconditional import GeneratorConfig, GeneratorSynthesizer
from dfq.system.compute_dtype import fast_autocast
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.losses import input_prior, label_cross_entropy


@dataclass(frozen=True, kw_only=True)
class QimeraConfig(GeneratorConfig):
    """Settings of `Qimera`.

    Attributes:
        superposed: Share of the student's images, in [0, 1], that have mixed embeddings (published: 0.4 for CIFAR-10).
        classes: Number of classes in each mixture (published: 2 for CIFAR-10).
        deviation_weight: Weight of the deviation from the BatchNorm statistics, which is that of GDFQ.
    """

    latent: int = 100
    betas: tuple[float, float] = (0.5, 0.999)
    student_steps: int = 1
    superposed: float = 0.4
    classes: int = 2
    deviation_weight: float = 0.1


class SuperposedGenerator(RunningGenerator):
    """A generator whose noise is scaled by a class embedding, or by a weighted sum of several.

    Args:
        config: Settings of the method.
        classifier: Weights of the teacher's last layer, (classes, features).
        teacher: Network that the images are made for.
        seed: Seed of the network's start and of its random draws.
    """

    def __init__(self, config: QimeraConfig, classifier: Tensor, teacher: Teacher, *, seed: int):
        super().__init__(config, teacher, seed=seed)
        self.config, self.classifier = config, normalize(classifier.detach().float(), dim=1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mapping = nn.Linear(classifier.shape[1], config.latent).to(teacher.device)
        self.network.add_module("mapping", mapping)
        self.mapping = mapping
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, betas=config.betas)

    def images(self, count: int) -> tuple[Tensor, None]:
        """Returns images for the student, of single classes and of mixtures in random order; no labels are drawn."""
        mixed = round(self.config.superposed * count)
        shares = torch.cat([self._single(count - mixed)[0], self.mixtures(mixed)])
        return self.paint(shares[torch.randperm(count, generator=self.random)]), None

    def of_one_class(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns normalised images (N, C, H, W) and their labels (N,) for the generator's own training."""
        shares, labels = self._single(count)
        return self.paint(shares), labels.to(self.teacher.device)

    def _single(self, count: int) -> tuple[Tensor, Tensor]:
        """Returns the shares (N, classes) of `count` images of one class each, and their labels (N,)."""
        labels = torch.randint(len(self.classifier), (count,), generator=self.random)
        return nn.functional.one_hot(labels, len(self.classifier)).float(), labels

    def mixtures(self, count: int) -> Tensor:
        """Returns the shares (N, classes) of `count` images of `QimeraConfig.classes` classes each; rows sum to 1."""
        classes = len(self.classifier)
        chosen = torch.rand(count, classes, generator=self.random).argsort(1)[:, : self.config.classes]
        weights = torch.randn(chosen.shape, generator=self.random).softmax(1)
        return torch.zeros(count, classes).scatter(1, chosen, weights)

    def paint(self, shares: Tensor) -> Tensor:
        """Returns normalised images (N, C, H, W) of shares (N, classes)."""
        noise = torch.randn(len(shares), self.latent, generator=self.random).to(self.teacher.device)
        embeddings = shares.to(self.teacher.device) @ self.mapping(self.classifier)
        return self.render(noise * embeddings)


class Qimera(GeneratorSynthesizer):
    """The generator learns at every step of the student, which plays no part in that."""

    reads_statistics = True

    def __init__(self, config: QimeraConfig, teacher: Teacher, stage: Stage | None = None, **common):
        super().__init__(config, teacher, stage, **common)
        self.config = config
        seed = self.stage.seed
        self.generator: SuperposedGenerator = SuperposedGenerator(config, _classifier(teacher), teacher, seed=seed)

    def learn(self, student: fx.GraphModule | None) -> dict[str, float]:
        """Takes one step of the generator on single classes and returns its losses, by name."""
        images, labels = self.generator.of_one_class(self.batch_size)
        with self.teacher.bn_statistics() as statistics:
            with fast_autocast(self.teacher.device):
                logits = self.teacher(images)
            deviation = statistics.mean_squared_loss() if self.teacher.has_batch_norm else input_prior(images)
            return self.generator.step(
                {"class": label_cross_entropy(logits, labels), "deviation": self.config.deviation_weight * deviation}
            )


def _classifier(teacher: Teacher) -> Tensor:
    """Returns the weights (classes, features) of the last layer; where it is not linear, classes are orthogonal."""
    layers = [m for m in teacher.model.modules() if isinstance(m, nn.Linear) and m.out_features == teacher.num_classes]
    if not layers:
        return torch.eye(teacher.num_answers, device=teacher.device)
    rows = layers[-1].weight
    return torch.cat([-rows, rows]) if len(rows) == 1 else rows  # The sign of a single logit tells two classes apart.
