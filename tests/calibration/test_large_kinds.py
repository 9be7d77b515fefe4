"""Large images may be of other kinds than small ones, and the report says what each kind is made from."""

import pytest
from support.small_nets import Residual, lived_in, plain, small_teacher
from torch import nn

from dfq.calibration import recipes
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.plan import Plan
from dfq.calibration.inversion.without_statistics import LEAVES
from dfq.images.input_spec import InputSpec
from dfq.teacher import Teacher

LARGE = InputSpec(size=(3, 65, 65), mean=(0.5,) * 3, std=(0.25,) * 3)


def large_teacher(model: nn.Module) -> Teacher:
    return Teacher(lived_in(model, size=LARGE.size), LARGE)


def test_large_images_take_turns_between_kinds_of_their_own():
    kinds = {"kinds": recipes.IMPROVED, "large": (recipes.QUICK, LEAVES)}
    small, large = (Inversion(teacher=teacher, **kinds) for teacher in (small_teacher(), large_teacher(Residual())))
    assert small.kinds == (recipes.IMPROVED.for_size((3, 16, 16)),)
    assert [kind.statistics for kind in large.kinds] == [True, False] and large.kinds[0].iterations == 50
    assert "leaves" not in small.knowledge
    assert large.knowledge == (
        "the statistics of 3 BatchNorm layers and the teacher's answers; "
        "1 in 2 from dead leaves and 14 gradient steps on the network's answers"
    )


def test_a_network_without_statistics_has_one_kind():
    only = Inversion(recipes.IMPROVED, large_teacher(plain()), large=(recipes.QUICK, LEAVES))
    assert [kind.statistics for kind in only.kinds] == [False]
    assert only.knowledge.startswith("dead leaves and 14 gradient steps")


@pytest.mark.parametrize(
    "kinds, sizes",
    [((recipes.QUICK, LEAVES), (16, 16, 8)), ((LEAVES,), (8, 8, 8, 8, 8)), ((recipes.QUICK,), (16, 16, 8))],
)
def test_the_batch_is_that_of_the_kinds_whose_joint_statistics_count(kinds, sizes):
    plan = Plan.of(40, [kind.for_size(LARGE.size) for kind in kinds], batch_size=16, made_before=0)
    assert plan.sizes == sizes
