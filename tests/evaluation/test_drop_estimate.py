"""The estimate of the drop that is drawn from evidence without real images."""

import pytest

from dfq.evaluation.drop_estimate import FITTED, Estimate, predict
from dfq.evaluation.held_out_evidence import Evidence


def agreeing(share: float) -> Evidence:
    return Evidence(divergence=0.0, mixed_agreement=1.0, mixed_divergence=0.0, far_agreement=share)


def test_an_estimate_stays_a_fraction():
    wild = Estimate(offset=5.0, power=1.0, error=0.0)
    assert wild.drop(agreeing(0.0)) == 1.0
    assert 0 <= Estimate(offset=0.0, power=2.0, error=0.0).drop(agreeing(1.0)) < 1e-5


def test_the_interval_holds_the_drop_and_grows_with_it():
    estimate = Estimate(offset=0.0, power=2.0, error=0.0, above=0.5, below=0.25)
    widths = []
    for share in (1.0, 0.9, 0.5):
        low, high = estimate.interval(agreeing(share))
        assert 0 <= low <= estimate.drop(agreeing(share)) < high <= 1
        widths.append(high - low)
    assert widths == sorted(widths)
    assert estimate.interval(agreeing(0.9)) == pytest.approx((0.01 - 0.25 * 0.03, 0.01 + 0.5 * 0.03))
    assert estimate.interval(agreeing(0.0))[1] == 1.0, "more than everything cannot be lost"


def test_nothing_is_predicted_from_images_unlike_the_training_data():
    evidence = agreeing(0.9)
    found = predict(evidence, (0.01, 0.05), 16)
    assert found.drop == FITTED.drop(evidence) > 0 and found.interval == FITTED.interval(evidence)
    assert found.withheld is None
    for deviation, held_out in (((0.01, 0.5), 16), (None, 16), ((0.01, 0.05), 15)):
        found = predict(evidence, deviation, held_out)
        assert found.drop is None and found.interval is None and found.withheld
