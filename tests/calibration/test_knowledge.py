"""The report says what images are made from, for each of their kinds."""

from support.small_nets import plain, small_teacher

from dfq.calibration import recipes
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.without_statistics import LEAVES

STATISTICS = "the statistics of 3 BatchNorm layers and the teacher's answers"
LEAVES_SAID = "dead leaves and 14 gradient steps on the network's answers"


def test_each_kind_is_named_with_its_share():
    teacher = small_teacher()
    assert Inversion(recipes.BOTH, teacher).knowledge == STATISTICS
    assert Inversion(LEAVES, teacher).knowledge == LEAVES_SAID
    assert Inversion((*recipes.BOTH, LEAVES), teacher).knowledge == f"{STATISTICS}; 1 in 3 from {LEAVES_SAID}"


def test_a_network_without_statistics_has_one_kind():
    only = Inversion((recipes.IMPROVED, LEAVES), small_teacher(plain()))
    assert [kind.statistics for kind in only.kinds] == [False]
    assert only.knowledge == f"{LEAVES_SAID}, for lack of BatchNorm statistics"
