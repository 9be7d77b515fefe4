"""`dfq compare`: every cell runs once, the rest goes on when one fails, and the figures are those of the runs."""

import json
from statistics import stdev

import numpy as np
import pytest
import torch
from support.compare_cases import METHODS, QUICK, Calls, plan
from support.small_nets import SPEC, small_teacher

import dfq
from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.compare import Comparison, ComparisonFolder, compare_methods
from dfq.jobs.compare.summary import mean_and_deviation
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.results.run_folder import RunFolder


@pytest.fixture
def calls(monkeypatch) -> Calls:
    made = Calls()
    monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", made)
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Comparison:
    """One width, two methods, two seeds, with labelled images."""
    random = np.random.default_rng(0)
    labelled = Labelled(random.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), np.arange(20) % 5)
    out = tmp_path_factory.mktemp("comparison") / "compared"
    return compare_methods(small_teacher(), out, plan(seeds=2), RunOptions(labelled=labelled))


class TestContent:
    def test_every_cell_has_its_figures_and_its_circumstances(self, finished):
        cells = finished.content["cells"]
        assert [(cell["method"], cell["seed"]) for cell in cells] == [(m, s) for s in (0, 1) for m in METHODS]
        for cell in cells:
            assert cell["state"] == "finished" and cell["seconds"] > 0 and cell["settings"]["images"] == 16
            assert cell["versions"]["torch"] and cell["hardware"]["cores"]
            for name in ("accuracy", "agreement", "common_agreement"):
                assert 0 <= cell[name] <= 1
            report = json.loads((finished.folder / cell["folder"] / "report.json").read_text())
            assert report["accuracy"]["onnx"] == cell["accuracy"] and report["seed"] == cell["seed"]

    def test_the_summary_is_mean_and_deviation_over_the_seeds(self, finished):
        for row in finished.content["summary"]:
            values = [c["accuracy"] for c in finished.content["cells"] if c["method"] == row["method"]]
            assert row["finished"] == 2 and row["accuracy"]["mean"] == pytest.approx(sum(values) / 2)
            assert row["accuracy"]["std"] == pytest.approx(stdev(values))

    def test_how_varied_the_images_are_stands_in_cells_and_summary(self, finished):
        for cell in finished.content["cells"]:
            report = json.loads((finished.folder / cell["folder"] / "report.json").read_text())
            for name in ("same_class_distance", "entropy", "class_balance"):
                assert cell[name] == report["diversity"][name]
        for row in finished.content["summary"]:
            values = [c["entropy"] for c in finished.content["cells"] if c["method"] == row["method"]]
            assert row["entropy"] == mean_and_deviation(values)

    def test_the_file_is_what_is_returned(self, finished):
        assert json.loads((finished.folder / "compare.json").read_text()) == finished.content
        assert not list(finished.folder.glob(".*"))

    def test_deviation_needs_two_values(self):
        assert mean_and_deviation([0.5, None]) == {"mean": 0.5, "std": None}
        assert mean_and_deviation([None]) == {"mean": None, "std": None}

    def test_the_images_of_all_methods_are_drawn_at_the_lowest_width_and_first_seed(self, finished, monkeypatch):
        drawn = {}
        monkeypatch.setattr("dfq.jobs.compare.folder.diversity_plot", lambda sets, path: drawn.update({path: sets}))
        ComparisonFolder(finished.folder).write(finished.content)
        assert (finished.folder / "diversity.png").stat().st_size > 1000
        (sets,) = drawn.values()
        for name, cell in zip(METHODS, finished.content["cells"], strict=False):
            assert cell["seed"] == 0 and sets[name].entropy == cell["entropy"]


