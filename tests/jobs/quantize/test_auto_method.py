"""Which method `auto` takes, and that a person hears why."""

from dataclasses import replace

import pytest
from support.small_nets import SPEC, small_teacher

from dfq.calibration import METHODS
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.auto_method import reconsider, resolve
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.system.progress import Silent
from dfq.teacher import Teacher


@pytest.mark.parametrize(
    ("settings", "method", "reason"),
    [
        ({"bits": 8}, "instant", "8 bits lose next to nothing"),
        ({"bits": 4}, "reconstruct", "4 bits need learned"),
        ({"bits": 8, "activation_bits": 3}, "reconstruct", "3 bits need"),
        ({"bits": 8, "layer_bits": {"stem": 2}}, "reconstruct", "2 bits need"),
        ({"bits": "mixed", "average_bits": 6.0}, "reconstruct", "mixed bits need"),
        ({"bits": 4, "budget": 20.0}, "instant", "20 s are too short"),
        ({"bits": 4, "steps": 0}, "instant", "no training steps"),
    ],
)
def test_rules(settings, method, reason):
    resolved, said = resolve(Settings(**settings))
    assert resolved.method == method in METHODS and reason in said
    assert resolved == Settings(**settings, method=method), "nothing else changes"


def large_teacher():
    spec = replace(SPEC, size=(3, 72, 72))
    return Teacher(small_teacher().model, spec)


@pytest.mark.parametrize(
    ("settings", "images", "method"),
    [
        ({"bits": 6}, QUANTIZE_DEFAULTS.few_large - 1, "instant"),
        ({"bits": 6}, QUANTIZE_DEFAULTS.few_large, "reconstruct"),
        ({"bits": 4}, QUANTIZE_DEFAULTS.few_large - 1, "reconstruct"),
        ({"bits": "mixed", "average_bits": 6.0}, 16, "reconstruct"),
        ({"bits": 6, "method": "reconstruct"}, 16, "reconstruct"),
    ],
)
def test_few_large_images_are_not_learned_from_where_bits_are_many(settings, images, method):
    teacher = large_teacher()
    resolved, reason = resolve(Settings(**settings))
    chosen, said = reconsider(teacher, resolved, reason, images)
    assert chosen == replace(resolved, method=method)
    if method == "reconstruct":
        assert said == reason
    else:
        assert f"{images} large" in said


def test_few_small_images_are_learned_from():
    resolved, reason = resolve(Settings(bits=6))
    assert reconsider(small_teacher(), resolved, reason, 16) == (resolved, reason)


def test_the_second_choice_is_said_reported_and_kept_on_resuming(tmp_path):
    settings = Settings(bits=6, images=16)
    first = quantize_model(large_teacher(), tmp_path / "run", settings).report
    assert first["settings"]["method"] == "instant" and "16 large images are too few" in first["choice"]
    assert first["training"] is None
    again = quantize_model(large_teacher(), tmp_path / "run", settings, RunOptions(resume=True)).report
    assert again["choice"] == first["choice"] and again["agreement"] == first["agreement"]


def test_a_chosen_method_stays():
    settings = Settings(bits=8, method="zeroq")
    assert resolve(settings) == (settings, None)


def test_the_choice_is_said_and_reported(tmp_path):
    class Notes(Silent):
        def __init__(self):
            self.said: list[str] = []

        def note(self, message):
            self.said.append(message)

    notes = Notes()
    report = quantize_model(small_teacher(), tmp_path / "run", Settings(bits=8), RunOptions(progress=notes)).report
    assert report["choice"] in notes.said and report["settings"]["method"] == "instant"
    chosen = quantize_model(small_teacher(), tmp_path / "other", Settings(bits=8, method="instant")).report
    assert chosen["choice"] is None
