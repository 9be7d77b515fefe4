"""`README.md` of a run folder is a model card."""

import json
import re

import numpy as np

from dfq.results.model_card import model_card, write_model_card
from dfq.results.run_folder import RunFolder


def front_matter(card: str) -> dict:
    block = card.split("---\n")[1]
    return {name: json.loads(value) for name, value in re.findall(r"^(\w+): (.*)$", block, re.MULTILINE)}


def test_the_card_of_a_run(run_folder):
    card = (run_folder / "README.md").read_text()
    report = json.loads((run_folder / "report.json").read_text())
    assert front_matter(card) == {
        "library_name": "onnx",
        "tags": ["onnx", "dfq", "data-free", "quantization"],
        "pipeline_tag": "image-classification",
    }
    for part in ("# dfq/digits_cnn, W4A4", report["decision"]["sentence"], "accuracy on 20 labelled images", "## Use"):
        assert part in card
    assert str(run_folder) not in card


def test_its_example_runs(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder)
    found: dict = {}
    exec(re.search(r"```python\n(.*?)```", (run_folder / "README.md").read_text(), re.DOTALL)[1], found)
    assert np.isfinite(found["outputs"][0]).all() and found["outputs"][0].shape == (1, 10)


def test_other_networks(run_folder):
    report = json.loads((run_folder / "report.json").read_text())
    report["accuracy"]["teacher"] = None
    card = model_card({**report, "arch": "hf-hub:timm/resnet18", "warnings": []})
    assert front_matter(card)["base_model"] == "timm/resnet18" and "Nobody measured the accuracy" in card
    card = model_card({**report, "arch": "/data/me/net.py:make", "student": "dfq/resnet20"})
    assert "/data/me" not in card and "distillation" in front_matter(card)["tags"] and "dfq distill" in card


def test_a_readme_of_somebody_else_stays(run_folder, tmp_path):
    report, run = json.loads((run_folder / "report.json").read_text()), RunFolder(tmp_path)
    run.card.write_text("mine")
    assert not write_model_card(report, run) and run.card.read_text() == "mine"
    run.prepare({}, resume=False, overwrite=True)
    assert run.card.read_text() == "mine"
    run.card.unlink()
    assert write_model_card(report, run) and run.card_is_ours
    run.prepare({}, resume=False, overwrite=True)
    assert not run.card.exists()
