"""Which method `auto` takes, and that a person hears why."""

import pytest
from small_nets import plain, small_teacher

from dfq.auto import resolve
from dfq.calibration import METHODS
from dfq.pipeline import quantize_model
from dfq.progress import Silent
from dfq.settings import Settings


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
    resolved, said = resolve(small_teacher(), Settings(**settings))
    assert resolved.method == method in METHODS and reason in said
    assert resolved == Settings(**settings, method=method), "nothing else changes"


def test_without_batch_norm_ranges_are_learned():
    resolved, said = resolve(small_teacher(plain()), Settings(bits=8))
    assert resolved.method == "reconstruct" and "BatchNorm" in said


def test_a_chosen_method_stays():
    settings = Settings(bits=8, method="zeroq")
    assert resolve(small_teacher(), settings) == (settings, None)


def test_the_choice_is_said_and_reported(tmp_path):
    class Notes(Silent):
        def __init__(self):
            self.said: list[str] = []

        def note(self, message):
            self.said.append(message)

    notes = Notes()
    report = quantize_model(small_teacher(), tmp_path / "run", Settings(bits=8), progress=notes).report
    assert report["choice"] in notes.said and report["settings"]["method"] == "instant"
    chosen = quantize_model(small_teacher(), tmp_path / "other", Settings(bits=8, method="instant")).report
    assert chosen["choice"] is None
