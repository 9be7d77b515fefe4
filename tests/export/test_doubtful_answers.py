"""An agreement is shown only where it says something, and with its interval."""

import numpy as np
import pytest

from dfq.export.validation.doubtful_answers import why_doubtful
from dfq.export.validation.settings import ValidationSettings
from dfq.results.number_format import at_least, ends, interval, kept

SETTINGS = ValidationSettings()


def logits(count=200, classes=10, sureness=5.0):
    return sureness * np.eye(classes, dtype=np.float32)[np.arange(count) % classes]


def doubt(outputs, *, softmax=False, boundary=0.0):
    return why_doubtful(outputs, boundary, SETTINGS, softmax=softmax)


def test_different_sure_answers_are_fine():
    assert doubt(logits()) is None
    chances = np.exp(logits()) / np.exp(logits()).sum(1, keepdims=True)
    assert doubt(chances, softmax=True) is None


def test_few_images_are_too_few():
    assert doubt(logits(99)) == "99 synthetic images are too few (at least 100)"
    assert doubt(logits(100)) is None


def test_one_answer_to_nearly_all():
    same = logits(200)
    same[:190] = same[0]
    assert "one and the same answer to 96 % of the synthetic images" in doubt(same)
    alone = np.full((200, 1), 3.0, np.float32)
    assert "one and the same answer to 100 %" in doubt(alone)
    alone[::2] = -3.0
    assert doubt(alone) is None
    assert "100 %" in doubt(np.full((200, 1), 0.4, np.float32), boundary=0.5)


def test_a_teacher_that_is_unsure_of_its_own_images():
    said = doubt(logits(sureness=0.1))
    assert "entropy 2.30 of at most 2.30 nats" in said and "wrong weights or normalisation?" in said
    uniform = np.full((200, 10), 0.1, np.float32) + 1e-3 * logits(sureness=1.0)
    assert "unsure" in doubt(uniform, softmax=True)


@pytest.mark.parametrize(
    ("found", "count", "expected"),
    [(0.9, 10, (0.596, 0.982)), (1.0, 4, (0.510, 1.0)), (0.0, 100, (0.0, 0.037)), (0.5, 1000, (0.469, 0.531))],
)
def test_intervals_are_those_of_wilson(found, count, expected):
    assert interval(found, count) == pytest.approx(expected, abs=1e-3)


def test_shares_are_written_with_their_interval_where_the_number_is_known():
    assert ends(*interval(0.992, 1000)) == "98.4–99.6" and ends(0.5, 1.0) == "50–100"
    assert kept(0.015, (0.0, 0.04)) == "98.5 % (96–100)" and kept(0.015, None) == "98.5 %"
    assert at_least(0.992, 1000) == "99.20 % (≥ 98.4)" and at_least(1.0, 4) == "100.00 % (≥ 51.0)"
    assert at_least(0.992, None) == "99.20 %" and at_least(None, 10) == "–"
