"""Signal-to-noise ratios in dB are what the definition says, and choices are compared where something is chosen."""

import numpy as np
import pytest

from dfq.evaluation.signal_to_noise import MOST_DB
from dfq.export.validation.output_agreement import compare_outputs, same_choice, snr_db
from dfq.results.number_format import decibels
from dfq.results.output_rows import output_warnings

SIZE = (3, 8, 8)
RANDOM = np.random.default_rng(0)


def values(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 10), (4, 5, 8, 8), (4, 7, 6)])
@pytest.mark.parametrize("factor", [0.1, 0.01])
def test_a_ratio_of_amplitudes_is_20_db_for_each_factor_of_10(shape, factor):
    expected = values(*shape)
    assert snr_db(expected * (1 + factor), expected) == pytest.approx(-20 * np.log10(factor), abs=1e-3)


def test_a_constant_part_counts_only_in_the_plain_ratio():
    expected = values(64, 4) + 1000
    found = expected + 0.1 * values(64, 4)
    assert snr_db(found, expected) == pytest.approx(80, abs=1)
    assert snr_db(found, expected, varying=True) == pytest.approx(20, abs=1)


@pytest.mark.parametrize(("shape", "axis"), [((256, 4), 1), ((8, 4, 6, 6), 1), ((32, 6, 4), 2)])
def test_what_varies_is_told_for_each_channel(shape, axis):
    """A mean of a channel's own is no signal, whichever axis the channels are on."""
    offsets = np.array([0.0, 10.0, -20.0, 30.0]).reshape([4 if each == axis else 1 for each in range(len(shape))])
    expected = values(*shape) + offsets
    assert snr_db(expected + 0.1 * values(*shape), expected, varying=True) == pytest.approx(20, abs=2)


def test_what_has_one_value_per_channel_does_not_vary():
    assert snr_db(values(1, 4), values(1, 4), varying=True) is None and snr_db(values(1, 4), values(1, 4)) is not None
    expected = values(64)
    assert snr_db(expected * 1.1, expected, varying=True) == pytest.approx(20, abs=1), "an output (N,) is one channel"


def test_limits():
    expected = values(4, 10)
    assert snr_db(expected, expected) == MOST_DB and decibels(MOST_DB) == "equal"
    assert snr_db(expected * np.nan, expected) == snr_db(expected, expected * 0) == -MOST_DB
    assert snr_db(expected.argmax(1), expected.argmax(1)) is None and decibels(None) == "–"


def test_choices():
    expected, other = values(2, 5, 8, 8), values(2, 5, 8, 8)
    assert same_choice(expected * 2, expected, SIZE) == 1.0 and same_choice(other, expected, SIZE) < 0.5
    assert same_choice(expected[:, :, :4], expected[:, :, :4], SIZE) is None, "no map of the images' size"
    assert same_choice(expected[:, :3], expected[:, :3], SIZE) is None, "an image, as of super-resolution"
    assert same_choice(-expected[:, :1], expected[:, :1], SIZE) == 0.0, "one channel is compared by its sign"
    assert same_choice(expected[:, :1], np.abs(expected[:, :1]), SIZE) is None, "a depth has no sign"
    assert same_choice(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), SIZE) == 0.75


def test_rows_are_by_pair_and_kind():
    expected = values(4, 10)
    networks = {"onnx": [expected * 1.1], "student": [expected * 1.1], "teacher": [expected]}
    (row,) = compare_outputs(["out"], {"synthetic": networks, "pictures": {}}, SIZE)
    assert row.shape == [10] and row.snr_db["onnx_student"] == {"synthetic": MOST_DB, "pictures": None}
    assert row.snr_db["onnx_teacher"]["synthetic"] == pytest.approx(20, abs=0.01)
    assert set(row.snr_db["student_float64"].values()) == {None}


def test_warnings():
    good = {pair: {"synthetic": 40.0} for pair in ("onnx_student", "onnx_teacher", "student_float64")}
    row = {"name": "out", "snr_db": good, "varying_snr_db": good}
    assert output_warnings([row], 30.0) == []
    (said,) = output_warnings([{**row, "snr_db": {**good, "onnx_student": {"synthetic": 12.0}}}], 30.0)
    assert "only 12.0 dB to the student's (expected ≥ 30 dB)" in said and "to itself is 40.0 dB" in said
    (said,) = output_warnings([{**row, "varying_snr_db": {**good, "onnx_teacher": {"synthetic": 20.0}}}], 30.0)
    assert "mostly constant: its signal-to-noise ratio is 40.0 dB, but only 20.0 dB" in said
