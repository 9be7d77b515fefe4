"""Whatever makes the images, a killed run ends with the same student as one that was not killed, bit for bit."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from support.class_token_nets import attending
from support.kills import Watch, lives
from support.small_nets import small_teacher
from support.synthesis_cases import quick

from dfq.calibration import METHODS
from dfq.calibration.inversion.inversion import Inversion
from dfq.jobs.context import JobContext
from dfq.jobs.quantize.fit_student import tune
from dfq.jobs.quantize.settings import Settings
from dfq.jobs.quantize.synthesis import find_images
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import Reconstruct
from dfq.results.run_folder import RunFolder
from dfq.student.convert import make_student
from dfq.training.growing_images import GrowingImages

FEW = 6  # steps of each batch of images, block and training
KEPT = ("Synthesizing images", "Warming up generator", "Reconstructing blocks", "Training the student")


def short(name):
    """The row with little work: three batches of images, of which a growing pool makes one along with the student."""
    row = METHODS[name]
    maker = quick(name)
    if maker.func is Inversion:
        maker = partial(Inversion, replace(maker.args[0], iterations=FEW), batch_size=16)
    else:
        maker = partial(maker.func, replace(maker.args[0], warm_up=FEW), batch_size=16)
    steps = tuple(
        replace(step, settings=FitSettings(iterations=FEW), large=None) if isinstance(step, Reconstruct) else step
        for step in row.post_training
    )
    return replace(row, synthesizer=maker, post_training=steps, training={**row.training, "evaluate_every": 4})


def run(name, teacher, path, progress):
    """Returns the student's tensors and the images."""
    grows = issubclass(METHODS[name].source, GrowingImages)  # A pool is to grow once in a step at most.
    settings = Settings(bits=3, scheme="paper-qat", images=48, steps=5 * FEW if grows else FEW, method=short(name))
    context = JobContext(teacher, settings, RunFolder(path), progress=progress)
    scheme = settings.make_scheme()
    images = find_images(context, None)
    tuned = tune(make_student(teacher, scheme), context, scheme, images)
    return tuned.student.state_dict() | {"its images": tuned.source.images_at_the_end().images}


@pytest.mark.parametrize("name", METHODS)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_student(name, tmp_path, saves_always):
    teacher, watch = attending()[1] if METHODS[name].needs_attention else small_teacher(), Watch()
    whole = run(name, teacher, tmp_path / "whole", watch)
    dying = Watch(watch.middles_and_ends())
    again, kills = lives(lambda: run(name, teacher, tmp_path / "killed", dying))
    assert kills >= 2 and not dying.kills
    again_done = sum(dying.steps[task] - watch.steps[task] for task in KEPT)
    assert again_done <= kills, "more than the step of each kill was done again"
    assert all(torch.equal(again[key], value) for key, value in whole.items())
