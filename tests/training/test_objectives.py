"""Objectives against their definitions, and the features and mixtures that they read."""

import pytest
import torch
from support.small_nets import SPEC, plain, small_teacher
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.images.mixtures import Mix
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, quantizers_in_mode
from dfq.training.gradient_ratios import gradient_length
from dfq.training.losses import disagreement
from dfq.training.objectives import LabelledDistillation, RelationalDistillation
from dfq.training.output_losses import output_divergence
from dfq.training.relational_losses import DISTANCE_WEIGHTED, draw_triplets, triplet_loss


def batch(count=12):
    images = torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(count) % 5)


def colourful(count=40):
    """Images that the teacher puts into more than one class."""
    tints = 4 * torch.randn(count, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    return Batch(batch(count).images + tints)


@pytest.fixture(scope="module")
def teacher():
    return small_teacher()


@pytest.fixture(scope="module")
def student(teacher):
    return calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), batch().images)


def test_features_of_teacher_and_student_lie_in_the_same_places(teacher, student):
    images = batch().images
    ours, theirs = features_of(student)(images), teacher.features(images)
    assert [s.shape for s in ours.stages] == [s.shape for s in theirs.stages] == [(12, 8, 16, 16), (12, 8, 8, 8)]
    torch.testing.assert_close(ours.logits, student(images))
    torch.testing.assert_close(theirs.logits, teacher(images), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(theirs.penultimate, theirs.pooled_stages()[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(teacher.model.head(theirs.penultimate), theirs.logits, atol=1e-5, rtol=1e-5)
    assert features_of(student) is features_of(student)


def test_student_features_come_from_behind_the_quantizer(student):
    stage = features_of(student)(batch().images).stages[-1]
    quantizer = [q for n, q in student.named_modules() if n.startswith("activation_quantizers.")][-1]
    steps = stage / quantizer.qparams()[0]
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
    assert len(stage.unique()) <= 8


def test_features_learn_with_the_student(teacher):
    student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), batch().images)
    before = features_of(student)(batch().images).logits.detach()
    with torch.no_grad():
        student.get_submodule("head").bias.add_(1.0)
    torch.testing.assert_close(features_of(student)(batch().images).logits, before + 1)


def test_a_network_without_feature_maps_has_no_stages():
    teacher = small_teacher(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 7), torch.nn.ReLU(),
                                                torch.nn.Linear(7, 5)))  # fmt: skip
    features = teacher.features(batch().images)
    assert features.stages == () and features.penultimate.shape == (12, 7)


def test_relational_distillation_is_the_sum_of_its_terms(teacher, student):
    images = batch()
    losses = RelationalDistillation(pooled_weight=0.1, map_weight=2.0, triplet_weight=0.5)(student, images, teacher)
    assert set(losses) == {"kd", "pooled", "maps", "triplet"}
    ours, theirs = features_of(student)(images.images), teacher.features(images.images)
    maps = sum((s - t).square().mean() / t.var() for s, t in zip(ours.stages, theirs.stages, strict=True))
    torch.testing.assert_close(losses["maps"], 2.0 * maps)
    pooled = sum(
        (s.mean((2, 3)) - t.mean((2, 3))).square().mean() for s, t in zip(ours.stages, theirs.stages, strict=True)
    )
    torch.testing.assert_close(losses["pooled"], 0.1 * pooled)
    assert set(RelationalDistillation()(student, images, teacher)) == {"kd"}


@pytest.mark.parametrize("ratio", [0.1, 3.0])
def test_triplets_pull_at_the_features_as_hard_as_asked_for(teacher, student, ratio):
    images = colourful()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weighted = RelationalDistillation(triplet_ratio=ratio)(student, images, teacher)["triplet"]
        features, target = features_of(student)(images.images), teacher(images.images)
        torch.manual_seed(0)
        triplet = triplet_loss(
            features.penultimate, draw_triplets(features.penultimate, target.argmax(1), DISTANCE_WEIGHTED)
        )
    kd = output_divergence(teacher, features.outputs, target, 4.0)
    expected = ratio * gradient_length(kd, features.carrier) / gradient_length(triplet, features.carrier)
    assert expected > 0 and float((weighted / triplet).detach()) == pytest.approx(expected, rel=1e-3)


