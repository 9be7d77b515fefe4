"""`report.html`: one page that needs nothing else."""

import copy
import json
import re
from base64 import b64decode
from pathlib import Path

import pytest
from PIL import Image

from dfq.cli.console import stdout
from dfq.cli.run_summary import show_run
from dfq.results.page.quantize_page import write_report_page
from dfq.results.run_folder import RunFolder

PICTURES = ("samples.png", "diversity.png", "learning_curve.png")


@pytest.fixture(scope="module")
def finished(run_folder) -> dict:
    return json.loads((run_folder / "report.json").read_text())


@pytest.fixture
def report(finished) -> dict:
    return copy.deepcopy(finished)


def page_of(report: dict, folder, run_folder) -> str:
    for name in PICTURES:
        (folder / name).write_bytes((run_folder / name).read_bytes())
    run = RunFolder(folder)
    write_report_page(report, run)
    return run.page.read_text()


def pictures_in(page: str) -> list[bytes]:
    return [b64decode(found) for found in re.findall(r'src="data:image/[a-z]+;base64,([^"]+)"', page)]


def test_a_run_leaves_its_page(run_folder, report):
    page = (run_folder / "report.html").read_text()
    assert f"{100 * report['accuracy']['onnx']:.1f} %" in page and "W4A4" in page
    assert all(layer["name"] in page for layer in report["layers"])


def test_the_decision_comes_first_then_five_figures_then_facts_then_pictures(run_folder):
    page = (run_folder / "report.html").read_text()
    places = [page.index(part) for part in ('<p class="decision', '<div class="figures">', "<table>", "<img")]
    assert places == sorted(places) and page.count('<div class="figure">') == 5
    assert pictures_in(page) == [(run_folder / name).read_bytes() for name in PICTURES[:2]], "three points are no curve"


def test_figures_say_what_they_rest_on(run_folder, report):
    page = (run_folder / "report.html").read_text()
    count = report["engines"][0]["images"]["labelled"]
    bases = re.findall(r"<small>([^<]*)</small>", page)
    assert len(bases) == 5 and all(f"{count} labelled images" in basis and "95 %: " in basis for basis in bases[:3])


