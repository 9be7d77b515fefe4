"""`dfq compare --job distill`: the same tables, pictures and rules, with students in place of widths."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.command_line import run
from support.small_nets import small_teacher

import dfq
from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.compare import JOBS, Comparison, ComparisonFolder, ComparisonPlan, compare_methods
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillFolder, DistillSettings, distill_model

QUICK = DistillSettings(images=16, steps=2, budget=1.0)
METHODS = ("zeroq-kd", "gdfq")
STUDENT = """
from torch import nn

def {name}(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, {width}, 3, padding=1, bias=False), nn.BatchNorm2d({width}), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({width}, num_classes))
"""


@pytest.fixture(scope="module")
def students(tmp_path_factory) -> tuple[str, ...]:
    path = tmp_path_factory.mktemp("code") / "nets.py"
    path.write_text(STUDENT.format(name="narrow", width=8) + STUDENT.format(name="wide", width=24))
    return f"{path}:narrow", f"{path}:wide"


def plan(students, **values) -> ComparisonPlan:
    return ComparisonPlan(
        **{"methods": METHODS, "variants": students, "seeds": 1, "job": JOBS["distill"], "settings": QUICK} | values
    )


@pytest.fixture(scope="module")
def finished(students, tmp_path_factory) -> Comparison:
    labelled = Labelled(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), np.arange(20) % 5)
    return compare_methods(
        small_teacher(), tmp_path_factory.mktemp("c") / "out", plan(students), RunOptions(labelled=labelled)
    )


class TestContent:
    def test_every_student_is_a_column(self, finished):
        content = finished.content
        assert content["columns"] == content["axis"] == ["nets.py:narrow", "nets.py:wide"]
        assert [(cell["column"], cell["method"]) for cell in content["cells"]] == [
            (column, method) for column in content["columns"] for method in METHODS
        ]
        for cell in content["cells"]:
            assert cell["state"] == "finished" and 0 <= cell["accuracy"] <= 1 and 0 <= cell["common_agreement"] <= 1
            report = json.loads((finished.folder / cell["folder"] / "report.json").read_text())
            assert report["student"] == cell["variant"] and report["accuracy"]["onnx"] == cell["accuracy"]

    def test_the_cells_are_run_folders_of_their_own(self, finished):
        names = {path.name for path in (finished.folder / "cells").iterdir()}
        assert names == {f"{m}-nets-{s}-seed0" for m in METHODS for s in ("narrow", "wide")}
        assert all((finished.folder / "cells" / name / "student.pt").exists() for name in names)

    def test_the_files_say_what_was_done(self, finished):
        text = (finished.folder / "compare.md").read_text()
        assert "| method | nets.py:narrow | nets.py:wide |" in text and "2 steps; 1 s per cell" in text
        assert "scheme" not in text
        for name in ("compare.png", "diversity.png"):
            assert (finished.folder / name).stat().st_size > 1000

    def test_common_agreement_is_that_of_the_distilled_student(self, students, tmp_path):
        content = compare_methods(small_teacher(), tmp_path, plan(students[:1], methods=("zeroq-kd",))).content
        (cell,) = content["cells"]
        assert content["measure"] == "common_agreement"
        assert cell["common_agreement"] == pytest.approx(cell["agreement"])


class TestGoingOn:
    def test_a_killed_comparison_runs_what_is_missing(self, students, tmp_path, monkeypatch):
        calls: list[str] = []

        def dies(teacher, student, out, *arguments, **options):
            calls.append(Path(out).name)
            if len(calls) == 2:
                DistillFolder(out).prepare({"half": "done"}, resume=False, overwrite=True)
                raise KeyboardInterrupt
            return distill_model(teacher, student, out, *arguments, **options)

        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.distill_model", dies)
        with pytest.raises(KeyboardInterrupt):
            compare_methods(small_teacher(), tmp_path, plan(students[:1]))
        content = compare_methods(small_teacher(), tmp_path, plan(students[:1])).content
        first, second = (f"{method}-nets-narrow-seed0" for method in METHODS)
        assert calls == [first, second, second]
        assert {cell["state"] for cell in content["cells"]} == {"finished"}

    def test_another_job_needs_another_folder(self, finished):
        with pytest.raises(DfqError, match="another --job"):
            compare_methods(small_teacher(), finished.folder, ComparisonPlan(methods=("zeroq",), variants=(4,)))
        assert ComparisonFolder(finished.folder).content.exists()


class TestCommand:
    SMALL = ("--images", "16", "--steps", "2", "--no-flip", "--budget", "1s", "--seeds", "1")

    def test_from_checkpoint_to_table(self, model_file, labelled_file, tmp_path):
        out = tmp_path / "compared"
        result = run("compare", model_file, "--job", "distill", "--student", "dfq/digits_cnn", "--methods", "zeroq-kd",
                     *self.SMALL, "--data", labelled_file, "--out", out)  # fmt: skip
        assert result.exit_code == 0, result.output
        for part in ("dfq/digits_cnn", "teacher", "2 steps", "by student and by time", "as of `dfq distill`"):
            assert part in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert (out / "cells" / "zeroq-kd-dfq-digits_cnn-seed0" / "student.pt").exists()

    @pytest.mark.parametrize(
        "options, found",
        [
            (["--job", "distill"], "one student"),
            (["--job", "distill", "--student", "dfq/digits_cnn", "--bits", "4"], "--bits with --job distill"),
            (["--job", "distill", "--student", "dfq/digits_cnn", "--scheme", "paper-qat"], "--scheme with"),
            (["--student", "dfq/digits_cnn"], "--student with --job quantize"),
            (["--job", "distill", "--student", "dfq/digits_cnn", "--methods", "zeroq"], "trains nothing"),
            (["--job", "distill", "--student", "dfq/nothing"], "dfq/nothing"),
        ],
    )
    def test_bad_options(self, model_file, tmp_path, options, found):
        result = run("compare", model_file, "--methods", "zeroq-kd", *options, "--out", tmp_path / "out")
        assert result.exit_code == 2 and found in result.stderr and "way out: " in result.stderr
        assert not (tmp_path / "out").exists()


def test_the_python_call(students, model_file, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("dfq.jobs.compare.run.compare_methods", lambda teacher, out, plan, options: made.append(plan))
    dfq.compare(model_file, job="distill", students=["dfq/digits_cnn"], methods=["zeroq-kd"], out=tmp_path, steps=3)
    assert made[0].variants == ("dfq/digits_cnn",) and made[0].settings == DistillSettings(steps=3)
    with pytest.raises(DfqError, match="one of quantize, distill"):
        dfq.compare(model_file, job="distil", methods=["zeroq-kd"], out=tmp_path)
