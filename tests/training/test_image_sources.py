"""Where batches come from: pairs of one class, pools that grow against the student, generators that move along."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, small_teacher

from dfq.calibration import recipes, rgal
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion_terms import Disagreement
from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.training.growing_images import GrowingImages, SteadilyGrowingImages
from dfq.training.image_sources import FixedImages, FreshImages, predicted_labels
from dfq.training.paired_images import paired_index, paired_rows
from dfq.training.settings import ImageSourceSettings

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
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 7, 7, 7, 7, 7])
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(300):
        index = paired_index(labels, 8, generator)
        assert len(index) == 8 and (torch.bincount(labels[index])[labels[index]] > 1).all()
        seen.append(index)
    counts = torch.bincount(torch.cat(seen), minlength=11)
    assert counts[5] == 0 and (counts[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]] > 0).all(), "all images, the lone one never"
    shares = torch.bincount(labels[torch.stack([index[0] for index in seen])])
    assert shares[[0, 1, 7]].min() > 60, "classes count the same"


@pytest.mark.parametrize("size", [2, 3, 5, 9, 42])
def test_no_image_is_left_without_a_partner_whatever_the_size(size):
    labels = torch.arange(40) % 10
    index = paired_index(labels, size, torch.Generator().manual_seed(size))
    assert len(index) == size and (torch.bincount(labels[index])[labels[index]] > 1).all()


def test_pairing_without_any_pair_draws_single_images():
    index = paired_index(torch.arange(6), 8, torch.Generator().manual_seed(0))
    assert len(index) == 8 and set(index.tolist()) <= set(range(6))


def test_pairs_stand_at_the_end_where_no_mixture_reaches_them(teacher):
    """A floor of clean positives: every image of the last third has its partner there, and is no mixture."""
    source, generator = FixedImages(teacher, images(60), paired=rgal.PAIRED), torch.Generator().manual_seed(0)
    for _ in range(20):
        batch, _ = source.batch(None, 128, 0.0, generator)
        mixed = rgal.MIXTURES(batch.images, generator)
        clean = slice(128 - paired_rows(128, rgal.PAIRED), None)
        assert torch.equal(mixed[clean], batch.images[clean])
        labels = predicted_labels(teacher, mixed[clean])
        assert (torch.bincount(labels)[labels] > 1).all() and len(labels) == 43


def growing(teacher, total=40, **settings):
    synthesizer = Inversion(AGAINST_STUDENT, teacher, batch_size=64, stage=Stage(seed=1))
    kind = type("Growing", (GrowingImages,), {"settings": ImageSourceSettings(**settings)})
    return kind(teacher, images(8), synthesizer, total, paired=1.0)


def test_the_pool_grows_in_rounds_whatever_the_batch_of_the_synthesizer(teacher, student):
    source = growing(teacher, rounds=4, earliest=0.0, agreement=0.0, grow_until=0.5)
    generator, sizes = torch.Generator().manual_seed(0), []
    for done in (0.0, 0.13, 0.2, 0.26, 0.4, 0.9):
        batch, _ = source.batch(student, 6, done, generator)
        assert len(batch) == 6
        sizes.append(len(source.images))
    assert sizes == [16, 24, 24, 32, 40, 40]
    assert source.synthesizer.student is student
    assert torch.equal(source.labels, predicted_labels(teacher, source.images.images))
    assert all(parameter.requires_grad for parameter in student.parameters()), "only frozen while images are made"
    assert all(parameter.grad is None for parameter in student.parameters())
    assert [found["images"] for found in source.rounds] == [16, 24, 32, 40]
    assert all(0 <= found["agreement"] <= 1 and (found["made_different"] or 0) <= 2 for found in source.rounds)


def test_a_steady_pool_grows_by_one_batch_at_a_time_to_the_end(teacher, student):
    synthesizer = Inversion(AGAINST_STUDENT, teacher, batch_size=8, stage=Stage(seed=1))
    source, sizes = SteadilyGrowingImages(teacher, images(8), synthesizer, 38, paired=1.0), []
    for done in (0.0, 0.2, 0.3, 0.6, 0.8):
        source.batch(student, 4, done, torch.Generator())
        sizes.append(len(source.images))
    assert sizes == [16, 16, 24, 32, 38]


def test_the_first_round_waits_until_the_student_knows_something(teacher, student):
    source = growing(teacher, agreement=0.9, earliest=0.1, latest=0.3)
    agreements = {0.0: 1.0, 0.05: 1.0, 0.12: 0.5, 0.16: 0.8, 0.2: 0.95}
    grown = []
    for done, agreement in agreements.items():
        source.agreement = lambda student, value=agreement: value
        source.batch(student, 4, done, torch.Generator())
        grown.append(len(source.images) > 8)
    assert grown == [False, False, False, False, True] and source.started == 0.2


def test_a_student_that_never_agrees_is_worked_against_all_the_same(teacher, student):
    source = growing(teacher, agreement=1.1)
    source.batch(student, 4, 0.29, torch.Generator())
    assert len(source.images) == 8
    source.batch(student, 4, 0.31, torch.Generator())
    assert len(source.images) > 8
    source.batch(student, 4, 0.75, torch.Generator())
    assert len(source.images) == 40


def test_agreement_is_that_of_the_two_networks(teacher, student):
    source = growing(teacher)
    with torch.no_grad():
        expected = (student(images(8).images).argmax(1) == teacher(images(8).images).argmax(1)).float().mean()
    assert source.agreement(student) == pytest.approx(float(expected)) and source.agreement(teacher.traced) == 1


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
    source = GrowingImages(teacher, images(8), synthesizer, 24, paired=1.0)
    source.batch(student, 4, 0.9, torch.Generator())
    again = GrowingImages(teacher, images(8), synthesizer, 24, paired=1.0)
    again.load_state_dict(source.state_dict())
    assert torch.equal(again.images.images, source.images.images) and torch.equal(again.labels, source.labels)
    assert again.started == source.started == 0.9 and again.rounds == source.rounds != []


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
