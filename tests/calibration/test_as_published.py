"""Rows that are "as published" minimise what their papers write, which is written out here a second time."""

import copy
from dataclasses import replace
from math import inf

import pytest
import torch
from support.small_nets import SPEC, Residual, lived_in, small_teacher
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.calibration import METHODS, rgal
from dfq.calibration.inversion import zeroq
from dfq.calibration.inversion.batch_in_progress import BatchInProgress
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.parametrizations import FreePixels
from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.relational_losses import FOCAL_WEIGHTED, draw_triplets


def layer_inputs(network: nn.Module, images: Tensor) -> list[tuple[nn.BatchNorm2d, Tensor]]:
    """The BatchNorm layers of a network and what they read."""
    seen: list[tuple[nn.BatchNorm2d, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda layer, inputs, _: seen.append((layer, inputs[0])))
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return seen


def undecided() -> Teacher:
    """A teacher that finds different classes in noise."""
    torch.manual_seed(0)
    model, noise = lived_in(Residual()), SPEC.normalize(0.5 + 0.25 * torch.randn(64, *SPEC.size))
    with torch.no_grad():
        model.head.weight.mul_(5)
        model.head.bias.sub_(model(noise).mean(0))
    return Teacher(model, SPEC)


class TestZeroQ:
    def test_the_loss_is_equation_3(self):
        """Cai et al., CVPR 2020: the squared norms of differences of means and standard deviations, image included."""
        teacher = small_teacher()
        synthesizer = Inversion(zeroq.AS_PUBLISHED, teacher, Stage(seed=1))
        config = synthesizer.kinds[0]
        batch = BatchInProgress(config, 12, teacher, synthesizer.generator)
        written = batch.parametrization
        with teacher.bn_statistics() as statistics:
            loss = synthesizer._loss(batch, statistics)
        images = SPEC.normalize(written.to_pixels(written.logits()))
        wanted = images.mean((0, 2, 3)).square().sum() + (images.std((0, 2, 3)) - 1).square().sum()
        for layer, read in layer_inputs(teacher.model, images):
            spread = read.var((0, 2, 3), correction=0).add(layer.eps).sqrt()
            wanted += (read.mean((0, 2, 3)) - layer.running_mean).square().sum()
            wanted += (spread - (layer.running_var + layer.eps).sqrt()).square().sum()
        torch.testing.assert_close(loss, wanted, rtol=1e-2, atol=0)  # It may be computed in bfloat16.

    def test_all_500_steps_are_those_of_adam_with_its_usual_moments(self):
        synthesizer = METHODS["zeroq"].synthesizer(small_teacher())
        (config,) = synthesizer.kinds
        assert (config.iterations, config.learning_rate, config.betas) == (500, 0.5, (0.9, 0.999))
        assert not any(config.has_settled([1.0] * steps) for steps in range(501))


class TestRGAL:
    """Liang & Fu, IJCV 2025."""

    def test_images_minimise_statistics_classes_agreement_and_swapped_triplets(self):
        teacher = undecided()
        student = copy.deepcopy(teacher.traced)
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        student.eval()
        synthesizer = METHODS["rgal-published"].synthesizer(teacher, Stage(seed=1))
        (config,) = synthesizer.kinds
        assert (config.iterations, config.learning_rate, config.betas) == (400, 1e-3, (0.5, 0.999))
        synthesizer.update(student)
        batch = BatchInProgress(config, 30, teacher, synthesizer.generator)
        written = FreePixels(30, SPEC.size, synthesizer.generator, teacher.device)  # They differ enough for triplets.
        labels, state = torch.arange(30) % 5, synthesizer.generator.get_state()
        batch.parametrization, batch.labels = written, labels
        with teacher.bn_statistics() as statistics:
            loss = synthesizer._loss(batch, statistics)
        images = SPEC.normalize(written.to_pixels(written.logits()))
        wanted = F.cross_entropy(teacher(images), labels)
        for layer, read in layer_inputs(teacher.model, images):
            wanted += (read.mean((0, 2, 3)) - layer.running_mean).norm()
            wanted += (read.var((0, 2, 3), correction=0) - layer.running_var).norm()
        found, target = student(images).log_softmax(1), teacher(images).softmax(1)
        divergence = F.kl_div(found, target, reduction="none").sum(1)
        wanted -= (divergence * (found.argmax(1) == target.argmax(1))).mean()
        synthesizer.generator.set_state(state)
        triplets = self.swapped_triplets(student, images, target.argmax(1), synthesizer.generator)
        assert triplets > 0.05
        wanted += 0.1 * triplets
        torch.testing.assert_close(loss, wanted, rtol=1e-2, atol=0)

    @staticmethod
    def swapped_triplets(student: torch.fx.GraphModule, images: Tensor, labels: Tensor, generator) -> Tensor:
        layers, losses = features_of(student)(images).stages, []
        for stage in layers[-2:] if len(layers) >= 4 else layers[-1:]:
            unit = F.normalize(stage.mean((2, 3)), dim=1)
            found = draw_triplets(unit, labels, FOCAL_WEIGHTED, generator)
            anchors, positives, negatives = unit[found.anchors], unit[found.positives], unit[found.negatives]
            to_positive, to_negative = (anchors - positives).norm(dim=1), (anchors - negatives).norm(dim=1)
            losses.append((to_negative - to_positive + 0.2).clamp(min=0).mean())
        return torch.stack(losses).sum()

    def test_the_student_minimises_divergence_pooled_features_and_triplets(self):
        objective = METHODS["rgal-published"].objective
        shown = (objective.temperature, objective.pooled_weight, objective.triplet_weight, objective.map_weight)
        assert shown == (20.0, 0.1, 0.1, 0.0) and objective.triplet_ratio is None

    def test_the_images_of_the_lowest_loss_are_kept(self):
        """A learning rate that throws the images about: the last step is not the best one."""
        config = replace(rgal.AS_PUBLISHED, parametrization=FreePixels, learning_rate=20.0, iterations=12)
        finals = {}
        for keep in (True, False):
            synthesizer = Inversion(replace(config, keep_best=keep), small_teacher(), Stage(seed=1), batch_size=12)
            images = synthesizer.sample(12).images
            with synthesizer.teacher.bn_statistics() as statistics:
                synthesizer.teacher(images)
                finals[keep] = float(statistics.norm_loss())
        assert finals[True] < 0.9 * finals[False]


class TestGDFQ:
    def test_the_generator_minimises_classes_and_a_tenth_of_the_statistics(self):
        """Xu et al., ECCV 2020: cross-entropy of the drawn labels, and mean squared errors of means and variances."""
        teacher, row = small_teacher(), METHODS["gdfq-published"].synthesizer
        synthesizer = row.func(replace(row.args[0], width=16), teacher, Stage(seed=1))
        losses = synthesizer.update(None)
        images, labels = synthesizer.fresh().images, synthesizer.fresh().labels
        assert len(images) == 200
        read = layer_inputs(teacher.model, images)
        of_layers = [
            F.mse_loss(x.mean((0, 2, 3)), layer.running_mean)
            + F.mse_loss(x.var((0, 2, 3), correction=0), layer.running_var)
            for layer, x in read
        ]
        torch.testing.assert_close(
            torch.tensor([losses["generator_class"], losses["generator_deviation"]]),
            torch.stack([F.cross_entropy(teacher(images), labels), 0.1 * torch.stack(of_layers).mean()]),
            rtol=1e-2, atol=0,
        )  # fmt: skip

    def test_the_student_minimises_labels_and_the_released_divergence(self):
        """The released code takes the mean over samples and classes, without the square of the temperature."""
        teacher, student = small_teacher(), small_teacher().traced
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.mul_(1.1)
        images, labels = torch.randn(6, *SPEC.size), torch.arange(6) % 5
        objective = METHODS["gdfq-published"].objective
        assert objective is not None
        losses = objective(student, Batch(images, labels), teacher)
        found, target = student(images), teacher(images)
        wanted = (
            F.cross_entropy(found, labels),
            F.kl_div((found / 20).log_softmax(1), (target / 20).softmax(1), reduction="mean"),
        )
        torch.testing.assert_close(tuple(losses.values()), wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(("side", "rate"), [(32, 1e-4), (96, 1e-6)])
    def test_its_sgd_has_no_guard_of_ours(self, side, rate):
        training = Settings(bits=4, method="gdfq-published").training(replace(SPEC, size=(3, side, side)))
        assert (training.optimizer, training.learning_rate, training.momentum) == ("sgd", rate, 0.9)
        assert (training.clip_norm, training.weight_decay, training.learn_scales) == (inf, 1e-4, False)