def test_the_page_loads_nothing_and_runs_nothing(run_folder):
    page = (run_folder / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page and "@import" not in page


def test_names_from_a_checkpoint_are_text(run_folder, report, tmp_path):
    report["layers"][0]["name"] = report["coverage"]["layers"][0]["name"] = report["arch"] = "<script>alert(1)</script>"
    report["warnings"] = ["a < b & c"]
    page = page_of(report, tmp_path, run_folder)
    assert "<script>" not in page and "a &lt; b &amp; c" in page


def test_folders_of_the_machine_are_no_part_of_a_page(run_folder, report, tmp_path):
    secret = Path.home() / "secret" / "net.pt2"
    report["arch"], report["warnings"] = (
        str(secret),
        [f"read {secret}", f"wrote {tmp_path / 'model.onnx'}", "/layer/Conv"],
    )
    page = page_of(report, tmp_path, run_folder)
    assert "secret" not in page and str(tmp_path) not in page and str(Path.home()) + "/" not in page
    assert "read net.pt2" in page and "wrote model.onnx" in page and "/layer/Conv" in page


def test_pictures_together_have_at_most_a_megabyte(run_folder, report, tmp_path):
    run = RunFolder(tmp_path)
    Image.effect_noise((1500, 1500), 100).save(run.samples)
    write_report_page(report, run)
    page = run.page.read_text()
    assert run.samples.stat().st_size > 1_500_000
    assert len(pictures_in(page)) == 1 and len(page) - len(json.dumps(report)) < 1_050_000


def test_alternative_texts_say_what_is_seen(run_folder, report):
    page = (run_folder / "report.html").read_text()
    samples, diversity = re.findall(r'alt="([^"]*)"', page)
    assert samples.startswith(
        f"A grid of {report['settings']['images']} synthetic images of 8×8 pixels in grey, sorted by"
    )
    assert f"{report['diversity']['classes_seen']} of 10 classes occur" in diversity and "BatchNorm" in diversity


def test_few_points_are_numbers_and_many_a_curve(run_folder, report, tmp_path):
    page = page_of(report, tmp_path, run_folder)
    assert '<th scope="col">held-out divergence, nats</th>' in page and "Curves of" not in page
    report["training"]["records"] *= 10
    page = page_of(report, tmp_path, run_folder)
    assert "held-out divergence, nats</th>" not in page and 'alt="Curves of 3 steps of training: loss ' in page


def test_every_layer_has_its_place_in_the_plot(run_folder, report, tmp_path):
    report["layers"][1] |= {"snr_db": 12.34, "weight_bits": 3, "input_bits": None}
    page = page_of(report, tmp_path, run_folder)
    titles = re.findall(r"<g><title>([^<]*)</title>", page)
    assert [title.partition(":")[0] for title in titles] == [layer["name"] for layer in report["coverage"]["layers"]]
    assert "12.3 dB; weight 3 bits, input in floating point; " in titles[1]
    label = re.search(r'role="img" aria-label="([^"]*)"', page)
    assert label and f"Bars for {len(titles)} layers." in label[1]


def test_a_report_from_before_layers_were_measured_has_no_plot(run_folder, report, tmp_path):
    for layer in report["layers"]:
        del layer["snr_db"]
    page = page_of(report, tmp_path, run_folder)
    assert "<svg" not in page and "Layer by layer" in page


def test_nodes_in_floating_point_are_grouped_by_reason(run_folder, report, tmp_path):
    nodes = [("a", "Mul", "why"), ("b", "Conv", "because"), ("c", "Add", "why"), ("d", "Mul", "why")]
    report["nodes"]["float"] = [dict(zip(("name", "op", "reason"), node, strict=True)) for node in nodes]
    page = " ".join(page_of(report, tmp_path, run_folder).split())
    assert "<tr><td>3</td><td>Mul × 2, Add × 1</td><td>why</td></tr>" in page
    assert "<tr><td>1</td><td>Conv × 1</td><td>because</td></tr>" in page and "All 4 in a table" in page


def test_blocks_of_a_reconstruction_are_listed(run_folder, report, tmp_path):
    block = {"name": "layer1.0", "before": 0.5, "after": 0.25, "kept": True, "iterations": 7, "seconds": 1.0}
    assert "Reconstruction" not in page_of(report, tmp_path, run_folder)
    page = page_of({**report, "reconstruction": {"blocks": [block]}}, tmp_path, run_folder)
    assert "Reconstruction" in page and "<td>0.5</td><td>0.25</td><td>yes</td><td>7</td>" in page


def test_without_labels_page_and_terminal_say_what_to_expect(run_folder, report, tmp_path):
    assert "Expected" not in shown(report, run_folder), "accuracy was measured"
    report["accuracy"] = dict.fromkeys(report["accuracy"])
    for pair in report["agreement"].values():
        pair["labelled"] = None
    report["evidence"] |= {"predicted_drop": 0.015, "drop_interval": [0.0, 0.04]}
    page = page_of(report, tmp_path, run_folder)
    assert "<b>98.5 %</b>" in page and "96–100; an estimate" in page and page.count('<div class="figure">') == 5
    assert "98.5 % (96–100) of the teacher's accuracy" in " ".join(shown(report, run_folder).split())


def test_it_follows_the_colours_of_the_reader(run_folder):
    page = (run_folder / "report.html").read_text()
    assert "color-scheme: light dark" in page and "@media (prefers-color-scheme: dark)" in page


def shown(report: dict, folder) -> str:
    with stdout.capture() as captured:
        show_run(report, folder, "net.pt")
    return captured.get()
