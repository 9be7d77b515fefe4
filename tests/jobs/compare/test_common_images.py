"""`dfq compare`: the images that all cells are measured on, and the default method beside the others."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.compare_cases import plan
from support.small_nets import small_teacher

from dfq.images.labelled import Labelled
from dfq.jobs.compare import compare_methods
from dfq.jobs.compare.common_images import common_held_out
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.settings import Settings
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import save_tensors


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
        content = compare_methods(small_teacher(), tmp_path, made, RunOptions(labelled=labelled)).content
        assert [cell["state"] for cell in content["cells"]] == ["finished"] * 3
        auto, *parts = content["cells"]
        assert auto["choice"].startswith("auto chose instant: ") and all(part["choice"] is None for part in parts)
        for cell in content["cells"]:
            report = json.loads((tmp_path / cell["folder"] / "report.json").read_text())
            assert cell["predicted_drop"] == report["evidence"]["predicted_drop"]
        assert f"- W4A4: {auto['choice']}" in (tmp_path / "compare.md").read_text()
        assert (tmp_path / "compare.png").stat().st_size > 1000
