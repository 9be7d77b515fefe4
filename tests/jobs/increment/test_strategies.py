"""Class-incremental learning without old images: the head grows, and old classes are replayed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.incremental_cases import OLD, accuracy, part
from support.small_nets import SPEC, Residual, plain, small_teacher
from torch import nn

from dfq.errors import DfqError
from dfq.graph.features import Features
from dfq.images.labelled import Labelled
from dfq.jobs.increment import (
    STRATEGIES,
    IncrementSettings,
    average_accuracy,
    forgetting,
    increment_model,
)
from dfq.jobs.increment.grow_head import grow
from dfq.jobs.increment.strategies import (
    HeadOverAll,
    IncrementStep,
    NewAmongThemselves,
    OldAnswers,
    OldFeatures,
    Relations,
)


class TestGrow:
    def test_old_logits_stay(self, digits_teacher):
        grown, images = grow(digits_teacher, 3), torch.randn(4, 1, 8, 8)
        logits = grown.model(images)
        assert logits.shape == (4, 8)
        torch.testing.assert_close(logits[:, :5], digits_teacher(images))
        assert torch.equal(grown.graph(images), logits) and torch.equal(grown.old(images), logits[:, :5])
        assert all(parameter.requires_grad for parameter in grown.model.parameters())
        assert digits_teacher(images).shape == (4, 5)

    def test_all_views_share_their_layers(self, digits_teacher):
        grown, images = grow(digits_teacher, 3), torch.randn(4, 1, 8, 8)
        with torch.no_grad():
            grown.head.bias.add_(1.0)
        torch.testing.assert_close(grown.old(images), digits_teacher(images) + 1)
        assert torch.equal(grown.graph(images), grown.model(images))

    def test_new_rows_depend_on_the_seed_alone(self, digits_teacher):
        assert torch.equal(grow(digits_teacher, 3, seed=1).head.weight, grow(digits_teacher, 3, seed=1).head.weight)
        assert not torch.equal(grow(digits_teacher, 3, seed=1).head.weight, grow(digits_teacher, 3, seed=2).head.weight)

    def test_a_head_that_cannot_grow(self):
        teacher = small_teacher(nn.Sequential(plain()[:-3], nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        with pytest.raises(DfqError, match="last linear layer"):
            grow(teacher, 2)


class TestTerms:
    def step(self):
        torch.manual_seed(0)
        head = nn.Linear(6, 8)
        features, old = torch.randn(10, 6, requires_grad=True), torch.randn(10, 6)
        student = Features(head(features), (), features)
        labels = torch.tensor([5, 6, 7, 5, 6, 0, 1, 1, 2, 2])
        return IncrementStep(student, Features(torch.randn(10, 5), (), old), labels, 5, head), features

    def test_new_images_do_not_move_old_logits(self):
        step, _ = self.step()
        (gradient,) = torch.autograd.grad(NewAmongThemselves()(step), step.student.logits)
        assert gradient[:5, 5:].any() and not gradient[:, :5].any() and not gradient[5:].any()

    def test_the_head_alone_learns_to_tell_new_from_old(self):
        step, features = self.step()
        HeadOverAll()(step).backward()
        assert not features.grad.any() and step.head.weight.grad.any()

    def test_a_class_that_is_new_alone_reaches_the_features_in_part(self):
        step, features = self.step()
        seven = replace(step.teacher, outputs=torch.randn(10, 7))
        alone = replace(step, teacher=seven, labels=step.labels // 7 * 7)
        gradients = {}
        for share in (0.0, 0.5, 1.0):
            (gradients[share],) = torch.autograd.grad(HeadOverAll(share)(alone), features, retain_graph=True)
        assert not gradients[0.0].any() and gradients[1.0].any()
        torch.testing.assert_close(gradients[0.5], gradients[1.0] / 2)
        torch.testing.assert_close(HeadOverAll(0.5)(alone), HeadOverAll(0.0)(alone))

    def test_relations_do_not_cross_from_new_images_to_replayed_ones(self):
        step, features = self.step()
        for half in (slice(0, 5), slice(5, 10)):
            moved = features.detach().clone()
            moved[half] = moved[half] @ torch.linalg.qr(torch.randn(6, 6)).Q  # as a whole: distances within stay
            turned = replace(step, student=Features(step.student.logits, (), moved))
            torch.manual_seed(1)
            expected = Relations()(step)
            torch.manual_seed(1)
            torch.testing.assert_close(Relations()(turned), expected)
        assert expected > 0

    def test_the_head_weighs_new_and_replayed_images_by_their_classes(self):
        step, _ = self.step()
        new, old = (
            nn.functional.cross_entropy(step.student.logits[p], step.labels[p]) for p in (slice(5), slice(5, 10))
        )
        torch.testing.assert_close(HeadOverAll()(step), 3 / 8 * new + 5 / 8 * old)

    def test_old_answers_and_features_vanish_for_a_student_that_kept_them(self):
        step, features = self.step()
        kept = IncrementStep(
            step.student, Features(step.student.logits[:, :5], (), features), step.labels, 5, step.head
        )
        assert OldAnswers()(kept).item() == pytest.approx(0, abs=1e-6) and OldFeatures()(kept).item() == 0
        assert OldAnswers()(step) > 0 and OldFeatures()(step) > 0 and Relations()(step).isfinite()


def test_metrics_against_the_definitions():
    assert average_accuracy([1.0, 0.8, 0.6]) == pytest.approx(0.8)
    assert forgetting([[0.9], [0.7, 0.8], [0.6, 0.85, 0.9]]) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.85)) / 2)


def test_replay_keeps_what_fine_tuning_forgets(digits_teacher):
    new = part("training", OLD, 9)
    kept, learned = {}, {}
    for name in ("rgal", "fine-tuning"):
        settings = IncrementSettings(strategy=name, flip=False, images=64, steps=120, batch_size=32)
        model = increment_model(digits_teacher, new, settings).model
        kept[name] = accuracy(model, "held-out", 0, OLD - 1)
        learned[name] = accuracy(model, "held-out", OLD, 9, offset=OLD)
    assert learned["fine-tuning"] > 0.8 and kept["fine-tuning"] < 0.3
    assert kept["rgal"] > kept["fine-tuning"] + 0.3 and learned["rgal"] > 0.3  # in 120 steps on 64 synthetic images


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_does_the_whole_job(name):
    teacher = small_teacher(Residual())
    before = {key: tensor.clone() for key, tensor in teacher.model.state_dict().items()}
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    settings = IncrementSettings(strategy=name, images=8, steps=3, batch_size=4, budget=60.0)
    result = increment_model(teacher, Labelled(pixels, np.arange(20) % 2), settings)
    assert result.model(torch.zeros(2, *SPEC.size)).shape == (2, 7)
    assert result.report["steps"] == 3 and result.report["images"]["synthetic"] in (0, 8)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.model.state_dict().items())
