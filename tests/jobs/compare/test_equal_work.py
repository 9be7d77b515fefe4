"""`dfq compare`: methods that train get equal images and steps, or equal time, and the tables say what each did."""

import json
from dataclasses import replace

import pytest
from support.compare_cases import fabricated, plan
from support.small_nets import SPEC, small_teacher

from dfq.calibration import METHODS
from dfq.cli.compare import _show
from dfq.cli.console import stdout
from dfq.images.input_spec import InputSpec
from dfq.jobs.compare import ComparisonFolder, compare_methods
from dfq.jobs.compare.documents import latex, markdown
from dfq.jobs.compare.equal_work import EQUAL_WORK_SETTINGS, unequal_time, with_equal_work, work_of
from dfq.jobs.compare.live_page import write_live_page
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.settings import Settings

OPEN = EQUAL_WORK_SETTINGS.open_steps
LARGE = InputSpec(size=(3, 224, 224), mean=SPEC.mean, std=SPEC.std)
LEARNS = [name for name, method in METHODS.items() if method.objective is not None]
DISTILLS = [name for name, method in METHODS.items() if method.objective or method.distillation]


class TestDefaults:
    @pytest.mark.parametrize("spec", [SPEC, LARGE])
    @pytest.mark.parametrize("bits", [4, 8])
    def test_all_methods_that_train_have_equal_images_and_steps(self, spec, bits):
        found = [with_equal_work(Settings(bits=bits, method=name), spec) for name in LEARNS]
        assert len({settings.image_count(spec) for settings in found}) == 1
        steps = {settings.training(spec).steps for settings in found}
        assert steps - {0} == {Settings(bits=bits, method="zeroq-kd").training(spec).steps}
        assert (0 in steps) == (spec is LARGE)  # reconstruct learns large images block by block alone

    @pytest.mark.parametrize("spec", [SPEC, LARGE])
    def test_all_distillations_have_equal_images_and_steps(self, spec):
        found = [with_equal_work(DistillSettings(method=name), spec) for name in DISTILLS]
        assert len({(each.image_settings(spec).image_count(spec), each.training(spec).steps) for each in found}) == 1

    @pytest.mark.parametrize("spec", [SPEC, LARGE])
    def test_within_a_budget_the_clock_ends_training(self, spec):
        for name in ("zeroq-kd", "gdfq", "rgal"):
            assert with_equal_work(Settings(bits=4, method=name, budget=60.0), spec).steps == OPEN
            assert with_equal_work(DistillSettings(method=name, budget=60.0), spec).steps == OPEN
        for name in ("reconstruct", "auto"):
            expected = OPEN if spec is SPEC else None
            assert with_equal_work(Settings(bits=4, method=name, budget=60.0), spec).steps == expected

    def test_what_the_user_gave_and_methods_that_train_nothing_stay(self):
        for settings in (
            Settings(bits=4, method="zeroq-kd", budget=60.0, steps=7),
            Settings(bits=4, method="zeroq-kd", images=40),
            Settings(bits=4, method="instant", budget=60.0),
            Settings(bits=8, method="auto", budget=60.0),
            Settings(bits=4, method="auto", budget=20.0),
            Settings(bits=8, method="zeroq"),
        ):
            assert with_equal_work(settings, LARGE) == settings


def report(steps=None, asked=None, blocks=(), limit=60.0, **more) -> dict:
    reconstruction = {"blocks": [{"iterations": count} for count in blocks]} if blocks else None
    return {
        "training": None if steps is None else {"steps": steps},
        "settings": {"images": 64, "steps": asked},
        "budget": None if limit is None else {"limit": limit, "reserved": 5.0},
        "reconstruction": reconstruction,
        **more,
    }


class TestWork:
    @pytest.mark.parametrize(
        "made, counts, uses_budget",
        [
            (report(), (0, 0), False),
            (report(steps=30, asked=OPEN), (30, 0), True),
            (report(steps=0, asked=OPEN), (0, 0), True),
            (report(steps=30, asked=30), (30, 0), False),
            (report(steps=30, asked=OPEN, limit=None), (30, 0), False),
            (report(blocks=(40, 60)), (0, 100), True),
            (report(fallback={"undone": {"training": {"steps": 9}, "reconstruction": None}}, asked=20), (9, 0), True),
            (report(fallback={"chosen": "reconstruct"}, steps=9, asked=9, blocks=(5,)), (9, 5), False),
        ],
    )
    def test_it_is_counted_from_the_report(self, made, counts, uses_budget):
        found = work_of(made)
        assert found == dict(
            zip(("images", "steps", "block_steps", "uses_budget"), (64, *counts, uses_budget), strict=True)
        )

    def test_times_that_are_too_far_apart_are_said(self):
        rows = [{"seconds": took, "uses_budget": True} for took in (38.0, 51.0, 67.0)]
        said = unequal_time([*rows, {"seconds": 2.0, "uses_budget": False}], ["a", "b", "c", "d"])
        assert said is not None and "c took 67.0 s and a 38.0 s" in said and "d" not in said.split(":")[1].split()
        assert unequal_time([{**row, "seconds": 60.0 + index * 4} for index, row in enumerate(rows)], ["a"] * 3) is None
        assert unequal_time([{"seconds": None, "uses_budget": False}], ["a"]) is None

    def test_it_stands_first_everywhere(self, tmp_path):
        content = fabricated(data=True) | {"unequal": "Unequal time: so it is."}
        assert markdown(content).startswith("Unequal time: so it is.\n")
        assert r"\caption{Unequal time" in latex(content)
        write_live_page(content, tmp_path / "page.html", chart="compare.svg", running=None)
        assert '<p class="state">Unequal time: so it is.</p>' in (tmp_path / "page.html").read_text()
        with stdout.capture() as captured:
            _show(content, ComparisonFolder(tmp_path), "net.pt")
        assert captured.get().strip().startswith("Unequal time: so it is.")

    def test_the_tables_say_images_steps_and_seconds(self, tmp_path):
        content = fabricated(data=False)
        for row in content["summary"]:
            row |= {"images": {"mean": 1024, "std": 0}, "steps": {"mean": 412.5, "std": 1}}
            row |= {"block_steps": {"mean": 0.0, "std": 0}}  # No method fits blocks.
        text = markdown(content)
        assert "What each run did, as means over the seeds.\n" in text
        assert "| method | width | images | training steps | seconds |" in text
        assert "| zeroq | W8A8 | 1,024 | 412 | 80 |" in text
        write_live_page(content, tmp_path / "page.html", chart="compare.svg", running=None)
        assert "<td>1,024</td>" in (tmp_path / "page.html").read_text()
        with stdout.capture() as captured:
            _show(content, ComparisonFolder(tmp_path), "net.pt")
        assert "training steps" in captured.get() and max(map(len, captured.get().splitlines())) <= 80


def test_a_run_within_a_budget_trains_until_it_is_over(tmp_path):
    made = plan(methods=("zeroq", "zeroq-kd"), settings=Settings(images=16, budget=8.0))
    untrained, trained = compare_methods(small_teacher(), tmp_path, made).content["cells"]
    assert trained["uses_budget"] and not untrained["uses_budget"] and untrained["steps"] == 0
    for cell in (untrained, trained):
        found = json.loads((tmp_path / cell["folder"] / "report.json").read_text())
        assert cell["images"] == found["settings"]["images"] == 16 and found["budget"]["limit"] == 8.0
    assert replace(made.cells[1].settings, steps=OPEN).to_dict() | {"images": 16} == {
        **json.loads((tmp_path / trained["folder"] / "config.json").read_text())["settings"]
    }
