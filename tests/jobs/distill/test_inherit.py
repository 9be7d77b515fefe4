"""What a student takes over from its teacher: layers at corresponding places, or nothing."""

import pytest
import torch
from torch import nn

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.jobs.distill import DistillSettings, distill_model
from dfq.jobs.distill.inherit import aligned, corresponding, inherit
from dfq.jobs.distill.student import build_student
from dfq.models.registry import build
from dfq.teacher import Teacher

SPEC = InputSpec(size=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


def residual_teacher(arch: str = "dfq/resnet56") -> Teacher:
    torch.manual_seed(0)
    return Teacher(build(arch, 10), SPEC)


@pytest.mark.parametrize(
    "fits, pairs",
    [
        ([[1.0] * 9] * 3, [(0, 0), (1, 4), (2, 8)]),  # evenly from first to last
        ([[1.0] + [0.1] * 8, [0.1] + [1.0] * 8], [(0, 0), (1, 8)]),  # a block that halves the image is the first
        ([[1.0, 0.0], [0.0, 1.0]], [(0, 0), (1, 1)]),
        ([[0.0, 0.5], [1.0, 0.0]], [(1, 0)]),  # order is kept: of two that cross, the better one
        ([[0.0] * 3] * 2, []),
        ([], []),
    ],
)
def test_a_sequence_is_aligned_in_order(fits, pairs):
    assert aligned(fits) == pairs


def test_a_shallower_network_of_the_family_takes_all_it_has():
    teacher, student = residual_teacher().original, build("dfq/resnet20", 10)
    assert inherit(student, teacher)
    theirs = teacher.state_dict()
    for stage in (1, 2, 3):
        for own, other in ((0, 0), (1, 4), (2, 8)):
            name = f"layer{stage}.{{}}.conv2.weight"
            assert torch.equal(student.state_dict()[name.format(own)], theirs[name.format(other)])
    assert torch.equal(student.linear.bias, teacher.linear.bias)
    assert student.conv1.weight.data_ptr() != teacher.conv1.weight.data_ptr(), "a copy: the teacher stays as it is"


@pytest.mark.parametrize(
    "student, teacher",
    [
        ("dfq/resnet56", "dfq/resnet20"),
        ("dfq/wrn16_1", "dfq/wrn40_2"),
        ("torchvision/vgg11_bn", "torchvision/vgg13_bn"),  # every layer fits some, but not its BatchNorm
    ],
)
def test_where_little_fits_nothing_is_taken(student, teacher):
    network, other = build(student, 10), build(teacher, 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not inherit(network, other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_every_value_is_taken_once():
    pairs = corresponding(build("dfq/wrn16_1", 10), build("dfq/wrn40_1", 10))
    assert len({id(own) for own, _ in pairs}) == len(pairs)


def test_other_classes_than_the_teacher_s_layers_have():
    pairs = corresponding(nn.Sequential(nn.Linear(4, 3)), nn.Sequential(nn.Linear(4, 5)))
    assert pairs == []


class TestStart:
    def test_it_decides_and_the_report_says_so(self, tmp_path):
        teacher = residual_teacher("dfq/resnet32")
        settings = {"method": "zeroq-kd", "images": 16, "steps": 0, "budget": 1.0}
        for start in ("teacher", "random"):
            report = distill_model(
                teacher, "dfq/resnet20", tmp_path / start, DistillSettings(start=start, **settings)
            ).report
            assert report["start"] == report["settings"]["start"] == start

    def test_it_is_ours_to_say_where_nothing_fits(self):
        assert not build_student("dfq/wrn16_1", residual_teacher(), 0, from_teacher=True).inherited

    def test_another_word_is_an_error(self):
        with pytest.raises(DfqError, match="one of teacher, random"):
            DistillSettings(start="scratch")
