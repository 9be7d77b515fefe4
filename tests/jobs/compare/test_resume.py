"""`dfq compare --resume`: a run that was killed within a cell goes on there, and ends bit for bit as without a kill."""

import json
from dataclasses import replace

import pytest
import torch
from support.compare_cases import plan
from support.kills import Killed, Watch, lives
from support.small_nets import small_teacher
from support.synthesis_cases import quick

from dfq.calibration import METHODS as ROWS
from dfq.jobs.compare import JOBS, ComparisonFolder, ComparisonPlan, compare_methods
from dfq.jobs.context import RunOptions
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.settings import Settings
from dfq.system.state_file import StateFile

METHODS = ("zeroq-kd",)
TRAINING = "Training the student"
STUDENT = """
from torch import nn

def narrow(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""
OF_A_LIFE = ("seconds", "warnings")


@pytest.fixture(autouse=True)
def little_work(monkeypatch):
    for name in METHODS:
        monkeypatch.setitem(ROWS, name, replace(ROWS[name], synthesizer=quick(name)))


@pytest.fixture(params=JOBS)
def made(request, tmp_path) -> ComparisonPlan:
    if request.param == "quantize":
        return plan(methods=METHODS, settings=Settings(images=16, steps=6, flip=False))
    (tmp_path / "nets.py").write_text(STUDENT)
    return ComparisonPlan(
        methods=METHODS,
        variants=(f"{tmp_path / 'nets.py'}:narrow",),
        seeds=1,
        job=JOBS["distill"],
        settings=DistillSettings(images=16, steps=6, flip=False),
    )


def students(made: ComparisonPlan, out) -> list[dict]:
    folder, teacher = ComparisonFolder(out), small_teacher()
    return [made.job.student(teacher, folder.run(cell), cell.variant).state_dict() for cell in made.cells]


def figures(content: dict) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in OF_A_LIFE} for row in content["cells"]]


@pytest.mark.slow
def test_it_ends_the_same_and_does_little_again(made, tmp_path, saves_always):
    watch = Watch()
    whole = compare_methods(small_teacher(), tmp_path / "whole", made, RunOptions(progress=watch)).content
    kills = {("Synthesizing images", 5), (TRAINING, 3)}
    dying = Watch(kills)
    options = RunOptions(progress=dying, resume=True)
    again, count = lives(lambda: compare_methods(small_teacher(), tmp_path / "killed", made, options).content)
    assert count == len(kills) and not dying.kills
    assert dying.steps[TRAINING] <= watch.steps[TRAINING] + 1, "more than the step of each kill was done again"
    assert figures(again) == figures(whole)
    for before, after in zip(students(made, tmp_path / "whole"), students(made, tmp_path / "killed"), strict=True):
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_without_it_a_killed_cell_starts_afresh(tmp_path, saves_always):
    made, watch = plan(methods=METHODS, settings=Settings(images=16, steps=6)), Watch({(TRAINING, 4)})
    with pytest.raises(Killed):
        compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=watch))
    compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=watch))
    assert watch.steps[TRAINING] == 4 + 6


def test_its_seconds_and_its_budget_are_those_of_all_its_lives(tmp_path, saves_always):
    made = plan(methods=METHODS, settings=Settings(images=16, budget=100.0))
    with pytest.raises(Killed):
        compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=Watch({(TRAINING, 2)})))
    clock = StateFile(ComparisonFolder(tmp_path).run(made.cells[0]).clock)
    before = clock.load(torch.device("cpu"))
    assert 0 < before["synthesis"] < before["total"] < 100
    clock.save(before | {"training": 1000.0, "total": 1000.0 + before["total"]})
    watch = Watch()
    (row,) = compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=watch, resume=True)).content["cells"]
    assert row["seconds"] > 1000 and row["uses_budget"] and watch.steps[TRAINING] == 0
    report = json.loads((tmp_path / row["folder"] / "report.json").read_text())
    assert report["seconds"]["training"] >= 1000 and not clock.path.exists()


def test_a_folder_from_which_nothing_can_go_on_fails_and_says_how_to_start_afresh(tmp_path, saves_always):
    class Notes(Watch):
        def note(self, message):
            notes.append(message)

    made, notes = plan(methods=METHODS, settings=Settings(images=16, steps=6)), []
    with pytest.raises(Killed):
        compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=Watch({(TRAINING, 4)})))
    ComparisonFolder(tmp_path).run(made.cells[0]).training.write_bytes(b"damaged")
    comparison = compare_methods(small_teacher(), tmp_path, made, RunOptions(progress=Notes(), resume=True))
    assert len(comparison.failed) == 1 and notes[-1].endswith("without --resume it starts afresh")
    assert not compare_methods(small_teacher(), tmp_path, made).failed
