"""`dfq compare`: every cell runs once, the rest goes on when one fails, and the tables say what was measured."""

import io
import json
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
import torch
from command_line import run
from PIL import Image
from rich.console import Console
from small_nets import SPEC, small_teacher

import dfq
from dfq.cli.compare import _table
from dfq.cli.console import TerminalProgress, stdout
from dfq.cli.main import main as group
from dfq.comparison import Comparison, ComparisonFolder, Plan, compare_methods
from dfq.comparison.common_images import common_held_out
from dfq.comparison.pictures import comparison_chart
from dfq.comparison.summary import make_content, mean_and_deviation, waiting_row
from dfq.comparison.table import markdown
from dfq.errors import DfqError
from dfq.labelled import Labelled
from dfq.pipeline import quantize_model
from dfq.run_folder import RunFolder, save_tensors
from dfq.settings import Settings

QUICK = Settings(images=16, steps=2, budget=1.0, ranges="minmax")
METHODS = ("zeroq", "zeroq-kd")


def plan(methods=METHODS, bits=(4,), seeds=1, settings=QUICK) -> Plan:
    return Plan(methods=methods, variants=bits, seeds=seeds, settings=settings)


class Calls(list):
    """Stands for `quantize_model`: remembers the run folders' names; fails where it is told to."""

    def __init__(self, failing: str | None = None):
        self.failing = failing

    def __call__(self, teacher, out, *arguments, **options):
        self.append(Path(out).name)
        if Path(out).name == self.failing:
            raise DfqError("an operator of the test", "one that can be exported", "another network", exit_code=1)
        return quantize_model(teacher, out, *arguments, **options)


@pytest.fixture
def calls(monkeypatch) -> Calls:
    made = Calls()
    monkeypatch.setattr("dfq.comparison.jobs.quantize_model", made)
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Comparison:
    """One width, two methods, two seeds, with labelled images."""
    random = np.random.default_rng(0)
    labelled = Labelled(random.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), np.arange(20) % 5)
    out = tmp_path_factory.mktemp("comparison") / "compared"
    return compare_methods(small_teacher(), out, plan(seeds=2), labelled=labelled)


def fabricated(data: bool, widths=(8, 4, 3)) -> dict:
    """The content of a comparison that nobody ran."""
    made = plan(bits=widths, seeds=2)
    rows = {
        cell.name: {
            **waiting_row(cell), "state": "finished", "seconds": 10.0 * cell.settings.bits, "agreement": 0.5,
            "common_agreement": 0.6 + cell.settings.seed / 10, "accuracy": 0.8 if data else None,
            "teacher_accuracy": 0.9 if data else None,
        }
        for cell in made.cells
    }  # fmt: skip
    conditions = {"job": "quantize", "data": "0" if data else None, "settings": made.shared()}
    header = {"arch": None, "conditions": conditions}
    return make_content(header, made, rows, 64)


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

        monkeypatch.setattr("dfq.comparison.jobs.quantize_model", kill)
        with pytest.raises(KeyboardInterrupt):
            compare_methods(small_teacher(), tmp_path, plan())
        states = [cell["state"] for cell in json.loads((tmp_path / "compare.json").read_text())["cells"]]
        assert states == ["finished", "waiting"]
        assert "–" in (tmp_path / "compare.md").read_text()

        calls = Calls()
        monkeypatch.setattr("dfq.comparison.jobs.quantize_model", calls)
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
        monkeypatch.setattr("dfq.comparison.jobs.quantize_model", Calls(failing="zeroq-w4a4-seed0"))
        teacher = small_teacher()
        compare_methods(teacher, tmp_path, plan(methods=("zeroq",)))
        before = (tmp_path / "compare.json").read_bytes()
        if change.pop("teacher", None):
            with torch.no_grad():
                teacher.model.head.bias.add_(1)
        settings = change.pop("settings", QUICK)
        with pytest.raises(DfqError) as raised:
            compare_methods(teacher, tmp_path, plan(methods=("zeroq",), settings=settings), **change)
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
        monkeypatch.setattr("dfq.comparison.jobs.quantize_model", calls)
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


