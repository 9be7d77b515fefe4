"""`dfq compare`: tables and pictures say what was measured, and fit a terminal."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from support.command_line import find_command, run
from support.compare_cases import Calls, fabricated, plan

from dfq.cli.compare import _table
from dfq.cli.console import stdout
from dfq.jobs.compare.documents import comma_separated, latex, markdown
from dfq.jobs.compare.live_page import write_live_page
from dfq.jobs.compare.plots import comparison_chart
from dfq.jobs.compare.summary import make_content, waiting_row
from dfq.system.terminal_progress import TerminalProgress


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

    def test_latex(self):
        text = latex(fabricated(data=True))
        assert r"zeroq & 80.00 $\pm$ 0.00 (-10.00), 80 s & " in text and text.count(r"\toprule") == 3
        assert r"images, in \%; mean $\pm$ standard deviation over 2 seeds" in text
        assert "±" not in text and "use -{}-scheme" in text
        for table in text.split(r"\end{table}")[:-1]:
            alignment = re.search(r"begin{tabular}{(\w+)}", table).group(1)
            rows = [line for line in table.splitlines() if line.endswith(r"\\")]
            assert len(rows) > 1 and {line.count(" & ") for line in rows} == {len(alignment) - 1}

    def test_csv_has_a_line_for_each_run(self):
        rows = list(csv.DictReader(io.StringIO(comma_separated(fabricated(data=True)))))
        assert len(rows) == 12 and rows[0]["method"] == "zeroq" and rows[0]["column"] == "W8A8"
        assert float(rows[0]["accuracy"]) == 0.8 and rows[0]["entropy"] == "" and rows[0]["state"] == "finished"

    def test_the_default_scheme_is_said_not_to_be_that_of_papers(self):
        content = fabricated(data=True)
        assert "--scheme paper-qat or paper-ptq" in markdown(content)
        content["conditions"]["settings"]["scheme"] = "paper-qat"
        assert "paper-ptq" not in markdown(content)

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

    def test_vector_files_are_the_same_for_the_same_figures(self, tmp_path):
        for name in ("a", "b"):
            comparison_chart(fabricated(data=True), tmp_path / f"{name}.svg", tmp_path / f"{name}.pdf")
        for kind, begin in (("svg", b"<?xml"), ("pdf", b"%PDF")):
            first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
            assert first.startswith(begin) and first == second

    @pytest.mark.parametrize("widths, panels", [((4,), 1), ((8, 4), 2)])
    @pytest.mark.parametrize("seeds, bars", [(1, 0), (2, 2)])
    def test_no_empty_panel_for_one_width_and_no_bar_for_one_seed(self, widths, panels, seeds, bars, monkeypatch):
        drawn = []
        monkeypatch.setattr("dfq.jobs.compare.plots.save", lambda figure, _: drawn.append(figure))
        comparison_chart(fabricated(data=True, widths=widths, seeds=seeds), "compare.png")
        (figure,) = drawn
        assert len(figure.axes) == panels and figure.axes[-1].get_ylabel().startswith("top-1") == (panels == 1)
        for axes in figure.axes:
            found = [len(container.lines[2]) for container in axes.containers]
            assert len(found) == 2 and all((count > 0) == (bars > 0) for count in found)

    def test_a_chart_of_nothing_yet(self, tmp_path):
        made = plan()
        header = {"arch": None, "conditions": {"job": "quantize", "data": None, "settings": made.shared()}}
        content = make_content(header, made, {cell.name: waiting_row(cell) for cell in made.cells})
        comparison_chart(content, tmp_path / "compare.png")
        assert (tmp_path / "compare.png").stat().st_size > 1000

    def test_the_predicted_difference_stands_beside_the_true_one(self):
        content = fabricated(data=True)
        assert "predicted" not in markdown(content)
        for row in content["summary"]:
            row["predicted_drop"] = {"mean": 0.0125, "std": None}  # of the teacher's 90 %
        assert "| zeroq | 80.00 ± 0.00 (-10.00), predicted -1.12, 80 s |" in markdown(content)
        assert "; predicted: that difference as estimated from synthetic images alone;" in markdown(content)
        with stdout.capture() as captured:
            stdout.print(_table(content, content["columns"]))
        assert "predicted -1.12" in captured.get() and max(map(len, captured.get().splitlines())) <= 80

    def test_without_labels_a_prediction_is_a_share(self):
        content = fabricated(data=False)
        content["summary"][0]["predicted_drop"] = {"mean": 0.0125, "std": None}
        text = markdown(content)
        assert ", predicted -1.25 %, " in text and "in % of the teacher's, as estimated" in text

    def test_what_auto_chose_is_said_once_for_all_seeds(self):
        content = fabricated(data=True)
        for cell in content["cells"]:
            cell["choice"] = "auto chose instant: 8 bits lose next to nothing" if cell["column"] == "W8A8" else None
        assert markdown(content).count("- W8A8: auto chose instant") == 1


class TestLivePage:
    def test_a_running_comparison_is_loaded_anew(self, tmp_path):
        content, page = fabricated(data=True), tmp_path / "compare.html"
        write_live_page(content, page, chart="compare.svg", running="zeroq W4A4 seed 0")
        text = page.read_text()
        assert 'http-equiv="refresh"' in text and "12 of 12 runs have finished; now runs zeroq W4A4 seed 0." in text
        assert "80.00 ± 0.00" in text and 'src="compare.svg"' in text and "--scheme paper-qat" in text
        write_live_page(content, page, chart="compare.svg", running=None)
        assert "refresh" not in page.read_text() and "now runs" not in page.read_text()

    def test_a_comparison_that_has_begun(self, tmp_path):
        made, page = plan(), tmp_path / "compare.html"
        header = {"arch": "net<b>", "conditions": {"job": "quantize", "data": None, "settings": made.shared()}}
        content = make_content(header, made, {cell.name: waiting_row(cell) for cell in made.cells})
        write_live_page(content, page, chart="compare.svg", running="the first one")
        text = page.read_text()
        assert "0 of 2 runs have finished" in text and "1 to run" in text and "<img" not in text and "<b>" not in text


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
        kinds = ("json", "html", "md", "tex", "csv", "png", "svg", "pdf")
        files = {"diversity.png", *(f"compare.{kind}" for kind in kinds)}
        for part in (*parts, *files):
            assert part in result.stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
        assert "compare.html shows this comparison" in result.stderr
        assert "Comparing: zeroq-kd W4A4 seed 0" in result.stderr and "Comparing: done" in result.stderr
        assert {path.name for path in out.iterdir()} == {"cells", *files}

    def test_a_failing_cell_is_shown_and_ends_in_1(self, model_file, tmp_path, monkeypatch):
        monkeypatch.setattr("dfq.jobs.compare.compared_jobs.quantize_model", Calls(failing="zeroq-w4a4-seed0"))
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
        for parameter in find_command("compare").params:
            if parameter.param_type_name == "option" and not parameter.required:
                assert getattr(parameter, "show_default", False) or "[default:" in (parameter.help or "")
