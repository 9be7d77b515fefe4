"""Reports of which a test says everything that decides."""

import copy
import json
from pathlib import Path


def unlabelled(run_folder: Path, agreement: float) -> dict:
    """Returns a finished run's report on 1000 synthetic images, with that agreement, and on no labelled ones."""
    report = copy.deepcopy(json.loads((run_folder / "report.json").read_text()))
    report["engines"][0]["images"] = {"synthetic": 1000}
    found = {"onnx_student": 1.0, "student_teacher": agreement, "student_float64": None}
    report["agreement"] = {
        pair: {"synthetic": share, "labelled": None, "pictures": None} for pair, share in found.items()
    }
    report["accuracy"] = dict.fromkeys(("teacher", "student", "onnx"))
    return report


def with_labels(report: dict, teacher: float, onnx: float, count: int, agreement: float) -> dict:
    """Returns the report with accuracies and the agreement with the teacher on so many labelled images."""
    report["engines"][0]["images"]["labelled"] = count
    report["accuracy"] = {"teacher": teacher, "student": onnx, "onnx": onnx}
    report["agreement"]["student_teacher"]["labelled"] = agreement
    return report
