"""What a person is told to do with a file follows from what was measured, and says no more."""

import copy
from pathlib import Path

import pytest
from support.decided_reports import unlabelled, with_labels

from dfq.results.decision import CHECK, DONT, SHIP, SIZES, SPEEDS, decide, gain, mismatch
from dfq.results.number_format import signed

FOLDER = Path("run")


@pytest.fixture
def report(run_folder) -> dict:
    """A classifier with 1000 synthetic images, on which all networks agree, and no labelled ones."""
    report = unlabelled(run_folder, 0.99)
    report["evidence"] |= {"predicted_drop": 0.01, "withheld": None}
    report["size_bytes"], report["latency_ms"] = {"float_onnx": 400, "onnx": 100}, {"float_onnx": 1.0, "onnx": 2.0}
    return report


def labelled(report, *figures):
    return decide(with_labels(report, *figures), FOLDER)


def test_without_labelled_images_nothing_is_shipped(report):
    found = decide(report, FOLDER)
    assert found.word == CHECK and "with ≥ 800 labelled images" in found.sentence
    assert "99.0 % of the teacher's accuracy" in found.sentence and found.command == "dfq validate run --data FOLDER"
    assert found.benefits.startswith("4.0× smaller, 2.0× slower, ")
    report["evidence"]["drop_interval"] = [0.0, 0.03]
    assert "it is expected to keep 99.0 % (97–100) of the teacher's accuracy" in decide(report, FOLDER).sentence


def test_a_large_expected_drop_is_not_worth_checking(report):
    report["evidence"]["predicted_drop"] = 0.3
    found = decide(report, FOLDER)
    assert found.word == DONT and "70.0 %" in found.sentence and "--activation-bits 8" in found.command


def test_where_nothing_is_estimated_it_says_why(report):
    report["evidence"] |= {"predicted_drop": None, "withheld": "there are no statistics"}
    found = decide(report, FOLDER)
    assert found.word == CHECK and found.sentence.endswith("because there are no statistics.")


def test_a_small_measured_loss_is_shipped_once_there_are_enough_images(report):
    shipped = labelled(report, 0.915, 0.914, 1000, 0.99)
    assert shipped.word == SHIP and shipped.command == "dfq validate run --performance"
    few = labelled(report, 0.915, 0.914, 100, 0.95)
    assert few.word == CHECK and "labelled images: its accuracy is −0.1 points" in few.sentence


def test_a_large_measured_loss_is_not(report):
    found = labelled(report, 0.9, 0.7, 500, 0.75)
    assert (
        found.word == DONT
        and "its accuracy is −20.0 points beside the network's on 500 labelled images" in found.sentence
    )


def test_a_loss_in_between_is_the_persons_choice(report):
    found = labelled(report, 0.9, 0.865, 2000, 0.95)
    assert found.word == CHECK and "whether you can afford that" in found.sentence


def test_a_file_that_is_not_its_student(report):
    report["agreement"]["onnx_student"]["synthetic"] = 0.9
    report["agreement"]["student_float64"]["synthetic"] = 0.995
    found = decide(report, FOLDER)
    assert found.word == DONT and found.is_mismatch and "only 90.00 % of 1000 synthetic images" in found.sentence
    report["agreement"]["student_float64"]["synthetic"] = 0.905
    assert mismatch(report) is None, "ties explain it"
    report["agreement"]["onnx_student"]["synthetic"] = 0.96
    report["agreement"]["student_float64"]["synthetic"] = 0.992
    assert mismatch(report) is None, "the student was compared with itself on 128 images only"


def test_two_of_four_images_are_no_proof(report):
    report["engines"][0]["images"]["synthetic"] = 4
    report["agreement"]["onnx_student"]["synthetic"], report["agreement"]["student_float64"]["synthetic"] = 0.5, 1.0
    assert mismatch(report) is None


def outputs(report, kind, of_teacher, of_student=60.0, of_itself=None):
    for pair in report["agreement"].values():
        pair["synthetic"] = None
    report["engines"][0]["images"][kind] = 50
    ratio = {"onnx_teacher": of_teacher, "student_teacher": of_teacher, "onnx_student": of_student}
    nothing = dict.fromkeys(("synthetic", "labelled", "pictures"))
    row = {"name": "map", "snr_db": {pair: nothing | {"synthetic": x, kind: x} for pair, x in ratio.items()}}
    row["snr_db"]["student_float64"] = {"synthetic": of_itself}
    report["outputs"] = [row]
    return decide(report, FOLDER)


def test_networks_that_are_no_classifiers(report):
    found = outputs(copy.deepcopy(report), "synthetic", 30.0)
    assert found.word == CHECK and "100 real pictures" in found.sentence and "--pictures" in found.command
    assert outputs(copy.deepcopy(report), "pictures", 30.0).sentence.startswith("Check it in your application: ")
    assert outputs(copy.deepcopy(report), "synthetic", 5.0).word == DONT
    wrong = outputs(report, "synthetic", 30.0, of_student=12.0, of_itself=40.0)
    assert wrong.is_mismatch and "'map'" in wrong.sentence


def test_gains_in_words():
    assert (
        gain(38, 10, SIZES) == "3.8× smaller" and gain(10, 19, SPEEDS, "the teacher") == "1.9× slower than the teacher"
    )
    assert gain(100, 98, SPEEDS) == "about as fast" and gain(98, 100, SIZES, "before") == "about as large as before"


def test_a_difference_of_nothing_has_no_sign():
    assert [signed(each) for each in (-0.0, -0.0001, 0.0004, -0.009, 0.01)] == ["0.0", "0.0", "0.0", "−0.9", "+1.0"]
