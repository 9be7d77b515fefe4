"""Linear streams in other bases: found where nothing but additions stands between layers; no result changes."""

from dataclasses import replace

import pytest
import torch
from support.instant_nets import smooth
from support.small_nets import SPEC, Residual, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.calibration import METHODS
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.rotation.linear_streams import find_linear_streams
from dfq.post_training.rotation.rotate import equalizing_rotation, rotate_linear_streams
from dfq.post_training.steps_after_ranges import Reconstruct
from dfq.post_training.steps_before_ranges import RotateStreams
from dfq.quantizers.scheme import make_scheme
from dfq.results.load_run import load_run
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, quantizers_in_mode
from dfq.teacher import Teacher

QUICK = replace(METHODS["reconstruct"], post_training=(Reconstruct(FitSettings(iterations=20)),))


class Inverted(nn.Module):
    """A stem, two inverted residual blocks that add to one linear stream, and a strided layer behind padding."""

    def __init__(self, between: nn.Module | None = None, channels: int = 6):
        super().__init__()
        self.between = between or nn.Identity()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.narrow, self.norm = nn.Conv2d(8, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.wide1, self.back1 = nn.Conv2d(channels, 12, 1), nn.Conv2d(12, channels, 1)
        self.wide2, self.back2 = nn.Conv2d(channels, 12, 1), nn.Conv2d(12, channels, 1)
        self.pad, self.last = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, 10, 3, stride=2)
        self.head = nn.Linear(10, 5)

    def forward(self, images):
        x = self.between(self.norm(self.narrow(F.relu(self.stem(images)))))
        x = x + self.back1(F.relu6(self.wide1(x)))
        x = x + self.back2(F.relu6(self.wide2(x)))
        return self.head(F.relu(self.last(self.pad(x))).mean((2, 3)))


def unequal(channels: int = 6, *, narrow_count: bool = False) -> Teacher:
    """The last channels of its stream are the widest; its readers make up for that, or do not."""
    model = small_teacher(Inverted(channels=channels)).model
    with torch.no_grad():
        factors = torch.logspace(-1, 1, channels)
        model.norm.weight.mul_(factors)
        model.norm.bias.mul_(factors)
        for layer in (model.wide1, model.wide2, model.last) if narrow_count else ():
            layer.weight.div_(factors.view(1, -1, 1, 1))
    return Teacher(model, SPEC)


def names(teacher: Teacher) -> list[tuple]:
    return [(stream.writers, tuple(stream.readers)) for stream in find_linear_streams(teacher.traced)]


def test_finds_what_is_added_and_all_who_write_and_read_it():
    assert names(small_teacher(Inverted())) == [(("narrow", "back1", "back2"), ("wide1", "wide2", "last"))]


@pytest.mark.parametrize("between", [nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.AvgPool2d(1)])
def test_anything_else_on_the_way_ends_it(between):
    assert names(small_teacher(Inverted(between))) == []


def test_network_without_linear_stream_stays_as_it_is():
    teacher = small_teacher(Residual())
    student = make_student(teacher, make_scheme("deploy", bits=4))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert rotate_linear_streams(student, teacher, smooth()) is teacher
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize("channels", [1, 2, 6, 7, 24])
@torch.no_grad()
def test_turn_is_orthogonal_and_makes_channels_as_wide(channels):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, channels, generator=generator, dtype=torch.float64) * torch.logspace(-2, 1, channels)
    turn = equalizing_rotation(moments := rows.T @ rows / 500).double()
    torch.testing.assert_close(turn @ turn.T, torch.eye(channels, dtype=torch.float64), atol=1e-5, rtol=0)
    width = (turn @ moments @ turn.T).diagonal()
    assert width.max() <= 1.5 * width.min()
    torch.testing.assert_close(width.sum(), moments.trace(), atol=0, rtol=1e-4)


@torch.no_grad()
def test_teacher_and_unquantized_student_compute_the_same():
    teacher = unequal()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other = rotate_linear_streams(student, teacher, smooth())
    torch.testing.assert_close(other(smooth(seed=5)), teacher(smooth(seed=5)), atol=1e-4, rtol=1e-4)
    with quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(smooth(seed=5)), teacher(smooth(seed=5)), atol=1e-4, rtol=1e-4)
    for name in ("narrow", "wide1", "back1", "last"):
        assert not torch.allclose(other.traced.get_submodule(name).weight, teacher.traced.get_submodule(name).weight)
        torch.testing.assert_close(other.traced.get_submodule(name).weight, student.get_submodule(name).weight)
    assert torch.equal(other.traced.stem.weight, teacher.traced.stem.weight)
    assert OUTPUT_MOMENTS in matrix_calls(teacher.traced)["narrow"].meta, "the given teacher is left alone"
    assert OUTPUT_MOMENTS not in matrix_calls(other.traced)["narrow"].meta


@torch.no_grad()
def test_few_bits_lose_less():
    teacher = unequal(channels=16)
    plain, turned = (make_student(teacher, make_scheme("deploy", bits=4)) for _ in range(2))
    assert rotate_linear_streams(turned, teacher, smooth()) is not teacher
    target = teacher(smooth(seed=5))
    errors = [(calibrate(s, smooth())(smooth(seed=5)) - target).square().mean() for s in (plain, turned)]
    assert errors[1] < 0.8 * errors[0]


def test_stream_whose_narrow_channels_count_for_much_stays_as_it_is():
    teacher = unequal(channels=16, narrow_count=True)
    student = make_student(teacher, make_scheme("deploy", bits=4))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    assert rotate_linear_streams(student, teacher, smooth()) is teacher
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


def test_run_writes_a_file_of_the_turned_student(tmp_path):
    assert RotateStreams() in METHODS["reconstruct"].preparations
    settings = Settings(bits=4, method=QUICK, images=32, steps=2)
    result = quantize_model(teacher := unequal(channels=16), tmp_path / "run", settings)
    plain = make_student(teacher, make_scheme("deploy", bits=4)).wide1.weight
    singular = [torch.linalg.svdvals(weight.detach().flatten(1)) for weight in (result.student.wide1.weight, plain)]
    torch.testing.assert_close(singular[0], singular[1], atol=0.2, rtol=0.2)  # turned, and then fitted
    assert (result.student.wide1.weight - plain).norm() > 0.5 * plain.norm()
    assert result.report["agreement"]["onnx_student"]["synthetic"] == 1.0
    again = load_run(tmp_path / "run", model=teacher.model)
    assert torch.equal(again(smooth()), result.student(smooth()))