class TestCommonImages:
    @staticmethod
    def run(path: Path, values: range) -> RunFolder:
        """A run whose images are flat, each of one value."""
        folder = RunFolder(path)
        images = torch.tensor(list(values), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
        save_tensors(folder.images, {"images": images.contiguous()}, {})
        return folder

    def test_equal_shares_and_nothing_that_was_trained_on(self, tmp_path):
        runs = {
            "first": [self.run(tmp_path / "a", range(16)), self.run(tmp_path / "b", range(24))],
            "second": [self.run(tmp_path / "c", range(100, 164))],
        }
        values = common_held_out(runs)[:, 0, 0, 0].tolist()
        assert {21, 22, 23} == set(values[:3])  # 14 and 15 are held out by one run and trained on by the other
        assert len(values) == 6 and set(values[3:]) <= set(range(156, 164))

    def test_a_method_of_few_images_does_not_leave_few_for_all(self, tmp_path):
        runs = {
            "many": [self.run(tmp_path / "a", range(256))],
            "few": [self.run(tmp_path / "b", range(8))],
        }
        assert len(common_held_out(runs)) == 32 and len(common_held_out({"few": runs["few"]})) == 1

    def test_no_image_is_left(self, tmp_path):
        runs = [self.run(tmp_path / "a", range(8)), self.run(tmp_path / "b", range(7, -1, -1))]
        assert common_held_out({"first": runs}) is None and common_held_out({}) is None

    def test_the_students_are_those_of_the_runs(self, tmp_path):
        """A method alone shares its own held-out images with nobody, so both agreements are the same."""
        (cell,) = compare_methods(small_teacher(), tmp_path, plan(methods=("zeroq",))).content["cells"]
        assert cell["common_agreement"] == pytest.approx(cell["agreement"])


class TestDefaultMethods:
    def test_auto_and_its_parts_are_compared_like_the_others(self, tmp_path):
        random = np.random.default_rng(0)
        labelled = Labelled(random.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8), np.arange(10) % 5)
        settings = Settings(images=16, steps=1, budget=1.0)
        made = plan(methods=("auto", "instant", "reconstruct"), settings=settings)
        content = compare_methods(small_teacher(), tmp_path, made, labelled=labelled).content
        assert [cell["state"] for cell in content["cells"]] == ["finished"] * 3
        auto, *parts = content["cells"]
        assert auto["choice"].startswith("auto chose instant: ") and all(part["choice"] is None for part in parts)
        for cell in content["cells"]:
            report = json.loads((tmp_path / cell["folder"] / "report.json").read_text())
            assert cell["predicted_drop"] == report["evidence"]["predicted_drop"]
        assert f"- W4A4: {auto['choice']}" in (tmp_path / "compare.md").read_text()
        assert (tmp_path / "compare.png").stat().st_size > 1000

    def test_the_predicted_difference_stands_beside_the_true_one(self):
        content = fabricated(data=True)
        assert "predicted" not in markdown(content)
        for row in content["summary"]:
            row["predicted_drop"] = {"mean": 0.0125, "std": None}
        assert "| zeroq | 80.00 ± 0.00 (-10.00), predicted -1.25, 80 s |" in markdown(content)
        assert "; predicted: that difference as synthetic images alone tell it;" in markdown(content)
        with stdout.capture() as captured:
            stdout.print(_table(content, content["columns"]))
        assert "predicted -1.25" in captured.get() and max(map(len, captured.get().splitlines())) <= 80

    def test_what_auto_chose_is_said_once_for_all_seeds(self):
        content = fabricated(data=True)
        for cell in content["cells"]:
            cell["choice"] = "auto chose instant: 8 bits lose next to nothing" if cell["column"] == "W8A8" else None
        assert markdown(content).count("- W8A8: auto chose instant") == 1


