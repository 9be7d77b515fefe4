"""Bars keep their shape on a terminal of 80 columns, and know when a budget ends a stage."""

import io
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.small_nets import small_teacher

import dfq
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.settings import ProgressSettings
from dfq.system.stage import Stage
from dfq.system.terminal_progress import TerminalProgress, remaining, share_done

ROOT = Path(dfq.__file__).parents[1]
DESCRIPTION = re.compile(r"\.task\(\"([^\"]+)\"")


def shown(progress: TerminalProgress) -> list[str]:
    return ["".join(part.text for part in line) for line in progress.console.render_lines(progress._bars)]


@pytest.fixture
def progress():
    return TerminalProgress(Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None))


def test_bars_are_whole_at_80_columns(progress):
    with progress.task("Comparing", 2) as whole, progress.task("Reconstructing blocks", 4) as stage:
        whole.name("reconstruct-with-a-long-name W4A4 seed 0")
        stage.advance(4, kd=0.31, held_out=0.0021)
        first, second = shown(progress)
    assert "Comparing " in first and " 0 %" in first and "left reconstruct-with" in first and len(first) == 80
    assert "Reconstructing blocks  ━━━━━━━━━━ 100 %" in second and "kd 0.31, held out 0.00" in second


@pytest.mark.parametrize("room", ["dfq", "calibration", "export"])
def test_every_description_fits(room):
    found = [text for file in (ROOT / room).rglob("*.py") for text in DESCRIPTION.findall(file.read_text())]
    assert found and all(len(text) <= ProgressSettings().description_width for text in found)


def test_the_remaining_time_knows_the_budget(progress):
    with Stage(budget=Budget(30.0), progress=progress).task("Training the student", 10**6) as task:
        (bar,) = progress._bars.tasks
        assert 29 < remaining(bar) <= 30, "nothing has been done yet"
        for _ in range(3):
            task.advance()
        assert remaining(bar) <= 30
    with progress.task("Exporting ONNX", 2):
        assert remaining(progress._bars.tasks[0]) is None


@pytest.mark.parametrize(
    "done, elapsed, seconds, share",
    [(50, 1.0, None, 0.5), (50, 1.0, 10.0, 0.5), (5, 8.0, 10.0, 0.8), (5, 99.0, 10.0, 0.99), (100, 1.0, 10.0, 1.0)],
)
def test_a_stage_that_only_its_limit_ends_is_not_said_to_stand_still(done, elapsed, seconds, share):
    assert share_done(done, 100, elapsed, seconds) == share


def test_lines_and_bars_go_by_the_limit(progress, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dfq.system.terminal_progress.time.monotonic", lambda: now[0])
    lines = TerminalProgress(Console(file=io.StringIO()))
    with lines.task("Training the student", 10**6, 60.0) as plain, progress.task("The same", 10**6, 60.0) as bar:
        now[0] = 30.0
        plain.advance()
        bar.advance()
        assert " 50 %" in shown(progress)[0]
    assert "Training the student: 50% after 0:30" in lines.console.file.getvalue()


def test_calibration_advances_with_every_tensor():
    steps = []

    class Counting:
        def task(self, description, total, seconds=None):
            from contextlib import nullcontext

            steps.append(total)
            return nullcontext(self)

        def advance(self, count=1, **figures):
            steps.append(-count)

    teacher = small_teacher()
    calibrate(make_student(teacher, make_scheme()), torch.randn(4, *teacher.input_spec.size), progress=Counting())
    assert steps[0] > 3 and sum(steps) == 0 and set(steps[1:]) == {-1}
