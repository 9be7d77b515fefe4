"""A normalisation that no network has is refused before any work."""

from math import inf, nan

import pytest

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec


@pytest.mark.parametrize("std", [nan, inf, -inf, 0.0, -1.0, 1e-9])
def test_impossible_standard_deviations(std):
    with pytest.raises(DfqError, match="standard deviation"):
        InputSpec(size=(1, 8, 8), mean=(0.5,), std=(std,))


@pytest.mark.parametrize("mean", [nan, inf, -inf, 1e30])
def test_impossible_means(mean):
    with pytest.raises(DfqError, match="mean"):
        InputSpec(size=(1, 8, 8), mean=(mean,), std=(0.5,))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (127.5, 127.5), (0.0, 1 / 255), (-1.0, 0.5)])
def test_normalisations_of_other_scales_are_fine(mean, std):
    InputSpec(size=(1, 8, 8), mean=(mean,), std=(std,))
