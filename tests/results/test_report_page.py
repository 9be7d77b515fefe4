"""`report.html`: one page that needs nothing else."""

import json
import re
from base64 import b64decode

from dfq.cli.console import stdout
from dfq.cli.run_summary import show_run
from dfq.results.report_page import write_report_page
from dfq.results.run_folder import RunFolder


def page_of(report: dict, folder, run_folder) -> str:
    for name in ("samples.png", "diversity.png", "learning_curve.png"):
        (folder / name).write_bytes((run_folder / name).read_bytes())
    run = RunFolder(folder)
    write_report_page(report, run)
    return run.page.read_text()


def test_a_run_leaves_its_page(run_folder):
    page = (run_folder / "report.html").read_text()
    report = json.loads((run_folder / "report.json").read_text())
    assert f"{100 * report['accuracy']['onnx']:.1f} %" in page and "W4A4" in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    files = [run_folder / name for name in ("samples.png", "diversity.png", "learning_curve.png")]
    assert [b64decode(picture) for picture in pictures] == [file.read_bytes() for file in files]
    assert all(layer["name"] in page for layer in report["layers"])


def test_the_page_loads_nothing_and_runs_nothing(run_folder):
    page = (run_folder / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page and "@import" not in page


def test_names_from_a_checkpoint_are_text(run_folder, tmp_path):
    report = json.loads((run_folder / "report.json").read_text())
    report["layers"][0]["name"] = report["arch"] = "<script>alert(1)</script>"
    report["warnings"] = ["a < b & c"]
    page = page_of(report, tmp_path, run_folder)
    assert "<script>" not in page and "a &lt; b &amp; c" in page


def test_blocks_of_a_reconstruction_are_listed(run_folder, tmp_path):
    report = json.loads((run_folder / "report.json").read_text())
    block = {"name": "layer1.0", "before": 0.5, "after": 0.25, "kept": True, "iterations": 7, "seconds": 1.0}
    assert "Reconstruction" not in page_of(report, tmp_path, run_folder)
    page = page_of({**report, "reconstruction": {"blocks": [block]}}, tmp_path, run_folder)
    assert "Reconstruction" in page and "<td>0.5</td><td>0.25</td><td>yes</td><td>7</td>" in page


def test_without_labels_page_and_terminal_say_what_to_expect(run_folder, tmp_path):
    report = json.loads((run_folder / "report.json").read_text())
    assert "Expected" not in shown(report, run_folder), "accuracy was measured"
    report["accuracy"] = dict.fromkeys(report["accuracy"])
    report["evidence"]["predicted_drop"] = 0.015
    assert "98.5 %" in page_of(report, tmp_path, run_folder)
    assert "98.5 % of the teacher's accuracy" in shown(report, run_folder)


def shown(report: dict, folder) -> str:
    with stdout.capture() as captured:
        show_run(report, folder, "net.pt")
    return captured.get()
