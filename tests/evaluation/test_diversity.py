"""What `measure_diversity` says of images whose answer is known by hand, and of the smallest sets."""

import json
from math import isnan, log, sqrt

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_nets import SPEC, plain, small_teacher
from torch import nn

from dfq.errors import DfqError
from dfq.evaluation.diversity import Diversity, measure_diversity
from dfq.evaluation.settings import DiversitySettings
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.results.diversity_plot import diversity_plot
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import pool_moments


def linear_teacher(classes: int = 4, gain: float = 1.0) -> Teacher:
    """Its feature is the image itself, (4,); logit c is `gain` times value c, and 0 for classes above 4."""
    head = nn.Linear(4, classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(gain * torch.eye(classes, 4))
    return Teacher(nn.Sequential(nn.Flatten(), head), InputSpec(size=(1, 2, 2), mean=(0.0,), std=(1.0,)))


def images_of(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).view(-1, 1, 2, 2)


AXES = images_of((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


def test_identical_images_have_no_distance():
    found = measure_diversity(linear_teacher(), Batch(AXES[:1].repeat(6, 1, 1, 1)))
    assert found.same_class_distance == 0 and found.different_class_distance is None
    assert found.same_class_pairs[0] == 15 and sum(found.different_class_pairs) == 0
    assert found.class_balance == 0 and found.classes_seen == 1


def test_orthogonal_features_whatever_their_length():
    lengths = torch.tensor([1.0, 2.0, 5.0, 9.0]).view(4, 1, 1, 1)
    found = measure_diversity(linear_teacher(), Batch(AXES * lengths))
    assert found.different_class_distance == pytest.approx(sqrt(2)) and found.same_class_distance is None
    assert found.class_balance == pytest.approx(1) and found.class_counts == (1, 1, 1, 1)


def test_distances_of_both_kinds():
    images = images_of((1, 0, 0, 0), (0.8, 0.6, 0, 0), (0, 1, 0, 0))  # the first two are of class 0
    found = measure_diversity(linear_teacher(), Batch(images))
    assert found.same_class_distance == pytest.approx(sqrt(0.4))
    assert found.different_class_distance == pytest.approx((sqrt(2) + sqrt(0.8)) / 2)


def test_entropy_and_margin_of_answers_known_by_hand():
    unsure = measure_diversity(linear_teacher(gain=0.0), Batch(AXES))
    assert unsure.entropy == pytest.approx(log(4)) and unsure.margin == pytest.approx(0)
    certain = measure_diversity(linear_teacher(gain=100.0), Batch(AXES))
    assert certain.entropy == pytest.approx(0) and certain.margin == pytest.approx(1)
    assert certain.entropy_counts == (4, *[0] * (DiversitySettings().entropy_bins - 1))
    halves = measure_diversity(linear_teacher(), Batch(images_of((log(3), 0, -1e3, -1e3))))  # 3/4 and 1/4
    assert halves.margin == pytest.approx(0.5)
    assert halves.entropy == pytest.approx(log(4) - 0.75 * log(3))


def test_agreement_of_drawn_labels():
    assert measure_diversity(linear_teacher(), Batch(AXES, torch.tensor([0, 1, 3, 2]))).label_agreement == 0.5
    assert measure_diversity(linear_teacher(), Batch(AXES)).label_agreement is None


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_norm_deviation_is_that_of_one_pass(batch_size):
    teacher, images = small_teacher(), torch.randn(20, *SPEC.size)
    found = measure_diversity(
        teacher, Batch(images), settings=DiversitySettings(batch_size=batch_size)
    ).batch_norm_deviation
    with teacher.bn_statistics() as statistics, torch.no_grad():
        teacher(images)
        assert found == pytest.approx(statistics.per_layer().tolist(), rel=1e-4)


def test_pooled_moments_of_uneven_batches():
    values = torch.randn(10, 3)
    parts = [[(part.mean(0), part.var(0, correction=0)), None] for part in (values[:7], values[7:])]
    (mean, variance), absent = pool_moments(parts, [7, 3])
    torch.testing.assert_close((mean, variance), (values.mean(0), values.var(0, correction=0)))
    assert absent is None


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("model", [None, plain()], ids=["batch norm", "none"])
def test_small_sets(tmp_path, count, model):
    found = measure_diversity(small_teacher(model), Batch(torch.randn(count, *SPEC.size)))
    assert (
        found.images == count and sum(found.same_class_pairs + found.different_class_pairs) == count * (count - 1) / 2
    )
    assert (found.batch_norm_deviation is None) == (model is not None)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    diversity_plot(found, tmp_path / "diversity.png")


def test_more_classes_than_images():
    found = measure_diversity(linear_teacher(classes=1000), Batch(AXES))
    assert found.same_class_distance is None and found.class_balance == pytest.approx(log(4) / log(1000))
    assert found.classes_seen == 4 and found.classes_per_bin == 10
    assert len(found.class_counts) == 100 and found.class_counts[0] == 4


def test_a_single_logit_is_two_classes():
    one = measure_diversity(linear_teacher(classes=1), Batch(AXES))
    assert one.num_classes == 2 and sum(one.class_counts) == len(AXES)
    assert 0 < one.margin < 1 and 0 < one.entropy < log(2) and 0 < one.class_balance <= 1


def test_values_that_are_not_finite():
    broken = measure_diversity(small_teacher(), Batch(torch.full((3, *SPEC.size), float("nan"))))
    assert json.loads(json.dumps(broken.to_dict(), allow_nan=False))["entropy"] is None


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("model", [None, plain()], ids=["batch norm", "none"])
def test_back_from_json(count, model):
    found = measure_diversity(small_teacher(model), Batch(torch.randn(count, *SPEC.size)))
    assert Diversity.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_json_cannot_hold_comes_back_as_nan_or_none():
    values = measure_diversity(small_teacher(), Batch(torch.full((3, *SPEC.size), float("nan")))).to_dict()
    back = Diversity.from_dict(values)
    assert values["entropy"] is None and back.entropy is None and back.same_class_distance is None
    assert None in values["batch_norm_deviation"] and any(map(isnan, back.batch_norm_deviation))
    assert back.to_dict() == values
    del values["margin"]
    with pytest.raises(DfqError, match="without margin"):
        Diversity.from_dict(values)


def test_no_image():
    with pytest.raises(DfqError, match="0 images"):
        measure_diversity(linear_teacher(), Batch(AXES[:0]))


def test_many_images_are_thinned_evenly():
    settings = DiversitySettings(batch_size=512)
    labels = torch.arange(3 * settings.max_images) % 4
    found = measure_diversity(linear_teacher(), Batch(AXES[labels], labels), settings=settings)
    assert found.images == settings.max_images and max(found.class_counts) - min(found.class_counts) <= 2
    assert found.label_agreement == 1


def test_measuring_leaves_the_teacher_and_the_random_state_alone():
    teacher, images = small_teacher(), torch.randn(4, *SPEC.size)
    before, state = {n: t.clone() for n, t in teacher.model.state_dict().items()}, torch.get_rng_state()
    first = measure_diversity(teacher, Batch(images))
    assert measure_diversity(teacher, Batch(images)) == first and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in teacher.model.modules())


@pytest.mark.parametrize("names", [[], ["zeroq-kd"], ["zeroq-kd", "rgal", "gdfq"]], ids=["alone", "one", "three"])
def test_picture_shows_something_in_every_panel(tmp_path, names):
    teacher = small_teacher()
    found = [measure_diversity(teacher, Batch(torch.randn(12, *SPEC.size) * (k + 1))) for k in range(3)]
    diversity_plot(dict(zip(names, found, strict=False)) or found[0], tmp_path / "diversity.png")
    with Image.open(tmp_path / "diversity.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    assert width > height > 500
    is_coloured = pixels.max(2) - pixels.min(2) > 60
    for rows in (slice(0, height // 2), slice(height // 2, None)):
        for columns in (slice(0, width // 2), slice(width // 2, None)):
            assert is_coloured[rows, columns].sum() > 200