def test_only_the_rows_at_the_end_are_related(teacher, student):
    """The others may be mixtures, which have no class."""
    objective = RelationalDistillation(triplet_weight=1.0, paired=0.5)
    images = colourful(24).images
    torch.manual_seed(0)
    alone = RelationalDistillation(triplet_weight=1.0)(student, Batch(images[12:]), teacher)["triplet"]
    torch.manual_seed(0)
    together = objective(student, Batch(images), teacher)["triplet"]
    assert alone > 0
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_a_relative_margin_asks_a_copy_for_nothing(teacher, student):
    with quantizers_in_mode(student, "off"):
        relative = RelationalDistillation(triplet_weight=1.0, relative=True, margin=0.0)(student, colourful(), teacher)
        absolute = RelationalDistillation(triplet_weight=1.0, margin=0.0)(student, colourful(), teacher)
    assert relative["triplet"].item() == pytest.approx(0, abs=1e-3) and absolute["triplet"].item() > 0.01


def test_a_perfect_student_has_no_loss(teacher, student):
    with quantizers_in_mode(student, "off"):
        losses = RelationalDistillation(pooled_weight=1.0, map_weight=1.0)(student, batch(), teacher)
    assert all(loss.item() < 1e-6 for loss in losses.values())


def test_labelled_distillation_against_the_definition(teacher, student):
    images = batch()
    s, t = student(images.images), teacher(images.images)
    divergence = kl_div(log_softmax(s / 20, 1), softmax(t / 20, 1), reduction="sum")
    losses = LabelledDistillation()(student, images, teacher)
    torch.testing.assert_close(losses["kd"], 400 * divergence / 12, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses["ce"], cross_entropy(s, images.labels))
    released = LabelledDistillation(divide_by_classes=True)(student, images, teacher)
    torch.testing.assert_close(released["kd"], divergence / (12 * 5), atol=1e-6, rtol=1e-4)


def test_disagreement_counts_only_samples_that_agree_when_masked():
    teacher = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    student = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # agrees on the first alone
    divergence = kl_div(log_softmax(student, 1), softmax(teacher, 1), reduction="none").sum(1)
    torch.testing.assert_close(disagreement(student, teacher), -divergence.mean())
    torch.testing.assert_close(disagreement(student, teacher, masked=True), -divergence[0] / 2)
    assert disagreement(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_disagreement_has_a_finite_gradient_where_a_probability_underflows():
    teacher = torch.tensor([[300.0, 0.0, -10.0]], requires_grad=True)
    student = torch.tensor([[2.0, 0.0, 1.0]], requires_grad=True)
    disagreement(student, teacher).backward()
    assert teacher.grad.isfinite().all() and student.grad.isfinite().all() and student.grad.any()


def test_mixtures_are_made_of_images_of_the_batch():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(Mix()(images, generator), images)
    mixed = Mix(blended=1 / 3, patched=1 / 3)(images, generator)
    blended, patched, kept = mixed.split(2)
    assert torch.equal(kept, images[4:])
    assert all(len(image.unique()) == 1 for image in blended) and not torch.equal(blended, images[:2])
    assert all(set(image.unique().tolist()) <= set(range(6)) for image in patched)
    boxes = torch.cat([Mix(patched=1.0)(images, generator) for _ in range(50)])
    foreign = (boxes != images[:1].expand_as(boxes)).float().mean((1, 2, 3))
    assert foreign.min() >= 0.0 and foreign.max() <= 1.0 and len(foreign.unique()) > 20


def test_parts_are_mixed_within_themselves():
    images = torch.tensor([0.0] * 6 + [1.0] * 6).view(12, 1, 1, 1).expand(12, 2, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(Mix(blended=0.5, patched=0.5, parts=2)(images, generator), images)
    assert not torch.equal(Mix(blended=0.5, patched=0.5)(images, generator), images)


def test_plain_networks_without_batch_norm_have_features():
    assert len(small_teacher(plain()).features(batch().images).stages) == 2
