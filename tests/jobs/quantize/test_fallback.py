"""`auto` never ends below what `instant` has: the better of two students is taken, and the report says which."""

from dataclasses import replace
from math import nan

import pytest
import torch
from support.small_nets import plain, small_teacher

from dfq.calibration import METHODS
from dfq.evaluation.held_out_evidence import Evidence
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.fallback import is_better
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import Reconstruct
from dfq.results.load_run import load_run
from dfq.system.progress import Silent

SETTINGS = Settings(bits=4, images=96, steps=2)
GOOD = Reconstruct(FitSettings(iterations=300, batch_size=8))


@torch.no_grad()
def spoil(bench) -> dict:
    """Destroys the first layer's weights."""
    next(bench.student.parameters()).zero_()
    return {}


@torch.no_grad()
def not_a_number(bench) -> dict:
    next(bench.student.parameters()).fill_(nan)
    return {}


class Notes(Silent):
    def __init__(self):
        self.said: list[str] = []

    def note(self, message):
        self.said.append(message)


@pytest.fixture
def ends_with(monkeypatch):
    """Lets `reconstruct` do these steps."""

    def use(*steps):
        row = replace(METHODS["reconstruct"], post_training=steps)
        monkeypatch.setitem(METHODS, "reconstruct", row)

    return use


@pytest.mark.parametrize("step", [spoil, not_a_number])
def test_a_spoiled_student_is_replaced_and_the_report_says_so(step, ends_with, tmp_path):
    ends_with(GOOD, step)
    teacher, notes = small_teacher(), Notes()
    result = quantize_model(teacher, tmp_path / "run", replace(SETTINGS, steps=1), options=RunOptions(progress=notes))
    report = result.report
    assert report["fallback"]["chosen"] == report["settings"]["method"] == "instant"
    assert any("instant's student after all" in warning for warning in report["warnings"])
    assert any("instant's student after all" in note for note in notes.said)
    assert report["choice"].startswith("auto chose reconstruct") and "instant's" in report["choice"]
    assert "reconstruction" not in report and report["fallback"]["undone"]["reconstruction"]["blocks"]
    assert report["training"] is None and result.history is None
    assert report["evidence"]["divergence"] == report["fallback"]["instant"]["divergence"]
    assert report["agreement"]["onnx_student"]["synthetic"] == 1.0
    again = load_run(tmp_path / "run", model=teacher.model)
    images = torch.randn(4, 3, 16, 16)
    assert torch.equal(again(images), result.student(images))


def test_a_good_student_stays(ends_with, tmp_path):
    ends_with(GOOD)
    report = quantize_model(small_teacher(), tmp_path / "run", replace(SETTINGS, seed=1)).report
    assert report["fallback"]["chosen"] == report["settings"]["method"] == "reconstruct"
    assert report["fallback"]["instant"]["mixed_divergence"] > report["fallback"]["reconstruct"]["mixed_divergence"]
    assert report["evidence"]["divergence"] == report["fallback"]["reconstruct"]["divergence"]
    assert not any("after all" in warning for warning in report["warnings"])
    assert report["reconstruction"]["blocks"] and "ended better" not in report["choice"]


def test_what_a_person_chose_stays(ends_with, tmp_path):
    ends_with(spoil)
    report = quantize_model(small_teacher(), tmp_path / "run", replace(SETTINGS, method="reconstruct")).report
    assert report["settings"]["method"] == "reconstruct" and "fallback" not in report


def test_the_fallback_has_the_same_widths(ends_with, tmp_path):
    ends_with(spoil)
    settings = Settings(bits="mixed", average_bits=5.0, images=48, steps=1)
    result = quantize_model(small_teacher(), tmp_path / "run", settings)
    assert result.report["settings"]["method"] == "instant"
    chosen = result.report["settings"]["scheme"]["weight_overrides"]
    found = {row["name"]: row["weight_bits"] for row in result.report["layers"]}
    assert len(set(chosen.values())) > 1 and all(found[name] == bits for name, bits in chosen.items())


def test_a_network_without_batch_norm_has_a_fallback_too(ends_with, tmp_path):
    ends_with(spoil)
    report = quantize_model(small_teacher(plain()), tmp_path / "run", SETTINGS).report
    assert report["fallback"]["chosen"] == "instant"


class Killed(Exception):
    pass


def test_a_killed_run_ends_with_the_same_student(ends_with, tmp_path):
    def kill(bench):
        raise Killed

    teacher = small_teacher()
    ends_with(GOOD, kill)
    with pytest.raises(Killed):
        quantize_model(teacher, tmp_path / "killed", SETTINGS)
    ends_with(GOOD, spoil)
    resumed = quantize_model(teacher, tmp_path / "killed", SETTINGS, options=RunOptions(resume=True))
    whole = quantize_model(teacher, tmp_path / "whole", SETTINGS)
    assert resumed.report["fallback"]["chosen"] == "instant"
    assert resumed.report["fallback"]["instant"] == pytest.approx(whole.report["fallback"]["instant"], rel=0.01)
    for name, tensor in whole.student.state_dict().items():
        torch.testing.assert_close(resumed.student.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


MIDDLING = Evidence(divergence=1.0, mixed_agreement=0.8, mixed_divergence=1.0, far_agreement=0.5)


@pytest.mark.parametrize(
    ("other", "better"),
    [
        (MIDDLING, False),
        (replace(MIDDLING, divergence=0.5), False),
        (replace(MIDDLING, divergence=2.0, mixed_divergence=0.9, far_agreement=0.6), True),
        (replace(MIDDLING, divergence=0.5, mixed_divergence=0.9), True),
        (replace(MIDDLING, divergence=nan, far_agreement=0.9), False),
    ],
)
def test_two_of_three_decide(other, better):
    assert is_better(other, MIDDLING) == better


def test_what_is_no_number_is_worst():
    broken = Evidence(divergence=nan, mixed_agreement=0.0, mixed_divergence=nan, far_agreement=0.0)
    assert is_better(MIDDLING, broken) and not is_better(broken, MIDDLING)
