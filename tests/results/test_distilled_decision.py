"""What a person is told to do with a student of another architecture follows from what was measured."""

from pathlib import Path

import pytest
from support.decided_reports import unlabelled, with_labels

from dfq.results.decision import CHECK, DONT, SHIP
from dfq.results.distilled_decision import decide_distilled

FOLDER = Path("run")


@pytest.fixture
def report(run_folder) -> dict:
    """A student with a quarter of the parameters, compared on 1000 synthetic images and no labelled ones."""
    report = unlabelled(run_folder, 0.9) | {"doubt": None, "student": "net", "images": 1000}
    report["agreement"]["student_float64"]["synthetic"] = 1.0
    report["parameters"] = {"teacher": 400, "student": 100}
    report["size_bytes"], report["latency_ms"] = {"float_onnx": 400, "onnx": 100}, {"float_onnx": 2.0, "onnx": 1.0}
    return report


def test_without_labelled_images_it_is_to_be_checked_and_nothing_is_estimated(report):
    found = decide_distilled(report, FOLDER)
    assert found.word == CHECK and "with ≥ 3900 labelled images" in found.sentence
    assert "90.00 % (88–91.7)" in found.sentence
    assert found.command == "dfq quantize run/student.pt --bits 8 --data FOLDER"
    assert found.benefits == "25 % of the teacher's parameters, 4.0× smaller, 2.0× faster"


def test_a_student_that_answers_otherwise_on_synthetic_images_is_not_worth_checking(report):
    report["agreement"]["student_teacher"]["synthetic"] = 0.4
    assert decide_distilled(report, FOLDER).word == DONT


def test_an_agreement_that_says_nothing_is_not_quoted(report):
    report["doubt"], report["agreement"]["student_teacher"]["synthetic"] = "too few", 0.4
    found = decide_distilled(report, FOLDER)
    assert found.word == CHECK and found.sentence.endswith("labelled images: nothing tells its accuracy without them.")


@pytest.mark.parametrize(("accuracy", "word"), [(0.90, SHIP), (0.82, CHECK), (0.5, DONT)])
def test_with_labelled_images_the_loss_decides(report, accuracy, word):
    found = decide_distilled(with_labels(report, 0.9, accuracy, 1000, 0.93), FOLDER)
    assert found.word == word and "points beside the teacher's on 1000 labelled images" in found.sentence


def test_a_file_that_is_not_its_student_is_not_to_be_used(report):
    report["agreement"]["onnx_student"]["synthetic"] = 0.5
    found = decide_distilled(report, FOLDER)
    assert found.word == DONT and found.is_mismatch and found.command == "dfq env"
