"""Where batches come from: pairs of one class, pools that grow against the student, generators that move along."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, small_teacher

from dfq.calibration import recipes
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion_terms import Disagreement
from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.training.image_sources import FixedImages, FreshImages, GrowingImages, paired_index, predicted_labels

AGAINST_STUDENT = replace(recipes.IMPROVED, iterations=3, terms=(*recipes.IMPROVED.terms, Disagreement(1.0)))


def images(count=20, seed=0):
    return Batch(torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 5)


@pytest.fixture(scope="module")
def teacher():
    return small_teacher()


@pytest.fixture(scope="module")
def student(teacher):
    return calibrate(make_student(teacher, make_scheme("paper-qat", bits=2)), images().images)


def test_every_image_of_a_paired_batch_has_a_partner():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 7, 7, 7, 7])
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(200):
        index = paired_index(labels, 8, generator)
        anchors, partners = index[:4], index[4:]
        assert (labels[anchors] == labels[partners]).all() and (anchors != partners).all()
        seen |= set(zip(anchors.tolist(), partners.tolist(), strict=True))
    expected = {(a, p) for a in range(10) for p in range(10) if a != p and labels[a] == labels[p]}
    assert seen == expected, "every ordered pair is drawn, the lone image never"


def test_pairing_without_any_pair_draws_single_images():
    index = paired_index(torch.arange(6), 8, torch.Generator().manual_seed(0))
    assert len(index) == 8 and set(index.tolist()) <= set(range(6))


def test_the_pool_grows_in_even_steps_against_the_current_student(teacher, student):
    synthesizer = Inversion(AGAINST_STUDENT, teacher, batch_size=8, stage=Stage(seed=1))
    source = GrowingImages(teacher, images(8), synthesizer, 40, paired=True)
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for done in (0.0, 0.13, 0.2, 0.26, 0.4, 0.9):
        batch, _ = source.batch(student, 6, done, generator)
        assert len(batch) == 6
        sizes.append(len(source.images))
    assert sizes == [16, 24, 24, 32, 40, 40]
    assert synthesizer.student is student
    assert torch.equal(source.labels, predicted_labels(teacher, source.images.images))
    assert all(parameter.requires_grad for parameter in student.parameters()), "only frozen while images are made"
    assert all(parameter.grad is None for parameter in student.parameters())


def test_a_pool_that_is_large_enough_does_not_grow(teacher, student):
    source = GrowingImages(teacher, images(8), Inversion(AGAINST_STUDENT, teacher, batch_size=8), 8)
    source.batch(student, 4, 0.9, torch.Generator())
    assert len(source.images) == 8


def test_images_depend_on_the_student_that_they_are_made_against(teacher, student):
    made = []
    for opponent in (None, student):
        synthesizer = Inversion(AGAINST_STUDENT, teacher, batch_size=8, stage=Stage(seed=1))
        if opponent is not None:
            synthesizer.update(opponent)
        made.append(synthesizer.sample(8).images)
    assert not torch.equal(*made)


def test_a_growing_pool_is_restored(teacher, student):
    synthesizer = Inversion(AGAINST_STUDENT, teacher, batch_size=8)
    source = GrowingImages(teacher, images(8), synthesizer, 24, paired=True)
    source.batch(student, 4, 0.9, torch.Generator())
    again = GrowingImages(teacher, images(8), synthesizer, 24, paired=True)
    again.load_state_dict(source.state_dict())
    assert torch.equal(again.images.images, source.images.images) and torch.equal(again.labels, source.labels)


def test_fresh_images_come_from_a_generator_that_learns(teacher, student):
    synthesizer = GDFQ(GDFQConfig(width=16, warm_up=2), teacher, batch_size=8)
    source = FreshImages(teacher, synthesizer.sample(8), synthesizer, 8)
    first, losses = source.batch(student, 8, 0.0, torch.Generator())
    second, later = source.batch(student, 8, 0.5, torch.Generator())
    assert not torch.equal(first.images, second.images) and synthesizer.steps == 4
    assert set(losses) == {"generator_class", "generator_deviation"} and losses != later
    other = GDFQ(GDFQConfig(width=16, warm_up=2), teacher, batch_size=8, stage=Stage(seed=9))
    restored = FreshImages(teacher, other.sample(8), other, 8)
    restored.load_state_dict(source.state_dict())
    expected, _ = source.batch(student, 8, 0.6, torch.Generator())
    got, _ = restored.batch(student, 8, 0.6, torch.Generator())
    assert torch.equal(got.images, expected.images) and torch.equal(got.labels, expected.labels)


def test_fixed_images_are_drawn_at_random(teacher, student):
    source = FixedImages(teacher, images())
    batch, losses = source.batch(student, 50, 0.0, torch.Generator().manual_seed(0))
    assert len(batch) == 50 and losses == {} and len(batch.labels.unique()) == 5


def test_terms_move_the_generator_and_leave_the_student_alone(teacher, student):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    moved = []
    for terms in ((), (Disagreement(1.0, masked=False),)):
        synthesizer = GDFQ(GDFQConfig(width=16, terms=terms), teacher, batch_size=32)
        figures = synthesizer.update(student)
        assert ("generator_disagreement" in figures) == bool(terms)
        moved.append(synthesizer.generator.network.state_dict())
    assert any(not torch.equal(moved[0][name], moved[1][name]) for name in moved[0])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())
