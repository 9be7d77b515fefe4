"""Dead leaves: the same for a seed, of any size and number of channels, and with the spectrum of photographs."""

import pytest
import torch

from dfq.calibration.dead_leaves import dead_leaves


def made(count=4, size=(3, 64, 48), seed=0):
    return dead_leaves(count, size, torch.Generator().manual_seed(seed))


def test_a_seed_decides():
    assert torch.equal(made(), made()) and not torch.equal(made(), made(seed=1))
    assert not torch.equal(made()[0], made()[1]), "each image is another one"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_size_and_channels(channels):
    images = made(size=(channels, 20, 36))
    assert images.shape == (4, channels, 20, 36) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    colours = (images - images.mean(1, keepdim=True)).abs().max()
    assert (colours > 0.02) == (channels == 3)


def test_contrast_and_spectrum_are_those_of_photographs():
    images = made(16, (3, 128, 128)).mean(1)
    assert 0.1 < images.std((1, 2)).mean() < 0.35 and 0.3 < images.mean() < 0.65
    power = torch.fft.fft2(images - images.mean((1, 2), keepdim=True)).abs().square().mean(0)
    frequency = torch.fft.fftfreq(128)
    radius = torch.sqrt(frequency[:, None] ** 2 + frequency[None, :] ** 2)
    low, high = (power[(radius > a) & (radius < b)].mean() for a, b in ((0.02, 0.04), (0.16, 0.32)))
    slope = torch.log(low / high) / torch.log(torch.tensor(8.0))
    assert 1.3 < slope < 3.0, "the power of photographs falls with about the square of the frequency"