class TestTables:
    def test_markdown_with_accuracies(self):
        text = markdown(fabricated(data=True))
        assert "Top-1 accuracy of the ONNX file" in text and "over 2 seeds" in text
        assert "| method | W8A8 | W4A4 | W3A3 |" in text and "| teacher | 90.00 | 90.00 | 90.00 |" in text
        assert "| zeroq | 80.00 ± 0.00 (-10.00), 80 s |" in text

    def test_markdown_without_data_says_what_it_shows(self):
        text = markdown(fabricated(data=False))
        assert "agreement with the teacher on held-out synthetic images" in text and "accuracy of" not in text
        assert "64 synthetic images are the same for every cell" in text and "| zeroq | 65.00 ± 7.07, 80 s |" in text
        assert "teacher |" not in text

    def test_variety_is_shown_at_the_lowest_width(self):
        content = fabricated(data=True)
        for row in content["summary"]:
            row["entropy"] = {"mean": 0.25 if row["column"] == "W3A3" else 9.0, "std": 4.2e-5}
        text = markdown(content)
        assert "in the teacher's eyes, at W3A3." in text
        assert "| method | same-class distance | entropy, nats | class balance |" in text
        assert "| zeroq | – | 0.25 ± 4.2e-05 | – |" in text and "9.0" not in text

    def test_figures_of_separate_images_are_called_not_comparable(self):
        text = markdown({**fabricated(data=False), "measure": "agreement"})
        assert "NOT comparable between methods" in text

    @pytest.mark.parametrize("data", [True, False])
    def test_the_chart_is_not_blank(self, tmp_path, data):
        comparison_chart(fabricated(data), tmp_path / "compare.png")
        with Image.open(tmp_path / "compare.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        assert pixels.shape[1] > pixels.shape[0] > 300
        for half in np.split(pixels[:, : pixels.shape[1] // 2 * 2], 2, axis=1):
            assert len(np.unique(half.reshape(-1, 3), axis=0)) > 20

    def test_a_chart_of_nothing_yet(self, tmp_path):
        made = plan()
        header = {"arch": None, "conditions": {"job": "quantize", "data": None, "settings": made.shared()}}
        content = make_content(header, made, {cell.name: waiting_row(cell) for cell in made.cells})
        comparison_chart(content, tmp_path / "compare.png")
        assert (tmp_path / "compare.png").stat().st_size > 1000

    def test_the_images_of_all_methods_are_drawn_at_the_lowest_width_and_first_seed(self, finished, monkeypatch):
        drawn = {}
        monkeypatch.setattr("dfq.comparison.folder.diversity_plot", lambda sets, path: drawn.update({path: sets}))
        ComparisonFolder(finished.folder).write(finished.content)
        assert (finished.folder / "diversity.png").stat().st_size > 1000
        (sets,) = drawn.values()
        for name, cell in zip(METHODS, finished.content["cells"], strict=False):
            assert cell["seed"] == 0 and sets[name].entropy == cell["entropy"]


class TestCommand:
    SMALL = ("--images", "16", "--steps", "2", "--no-flip", "--budget", "1s", "--ranges", "minmax", "--seeds", "1")

    def test_from_checkpoint_to_table(self, model_file, labelled_file, tmp_path):
        out, data = tmp_path / "compared", labelled_file
        result = run("compare", model_file, "--methods", "auto,zeroq-kd", *self.SMALL, "--data", data, "--out", out)
        assert result.exit_code == 0, result.output
        parts = (
            "W4A4",
            "teacher",
            "zeroq-kd",
            "W4A4: auto chose instant",
            "top-1 accuracy of the ONNX file",
            "One seed",
            "same-class distance",
        )
        files = {"compare.json", "compare.md", "compare.png", "diversity.png"}
        for part in (*parts, *files):
            assert part in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert "Comparing: zeroq-kd W4A4 seed 0" in result.stderr and "Comparing: done" in result.stderr
        assert {path.name for path in out.iterdir()} == {"cells", *files}

    def test_a_failing_cell_is_shown_and_ends_in_1(self, model_file, tmp_path, monkeypatch):
        monkeypatch.setattr("dfq.comparison.jobs.quantize_model", Calls(failing="zeroq-w4a4-seed0"))
        result = run("compare", model_file, "--methods", "zeroq", *self.SMALL, "--out", tmp_path / "compared")
        assert result.exit_code == 1
        assert "zeroq W4A4 seed 0: an operator of the test" in result.stdout

        clash = run(
            "compare", model_file, "--methods", "zeroq", *self.SMALL[:-2], "--flip", "--out", tmp_path / "compared"
        )
        assert clash.exit_code == 2 and "flip False (now True)" in clash.stderr and "way out: " in clash.stderr

    def test_bars_of_finished_stages_make_room(self):
        progress = TerminalProgress(Console(file=io.StringIO(), force_terminal=True))
        with progress.task("Comparing", 2) as whole:
            whole.name("zeroq W4A4 seed 0")
            with progress.task("Training the student", 1) as stage:
                stage.advance()
            assert [bar.description for bar in progress._bars.tasks if bar.visible] == ["Comparing"]
            (line,) = [bar.fields["figures"] for bar in progress._bars.tasks if bar.visible]
            assert line == "zeroq W4A4 seed 0"

    def test_the_table_fits_a_terminal(self):
        content = fabricated(data=True)
        with stdout.capture() as captured:
            stdout.print(_table(content, content["columns"]))
        assert "80.00 ± 0.00" in captured.get() and max(map(len, captured.get().splitlines())) <= 80

    @pytest.mark.parametrize(
        "option, value, found",
        [
            ("--methods", "zeroq,zeroqkd", "did you mean zeroq-kd"),
            ("--bits", "4,1", "1 bits"),
            ("--seeds", "0", "0 seeds"),
        ],
    )
    def test_bad_options(self, model_file, tmp_path, monkeypatch, option, value, found):
        monkeypatch.chdir(tmp_path)
        result = run("compare", model_file, "--methods", "zeroq", option, value)
        assert result.exit_code == 2 and found in result.stderr and "way out: " in result.stderr
        assert not list(tmp_path.iterdir())

    def test_bits_that_are_no_numbers_are_a_usage_error(self, model_file):
        assert run("compare", model_file, "--methods", "zeroq", "--bits", "4,x").exit_code == 2

    def test_help_has_examples_and_defaults(self):
        text = run("compare", "--help").stdout
        assert "Examples" in text and "compare" in run("--help").stdout
        for parameter in group.commands["compare"].params:
            if parameter.param_type_name == "option" and not parameter.required:
                assert getattr(parameter, "show_default", False) or "[default:" in (parameter.help or "")


def test_the_python_call(tmp_path, calls):
    comparison = dfq.compare(
        small_teacher().model, out=tmp_path, methods=["zeroq"], bits=[8], seeds=1, input_size=SPEC.size, mean=SPEC.mean,
        std=SPEC.std, images=8, steps=2, budget=1.0, ranges="minmax",
    )  # fmt: skip
    assert calls == ["zeroq-w8a8-seed0"] and not comparison.failed
    assert comparison.content["measure"] == "common_agreement"
