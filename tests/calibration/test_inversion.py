"""Every method of the table makes usable images; ZeroQ's get closer to the statistics than noise does."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.small_nets import SPEC, Residual, plain, small_teacher
from support.synthesis_cases import quick

from dfq.calibration import METHODS, recipes, rgal
from dfq.calibration.inversion import zeroq
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.pixel_grids import PixelGrids, grid_sizes
from dfq.calibration.inversion_terms import InputPrior, LabelCrossEntropy, SynthesisRelations, SynthesisStep
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.progress import Silent
from dfq.system.stage import Stage
from dfq.training.image_sources import predicted_labels
from dfq.training.objectives import RelationalDistillation
from dfq.training.paired_images import paired_index


def improved(teacher, iterations=25, batch_size=16, stage=None, **fields):
    config = replace(recipes.IMPROVED, iterations=iterations, **fields)
    return Inversion(config, teacher, batch_size=batch_size, stage=stage)


def deviation(teacher, images):
    with teacher.bn_statistics() as statistics:
        teacher(images)
        return statistics.loss().item()


@pytest.mark.parametrize("name", METHODS)
def test_every_method(name):
    teacher = small_teacher()
    before = {key: tensor.clone() for key, tensor in teacher.model.state_dict().items()}
    batch = quick(name)(teacher, Stage(seed=3)).sample(24)
    assert batch.images.shape == (24, *SPEC.size) and batch.images.isfinite().all()
    assert batch.labels.shape == (24,) and set(batch.labels.tolist()) <= set(range(5))
    again = quick(name)(teacher, Stage(seed=3)).sample(24)
    other = quick(name)(teacher, Stage(seed=4)).sample(24)
    assert torch.equal(batch.images, again.images) and not torch.equal(batch.images, other.images)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.model.state_dict().items())
    assert all(not module._forward_pre_hooks for module in teacher.model.modules())
    assert METHODS[name].paper and METHODS[name].summary


def test_images_match_the_statistics_better_than_noise():
    teacher = small_teacher()
    images = improved(teacher).sample(32).images
    noise = torch.randn(32, *SPEC.size, generator=torch.Generator().manual_seed(0))
    assert deviation(teacher, images) < 0.3 * deviation(teacher, noise)


def test_images_have_the_labels_they_were_made_for():
    teacher = small_teacher()
    batch = improved(teacher, 60, 20, terms=(LabelCrossEntropy(3.0),)).sample(20)
    assert (teacher(batch.images).argmax(1) == batch.labels).float().mean() > 0.6  # chance: 0.2


def test_labels_are_balanced_and_pixels_lie_on_the_eight_bit_grid():
    teacher = small_teacher()
    batch = improved(teacher).sample(30)
    assert torch.bincount(batch.labels[:15]).tolist() == [3] * 5 or torch.bincount(batch.labels).max() <= 8
    pixels = SPEC.to_pixels(batch.images) * 255
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)


def test_without_batch_norm_falls_back_and_says_so():
    synthesizer = improved(small_teacher(plain()))
    assert synthesizer.sample(8).images.isfinite().all()
    assert "dead leaves" in synthesizer.knowledge


def test_budget_ends_synthesis_early():
    teacher = small_teacher()
    budget = Budget(1.0)
    images = improved(teacher, 100_000, 8, stage=Stage(budget=budget)).sample(16).images
    assert len(images) in (8, 16) and budget.elapsed() < 5


def test_budget_makes_fewer_images_and_says_so():
    synthesizer = improved(small_teacher(), 30, 8, stage=Stage(budget=Budget(1.5)))
    count = len(synthesizer.sample(8 * 1000).images)
    assert 8 <= count < 8000 and count % 8 == 0
    assert f"the budget allowed {count} of 8000" in synthesizer.notes[0]


def test_early_stop_ends_a_batch_that_no_longer_improves():
    calls = []

    class Counting:
        def task(self, description, total, seconds=None):
            from contextlib import nullcontext

            return nullcontext(self)

        def advance(self, steps=1, **figures):
            if figures:
                calls.append(figures["loss"])

    improved(small_teacher(), 5000, 8, stage=Stage(progress=Counting())).sample(8)
    assert 120 < len(calls) < 4000


def test_grid_sizes():
    assert grid_sizes(32, 32) == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    assert grid_sizes(8, 8) == [(8, 8), (4, 4), (2, 2)]
    grids = PixelGrids(2, (3, 12, 8), torch.Generator().manual_seed(0), torch.device("cpu"))
    assert grids.logits().shape == (2, 3, 12, 8)


def test_augment_only_mirrors_and_shifts():
    images = torch.arange(64.0).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(Augment(flip=False, shift=0)(images, generator), images)
    flipped = Augment(flip=True, shift=0)(images, generator)
    mirrored = [torch.equal(i, images[0].flip(2)) for i in flipped]
    assert all(m or torch.equal(i, images[0]) for m, i in zip(mirrored, flipped, strict=True))
    assert 60 < sum(mirrored) < 140
    shifted = Augment(flip=False, shift=1)(images, generator)
    assert len({tuple(i.flatten().tolist()) for i in shifted}) == 9
    assert torch.equal(shifted[:, :, 4, 4].unique(), torch.tensor([27.0, 28, 29, 35, 36, 37, 43, 44, 45]))


def test_zoom_enlarges_a_part_of_some_images():
    ramp = torch.linspace(0, 1, 16).expand(400, 1, 16, 16)
    zoomed = Augment(flip=False, shift=0, zoom=0.5, zoom_chance=0.5)(ramp, torch.Generator().manual_seed(0))
    width = zoomed[:, 0, 8, -1] - zoomed[:, 0, 8, 0]
    untouched = (width - 1).abs() < 1e-4
    assert 150 < untouched.sum() < 250
    seen = width[~untouched]
    assert 0.4 < seen.min() < 0.55 and 0.9 < seen.max() < 1.0
    assert zoomed.min() >= 0 and zoomed.max() <= 1
    torch.testing.assert_close(zoomed[untouched], ramp[untouched], atol=1e-3, rtol=0)


def test_a_thousand_classes_in_batches_of_sixteen_have_pairs_for_the_relations():
    teacher = small_teacher(Residual(classes=1000))
    student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=2)), torch.randn(8, *SPEC.size))
    config = replace(rgal.OPTIMIZED, iterations=40, terms=(LabelCrossEntropy(5.0), SynthesisRelations(1.0)))
    synthesizer = Inversion(config, teacher, batch_size=16)
    synthesizer.update(student)
    batch = synthesizer.sample(32)
    for labels in batch.labels.split(16):
        assert torch.bincount(labels).sort().values[-8:].tolist() == [2] * 8
    predicted = predicted_labels(teacher, batch.images)
    paired = paired_index(predicted, 16, torch.Generator().manual_seed(0))
    images = Batch(batch.images[paired])
    losses = RelationalDistillation(triplet_weight=1.0)(student, images, teacher)
    assert losses["triplet"].item() > 0 and losses["triplet"].isfinite()


def test_kinds_take_turns_over_all_calls_and_every_part_of_a_sample_has_them():
    class Dark(PixelGrids):
        def to_pixels(self, logits):
            return 0.4 * torch.sigmoid(logits)

    class Bright(PixelGrids):
        def to_pixels(self, logits):
            return 0.6 + 0.4 * torch.sigmoid(logits)

    terms = (LabelCrossEntropy(5.0),)
    kinds = tuple(
        replace(recipes.IMPROVED, parametrization=parametrization, terms=terms, iterations=40)
        for parametrization in (Dark, Bright)
    )
    teacher = small_teacher()
    synthesizer = Inversion(kinds, teacher, batch_size=16)

    def bright(batch):
        return SPEC.to_pixels(batch.images).flatten(1).mean(1) > 0.5

    first = synthesizer.sample(48)  # dark, bright, dark
    assert bright(first).sum() == 16
    assert all(0 < bright(first)[part].sum() < 16 for part in (slice(0, 16), slice(32, 48)))
    assert bright(synthesizer.sample(16)).all() and not bright(synthesizer.sample(16)).any()
    fooled = (teacher(first.images).argmax(1) == first.labels).float().mean()
    assert fooled > 0.4  # labels went along with their images; chance is 0.2


@pytest.mark.parametrize("size, together", [((3, 32, 32), False), ((3, 96, 96), True), ((4, 96, 96), False)])
def test_the_colours_of_large_images_start_and_move_together(size, together):
    parametrization = PixelGrids(8, size, torch.Generator().manual_seed(0), torch.device("cpu"))
    channels = parametrization.logits().detach().transpose(0, 1).flatten(1)
    assert (torch.corrcoef(channels)[0, 1] > 0.5) == together
    assert torch.linalg.matrix_rank(channels) == size[0]  # every colour can be reached


def test_large_images_get_iterations_and_step_size_of_their_own():
    small, large = (3, 64, 64), (3, 65, 64)
    assert (recipes.QUICK.for_size(small).iterations, recipes.QUICK.for_size(small).learning_rate) == (200, 0.1)
    assert (recipes.QUICK.for_size(large).iterations, recipes.QUICK.for_size(large).learning_rate) == (50, 0.05)
    same = zeroq.AS_PUBLISHED
    assert same.for_size(large) == same.for_size(small) == same
    assert recipes.GENERATED.for_size(large).learning_rate == recipes.GENERATED.learning_rate


def test_a_step_without_finite_gradients_is_skipped():
    calls = []

    def breaks_once(step):
        calls.append(1)
        return step.pixels.sum() * (float("nan") if len(calls) == 5 else 0.0)

    assert improved(small_teacher(), terms=(breaks_once,)).sample(8).images.isfinite().all()
    assert len(calls) == 25


def test_the_input_prior_is_silent_where_normalisation_is_a_mere_rescaling():
    images = torch.zeros(4, 3, 8, 8)
    for standardized, expected in ((True, 1.0), (False, None)):
        step = SynthesisStep(
            images, images, images, torch.zeros(4), torch.zeros(4, 5), None, standardized, torch.Generator()
        )
        loss = InputPrior(1.0)(step)
        assert (None if loss is None else loss.item()) == expected
        assert InputPrior(1.0, always=True)(step).item() == 1.0
    assert InputSpec(size=(3, 8, 8), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)).is_standardized
    assert not InputSpec(size=(3, 8, 8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).is_standardized


def test_images_that_take_long_are_said_after_the_first_batch():
    said, now = [], itertools.count(step=400)

    class Slow(Budget):
        def elapsed(self):
            return float(next(now))

    stage = Stage(budget=Slow(None), progress=SimpleNamespace(task=Silent().task, note=said.append))
    improved(small_teacher(), 2, 4, stage=stage).sample(16)
    assert said == ["16 synthetic images will take about 40 min more"]
