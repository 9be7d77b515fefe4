"""How images are matched to BatchNorm statistics: slack, batches together, swinging convolutions."""

import pytest
import torch
from support.small_nets import SPEC, small_teacher
from torch import nn

from dfq.calibration.inversion.batch_norm_matching import AccumulatedMoments, Matching, swing_convolutions
from dfq.calibration.inversion.low_pass import low_pass
from dfq.teacher import Teacher


def seen(teacher: Teacher, images: torch.Tensor):
    """The statistics after one forward pass."""
    with teacher.bn_statistics() as statistics:
        teacher(images)
        yield statistics


def images(count: int, offset: float = 0.0) -> torch.Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(0)) + offset


def test_slack_forgives_small_deviations_only():
    teacher, matching = small_teacher(), Matching()
    for statistics in seen(teacher, images(16)):
        whole = matching.deviation(statistics, AccumulatedMoments(), 16).item()
        assert whole == pytest.approx(statistics.loss().item())
        some = Matching(slack=0.1).deviation(statistics, AccumulatedMoments(), 16).item()
        assert 0 < some < whole
        assert Matching(slack=100.0).deviation(statistics, AccumulatedMoments(), 16).item() == 0
        assert Matching(weight=3.0).deviation(statistics, AccumulatedMoments(), 16).item() == pytest.approx(3 * whole)


def test_batches_together_count_as_one():
    teacher, accumulated, matching = small_teacher(), AccumulatedMoments(), Matching(aggregated=True)
    first, second = images(12, 0.5), images(20, -0.5)
    for statistics in seen(teacher, first):
        alone = matching.deviation(statistics, accumulated, 12).item()
        assert alone == pytest.approx(statistics.loss().item()), "nothing came before"
        accumulated.add(statistics.moments, 12)
    for statistics in seen(teacher, torch.cat([first, second])):
        together = statistics.loss().item()
    for statistics in seen(teacher, second):
        assert matching.deviation(statistics, accumulated, 20).item() == pytest.approx(together, rel=1e-3)
        assert accumulated.count == 12
        accumulated.add(statistics.moments, 20)
        assert accumulated.count == 32 and not accumulated.moments[0][0].requires_grad


def test_strided_convolutions_swing_and_others_do_not():
    torch.manual_seed(0)
    strided, plain = nn.Conv2d(3, 2, 3, stride=2, padding=1), nn.Conv2d(3, 2, 3, padding=1)
    x, generator = images(2), torch.Generator().manual_seed(0)
    expected = {
        (r, c): strided(torch.roll(x, (-r, -c), (2, 3)))[:, :, 2:-2, 2:-2] for r in (-1, 0, 1) for c in (-1, 0, 1)
    }
    with swing_convolutions(nn.ModuleList([strided, plain]), generator):
        outputs = [strided(x) for _ in range(40)]
        assert torch.equal(plain(x), nn.functional.conv2d(x, plain.weight, plain.bias, padding=1))
    assert all(output.shape == strided(x).shape for output in outputs)
    found = {
        shift
        for output in outputs
        for shift, wanted in expected.items()
        if torch.allclose(output[:, :, 2:-2, 2:-2], wanted, atol=1e-5)
    }
    assert found == set(expected), "every shift by up to a pixel occurs, and nothing else"
    still = strided(x)
    assert all(torch.equal(strided(x), still) for _ in range(10)), "the hooks are gone"
    with swing_convolutions(strided, generator, on=False):
        assert all(torch.equal(strided(x), still) for _ in range(10))


def test_the_low_pass_filter_takes_fine_detail_by_its_formula():
    flat = torch.full((2, 3, 16, 16), 0.3)
    torch.testing.assert_close(low_pass(flat, 0.2), flat)
    place = torch.arange(32) + 0.5  # of the pixels' centres: cosines that a mirrored border continues
    for periods in (1, 4, 12):
        wave = torch.cos(torch.pi * 2 * periods * place / 32).expand(1, 1, 32, 32)
        gain = torch.exp(torch.tensor(-0.5 * (2 * periods / 32 / 0.25) ** 2))
        torch.testing.assert_close(low_pass(wave, 0.25), wave * gain, atol=1e-5, rtol=1e-4)
