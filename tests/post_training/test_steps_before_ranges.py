"""What rewrites networks is compared with what it rewrote, at run time: what changes an answer is undone and said."""

from dataclasses import replace

import pytest
import torch
from support.instant_nets import smooth
from support.small_nets import canonical, small_teacher

from dfq.calibration import METHODS
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.equalization.rescaling import rescale
from dfq.post_training.steps_before_ranges import difference, prepare
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.system.progress import Silent
from dfq.teacher import Teacher

FACTORS = torch.tensor([2.0, 0.5, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0])


def copied(teacher: Teacher) -> Teacher:
    return teacher.rewritten(canonical(teacher.model, teacher.input_spec))


def rescale_well(student, teacher, images):
    other = copied(teacher)
    for network in (student, other.traced):
        rescale(network, ("conv1",), ("conv2",), FACTORS)
    return other


def forget_the_reader(student, teacher, images):
    other = copied(teacher)
    for network in (student, other.traced):
        rescale(network, ("conv1",), (), FACTORS)
    return other


def forget_the_student(student, teacher, images):
    other = copied(teacher)
    rescale(other.traced, ("conv1",), ("conv2",), FACTORS)
    return other


def forget_the_teacher(student, teacher, images):
    rescale(student, ("conv1",), ("conv2",), FACTORS)
    return teacher


class Notes(Silent):
    def __init__(self):
        self.said: list[str] = []

    def note(self, message):
        self.said.append(message)


def state(student):
    moments = {name: node.meta.get(OUTPUT_MOMENTS) for name, node in matrix_calls(student).items()}
    return {name: value.clone() for name, value in student.state_dict().items()}, moments


def test_a_right_rewriting_stays():
    teacher = small_teacher()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    other, notes = prepare(student, teacher, smooth(8), (rescale_well,))
    assert notes == [] and difference(other, teacher, smooth(8)) < 1e-5
    torch.testing.assert_close(other.traced.conv1.weight, student.conv1.weight)
    assert not torch.equal(teacher.traced.conv1.weight, student.conv1.weight)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (forget_the_reader, "answers differed"),
        (forget_the_student, "the student's conv1"),
        (forget_the_teacher, "the student's conv1"),
    ],
)
def test_a_wrong_one_is_undone_and_said(wrong, reason):
    teacher, notes = small_teacher(), Notes()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    (tensors, moments), images = state(student), smooth(8)
    other, said = prepare(student, teacher, images, (wrong,), notes)
    assert other is teacher and notes.said == said
    assert len(said) == 1 and reason in said[0] and wrong.__name__.replace("_", " ") in said[0]
    after, moments_after = state(student)
    assert all(torch.equal(tensors[name], value) for name, value in after.items())
    assert all(
        torch.equal(a, b)
        for name in moments
        if moments[name]
        for a, b in zip(moments[name], moments_after[name], strict=True)
    )
    _, said = prepare(student, teacher, images, (wrong, rescale_well))
    assert len(said) == 1 and not torch.equal(student.conv1.weight, tensors["conv1.weight"]), "the next one still runs"


def test_the_report_of_a_run_says_so(tmp_path):
    method = replace(METHODS["instant"], preparations=(forget_the_reader,))
    settings = Settings(bits=8, method=method, images=16)
    report = quantize_model(small_teacher(), tmp_path / "run", settings).report
    assert any("forget the reader was undone" in warning for warning in report["warnings"])
    assert report["agreement"]["student_teacher"]["synthetic"] > 0.5
