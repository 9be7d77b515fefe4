"""What a network answers, above all one with a single logit: two classes, parted by its sign."""

import copy
import json

import numpy as np
import pytest
import torch
from support.small_nets import SPEC, Residual, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.calibration import METHODS
from dfq.evaluation.drop_estimate import predict
from dfq.evaluation.held_out_evidence import measure_evidence
from dfq.export import ComparedImages, ExportedFiles, export_onnx, validate
from dfq.images.batch import Batch
from dfq.images.labelled import Labelled
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.teacher.answers import answers, boundary_of, same_answers, two_or_more
from dfq.training.losses import disagreement, knowledge_distillation, label_cross_entropy
from dfq.training.objectives import KnowledgeDistillation


class OneLogit(Residual):
    """Answers yes to about half of all images; behind a sigmoid where it is asked for."""

    def __init__(self, *, sigmoid: bool = False):
        super().__init__(1)
        self.sigmoid = sigmoid

    def forward(self, images):
        logit = 5 * super().forward(images)
        return torch.sigmoid(logit) if self.sigmoid else logit


def images(count: int = 32) -> torch.Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def teacher_of(sigmoid: bool = False):
    """A teacher whose logit is as often above 0 as below on noise."""
    torch.manual_seed(0)
    network = small_teacher(OneLogit()).original
    network.head.bias -= network(images()).median() / 5
    network.sigmoid = sigmoid
    return Teacher(network, SPEC)


@torch.no_grad()
def opposite(teacher) -> nn.Module:
    """The teacher's network with the other answer to every image."""
    network = copy.deepcopy(teacher.model)
    network.head.weight.neg_()
    network.head.bias.neg_()
    return network


@torch.no_grad()
def test_far_images_that_all_have_one_answer_predict_nothing():
    teacher = teacher_of()
    teacher.model.head.bias += 100
    student = opposite(teacher_of())
    assert predict(measure_evidence(student, teacher, images()), [0.0], 16).drop > 0.05, "it disagrees"
    student.head.bias += 200
    evidence = measure_evidence(student, teacher, images())
    assert evidence.far_share == evidence.far_agreement == 1 and predict(evidence, [0.0], 16).drop is None


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_answers(kind):
    one, other = kind([[0.5], [-0.2], [0.9]]), kind([[3.0], [0.2], [0.1]])
    assert answers(one).tolist() == [1, 0, 1]
    assert same_answers(one, other) == pytest.approx(2 / 3)
    assert answers(one, 0.5).tolist() == [0, 0, 1] and same_answers(one, other, 0.5) == pytest.approx(1 / 3)
    assert np.allclose(np.asarray(two_or_more(one)), [[0, 0.5], [0, -0.2], [0, 0.9]])
    three = kind([[0.1, 0.3, 0.2], [5.0, 1.0, 2.0]])
    assert answers(three, 0.5).tolist() == [1, 0] and two_or_more(three) is three


def test_a_network_that_ends_in_a_sigmoid_parts_classes_at_one_half():
    assert boundary_of(teacher_of(sigmoid=True).model) == 0.5 and teacher_of().boundary == 0
    assert boundary_of(make_student(teacher_of(sigmoid=True), make_scheme())) == 0.5
    assert boundary_of(nn.Linear(1, 1)) == 0


def test_divergences_of_a_single_logit_are_those_of_two_classes():
    student, target = torch.tensor([[1.0], [-2.0]]), torch.tensor([[-1.0], [-2.5]])
    pairs = [F.pad(logits, (1, 0)) for logits in (student, target)]
    assert knowledge_distillation(student, target, 2.0) == knowledge_distillation(*pairs, 2.0)
    assert knowledge_distillation(student, target) > 0.1 and knowledge_distillation(target, target) < 1e-5
    # −log of the sigmoid's probability: binary cross-entropy.
    labels = torch.tensor([1, 0])
    expected = F.binary_cross_entropy_with_logits(student[:, 0], labels.float())
    assert label_cross_entropy(student, labels).item() == pytest.approx(expected.item(), rel=1e-5)
    assert disagreement(student, target, masked=True) > disagreement(student, target), "one of two agrees"


def test_a_student_of_a_single_logit_is_pulled_to_its_teacher():
    teacher = teacher_of()
    student = calibrate(make_student(teacher, make_scheme(bits=2)), images()).train()
    KnowledgeDistillation()(student, Batch(images()), teacher)["kd"].backward()
    assert student.get_submodule("head").weight.grad.abs().sum() > 0


@pytest.mark.parametrize("sigmoid", [False, True])
def test_the_opposite_answer_is_no_agreement(tmp_path, sigmoid):
    teacher = teacher_of(sigmoid)
    evidence = measure_evidence(opposite(teacher), teacher, images())
    assert evidence.far_agreement < 0.05 and evidence.mixed_agreement < 0.05 and evidence.divergence > 1e-4
    assert predict(evidence, [0.0], 16).drop > 0.8
    same = measure_evidence(teacher.model, teacher, images())
    assert same.far_agreement == same.mixed_agreement == 1
    student = calibrate(make_student(teacher, make_scheme()), images()).eval()
    path = export_onnx(student, tmp_path / "model.onnx", SPEC)
    data = Labelled(np.zeros((4, *SPEC.size[1:], 3), np.uint8), np.array([0, 1, 0, 1]))
    found = validate(ExportedFiles(path), student, ComparedImages(images(), data), Teacher(opposite(teacher), SPEC))
    assert found.agreement["student_teacher"]["synthetic"] < 0.2
    assert found.agreement["onnx_student"]["synthetic"] > 0.9
    assert found.accuracy["onnx"] == 0.5, "one image, both labels"


def test_labels_of_both_classes_are_drawn():
    made = METHODS["zeroq-kd"].synthesizer(teacher_of(), batch_size=8, augment=None).sample(8)
    assert sorted(made.labels.tolist()) == [0] * 4 + [1] * 4


@pytest.mark.parametrize("method", ["zeroq", "gdfq", "qimera"])
def test_a_whole_run_of_a_single_logit_reports_how_far_off_it_is(tmp_path, method):
    settings = Settings(bits=2, images=16, steps=1, method=method)
    result = quantize_model(teacher_of(), tmp_path / "run", settings)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    apart = same_answers(result.student(images()), result.teacher(images()))
    assert apart < 0.9, "the student must be far off for this test to say something"
    found = report["evidence"]
    assert found["divergence"] > 1e-4, "it was 0 for all students"
    assert found["far_agreement"] < 1 or found["predicted_drop"] is None, "where all answers are alike, none is given"
    assert report["diversity"]["num_classes"] == 2