class TestGoingOn:
    def test_a_finished_cell_never_runs_again(self, tmp_path, calls):
        teacher = small_teacher()
        compare_methods(teacher, tmp_path, plan(methods=("zeroq",)))
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*")}
        again = compare_methods(teacher, tmp_path, plan(methods=("zeroq",)))
        assert calls == ["zeroq-w4a4-seed0"] and again.content["cells"][0]["common_agreement"] is not None
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*")} == before

    def test_a_killed_comparison_runs_what_is_missing(self, tmp_path, monkeypatch):
        def kill(teacher, out, *arguments, **options):
            if "-kd-" in str(out):
                RunFolder(out).prepare({"half": "done"}, resume=False, overwrite=False)
                raise KeyboardInterrupt
            return quantize_model(teacher, out, *arguments, **options)

        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", kill)
        with pytest.raises(KeyboardInterrupt):
            compare_methods(small_teacher(), tmp_path, plan())
        states = [cell["state"] for cell in json.loads((tmp_path / "compare.json").read_text())["cells"]]
        assert states == ["finished", "waiting"]
        assert "–" in (tmp_path / "compare.md").read_text()

        calls = Calls()
        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", calls)
        content = compare_methods(small_teacher(), tmp_path, plan()).content
        assert calls == ["zeroq-kd-w4a4-seed0"] and not [c for c in content["cells"] if c["state"] != "finished"]

    @pytest.mark.parametrize(
        "change, found",
        [
            ({"settings": Settings(images=16, steps=3, budget=1.0, ranges="minmax")}, "steps 2 (now 3)"),
            ({"teacher": "other"}, "another teacher"),
            ({"labelled": Labelled(np.zeros((2, 16, 16, 3), np.uint8), np.zeros(2, np.int64))}, "other --data"),
        ],
    )
    def test_other_conditions_are_refused(self, tmp_path, monkeypatch, change, found):
        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", Calls(failing="zeroq-w4a4-seed0"))
        teacher = small_teacher()
        compare_methods(teacher, tmp_path, plan(methods=("zeroq",)))
        before = (tmp_path / "compare.json").read_bytes()
        if change.pop("teacher", None):
            with torch.no_grad():
                teacher.model.head.bias.add_(1)
        settings = change.pop("settings", QUICK)
        with pytest.raises(DfqError) as raised:
            compare_methods(teacher, tmp_path, plan(methods=("zeroq",), settings=settings), RunOptions(**change))
        assert found in raised.value.found and raised.value.needed and "--out" in raised.value.way_out
        assert (tmp_path / "compare.json").read_bytes() == before

    def test_a_folder_with_other_files_is_refused(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(DfqError, match="holds no comparison"):
            compare_methods(small_teacher(), tmp_path, plan())
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class TestFailure:
    def test_the_others_go_on_and_the_failed_one_is_tried_again(self, tmp_path, monkeypatch):
        calls = Calls(failing="zeroq-w4a4-seed0")
        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", calls)
        comparison = compare_methods(small_teacher(), tmp_path, plan())
        assert calls == ["zeroq-w4a4-seed0", "zeroq-kd-w4a4-seed0"]
        (failed,) = comparison.failed
        assert failed["error"]["found"] == "an operator of the test" and failed["accuracy"] is None
        text = (tmp_path / "compare.md").read_text()
        assert "| zeroq | failed |" in text and "zeroq W4A4 seed 0 failed: an operator of the test" in text

        calls.failing = None
        assert not compare_methods(small_teacher(), tmp_path, plan()).failed
        assert calls[2:] == ["zeroq-w4a4-seed0"]

    @pytest.mark.parametrize(
        "values, found",
        [
            ({"methods": ()}, "nothing to compare"),
            ({"seeds": 0}, "0 seeds"),
            ({"bits": (4, 4)}, "zeroq-w4a4-seed0 twice"),
            ({"methods": ("zeroq", "zeroq")}, "twice"),
            ({"bits": (4, 9)}, "9 bits"),
            ({"methods": ("zeroq", "nothing")}, "nothing"),
        ],
    )
    def test_a_plan_is_checked_before_anything_runs(self, values, found):
        with pytest.raises(DfqError, match=found):
            plan(**values)

    def test_a_network_that_no_cell_can_take_is_told_at_once(self, tmp_path, calls):
        settings = Settings(layer_bits={"nowhere": 4})
        with pytest.raises(DfqError, match="nowhere"):
            compare_methods(small_teacher(), tmp_path / "out", plan(settings=settings))
        assert not calls and not (tmp_path / "out").exists()


def test_the_python_call(tmp_path, calls):
    comparison = dfq.compare(
        small_teacher().model, out=tmp_path, methods=["zeroq"], bits=[8], seeds=1, input_size=SPEC.size, mean=SPEC.mean,
        std=SPEC.std, images=8, steps=2, budget=1.0, ranges="minmax",
    )  # fmt: skip
    assert calls == ["zeroq-w8a8-seed0"] and not comparison.failed
    assert comparison.content["measure"] == "common_agreement"
