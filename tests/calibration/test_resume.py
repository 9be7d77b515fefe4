"""Whatever makes the images, a killed run ends with the same student as one that was not killed, bit for bit."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import small_teacher
from support.synthesis_cases import quick

from dfq.calibration import METHODS
from dfq.jobs.context import JobContext
from dfq.jobs.quantize.fit_student import tune
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import find_images
from dfq.results.run_folder import RunFolder
from dfq.student.convert import make_student
from dfq.training.image_sources import FixedImages

MOVING = [name for name, row in METHODS.items() if row.objective is not None and row.source is not FixedImages]
STEPS = 12


class Killed(Exception):
    pass


def run(name, path, killed_at=None):
    """Returns the student's tensors and the images; the objective raises at the given call."""
    row = METHODS[name]
    calls = []

    def objective(student, batch, teacher):
        calls.append(1)
        if len(calls) == killed_at:
            raise Killed
        return row.objective(student, batch, teacher)

    training = {**row.training, "save_every_seconds": 0.0, "evaluate_every": 4}
    method = replace(row, synthesizer=quick(name), training=training, objective=objective)
    settings = Settings(bits=3, scheme="paper-qat", images=40, steps=STEPS, method=method)
    context = JobContext(small_teacher(), settings, RunFolder(path))
    scheme = settings.make_scheme()
    images = find_images(context, None)
    tuned = tune(make_student(context.teacher, scheme), context, scheme, images)
    return tuned.student.state_dict(), tuned.source.images_at_the_end().images


@pytest.mark.parametrize("name", MOVING)
def test_a_killed_run_ends_with_the_same_student(name, tmp_path):
    whole, images = run(name, tmp_path / "whole")
    for killed_at in (2, 7, STEPS):  # before anything of the training was saved, and after the first and second save
        path = tmp_path / str(killed_at)
        with pytest.raises(Killed):
            run(name, path, killed_at)
        again, same_images = run(name, path)
        assert torch.equal(same_images, images), f"other images after a kill at step {killed_at}"
        assert all(torch.equal(again[key], value) for key, value in whole.items()), f"killed at step {killed_at}"
