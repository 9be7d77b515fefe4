"""Networks without BatchNorm statistics: their images start from dead leaves, and come close to what is lost."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, plain, small_teacher
from support.synthesis_cases import quick
from torch import nn
from torch.nn.functional import cross_entropy

from dfq.calibration import METHODS, recipes, rgal
from dfq.calibration.inner_terms import Excitation
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.parametrizations import FreePixels, LeafPixels
from dfq.calibration.inversion.without_statistics import LEAVES, for_network
from dfq.calibration.inversion_terms import Disagreement, LabelCrossEntropy
from dfq.calibration.method_checks import check_method
from dfq.errors import DfqError
from dfq.system.stage import Stage
from dfq.teacher import Teacher


def maps() -> Teacher:
    """A teacher that is no classifier and has no BatchNorm."""
    torch.manual_seed(0)
    return Teacher(nn.Sequential(nn.Conv2d(SPEC.size[0], 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)), SPEC)


def test_kinds_that_build_on_statistics_are_replaced():
    without, with_statistics = small_teacher(plain()), small_teacher()
    assert for_network(recipes.IMPROVED, with_statistics) is recipes.IMPROVED
    assert for_network(recipes.IMPROVED, without) == LEAVES
    against = for_network(rgal.BASE, without)
    assert against.parametrization is LeafPixels and any(isinstance(t, Disagreement) for t in against.terms)


def test_a_few_layers_of_batch_norm_do_not_describe_a_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(SPEC.size[0], 4, 3), nn.BatchNorm2d(4), *(nn.Conv2d(4, 4, 1) for _ in range(5))]
    teacher = Teacher(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), SPEC)
    assert teacher.described_layers == (1, 6) and not teacher.has_batch_norm
    synthesizer = Inversion(recipes.IMPROVED, teacher, Stage(seed=0), batch_size=4)
    assert synthesizer.kinds == (LEAVES.for_size(SPEC.size),)
    assert "describe only 1 of 6 layers" in synthesizer.knowledge


def test_without_classes_the_activations_inside_are_followed():
    terms = for_network(recipes.IMPROVED, maps()).terms
    assert any(isinstance(term, Excitation) for term in terms)
    assert not any(isinstance(term, LabelCrossEntropy) for term in terms)
    synthesizer = Inversion(recipes.IMPROVED, maps(), Stage(seed=0), batch_size=8)
    start = Inversion(replace(LEAVES, iterations=0), maps(), Stage(seed=0), batch_size=8).sample(8).images
    moved = synthesizer.sample(8).images - start
    assert moved.abs().amax((1, 2, 3)).min() > 0.01
    assert "network's activations" in synthesizer.knowledge


def test_large_images_are_made_few_at_a_time_unless_they_are_compared():
    assert for_network(recipes.IMPROVED, maps()).for_size((3, 224, 224)).together == LEAVES.together_large
    assert for_network(recipes.IMPROVED, maps()).for_size(SPEC.size).together is None
    assert for_network(rgal.OPTIMIZED, small_teacher(plain())).for_size((3, 224, 224)).together is None
    sizes = []

    class Watched(FreePixels):
        def __init__(self, count, *others):
            sizes.append(count)
            super().__init__(count, *others)

    config = replace(LEAVES, parametrization=Watched, iterations=1, together=3)
    assert len(Inversion(config, maps(), Stage(seed=0), batch_size=8).sample(8)) == 8 and sizes == [3, 3, 2]


def test_steps_lead_to_the_labels_and_stay_near_the_leaves():
    teacher, terms = small_teacher(plain()), (LabelCrossEntropy(1.0),)
    start, end = (
        Inversion(replace(LEAVES, terms=terms, iterations=steps), teacher, Stage(seed=1), batch_size=20).sample(20)
        for steps in (0, 14)
    )
    assert torch.equal(start.labels, end.labels)
    losses = [cross_entropy(teacher(batch.images), batch.labels, reduction="none") for batch in (start, end)]
    assert (losses[1] < losses[0]).float().mean() > 0.8
    pixels = [SPEC.to_pixels(batch.images) for batch in (start, end)]
    assert (pixels[1] - pixels[0]).abs().max() <= 14 * 5 / 255 + 1e-3


def test_they_are_closer_to_the_statistics_that_a_file_has_lost_than_noise_is():
    whole = small_teacher()
    folded = Teacher(whole.traced, SPEC)
    assert not folded.has_batch_norm

    def deviation(parametrization) -> float:
        config = replace(LEAVES, parametrization=parametrization, iterations=0)
        with whole.bn_statistics() as statistics:
            whole(Inversion(config, folded, Stage(seed=2), batch_size=32).sample(32).images)
            return statistics.loss().item()

    assert deviation(LeafPixels) < deviation(FreePixels)


def test_pixels_that_left_their_range_can_come_back():
    leaves = LeafPixels(2, SPEC.size, torch.Generator().manual_seed(0), torch.device("cpu"))
    with torch.no_grad():
        leaves.values.add_(2)
    pixels = leaves.to_pixels(leaves.logits())
    torch.testing.assert_close(pixels, torch.ones_like(pixels))
    pixels.sum().backward()
    assert (leaves.values.grad == 1).all()


@pytest.mark.parametrize("name", ["instant", "reconstruct", "zeroq", "rgal", "gdfq", "dafl", "leaves"])
@pytest.mark.parametrize("has_statistics", [True, False])
def test_each_says_what_its_images_are_made_from(name, has_statistics):
    teacher = small_teacher() if has_statistics else small_teacher(plain())
    knowledge = quick(name)(teacher, Stage()).knowledge
    assert ("BatchNorm" in knowledge.split(", for lack of")[0]) == (has_statistics and name not in ("dafl", "leaves"))


def test_a_method_for_transformers_refuses_others():
    with pytest.raises(DfqError, match=r"(?s)without attention.*a transformer"):
        check_method(METHODS["psaq"], small_teacher())
