"""bfloat16, and what is exempt from it."""

import pytest
import torch
from torch import nn

from dfq.system.compute_dtype import Float32Depthwise, exact_float32


def output_and_gradient(layer, images):
    images = images.clone().requires_grad_()
    output = layer(images)
    (gradient,) = torch.autograd.grad(output.float().square().sum(), images)
    return output.detach(), gradient


@pytest.mark.parametrize("bias", [True, False])
def test_strided_depthwise_convolutions_compute_in_float32(bias):
    layer, images = nn.Conv2d(8, 8, 3, stride=2, groups=8, bias=bias), torch.randn(2, 8, 9, 9)
    exact, exact_gradient = output_and_gradient(layer, images)
    with torch.autocast("cpu", dtype=torch.bfloat16), Float32Depthwise():
        output, gradient = output_and_gradient(layer, images)
    assert output.dtype == torch.bfloat16  # what follows goes on in bfloat16
    assert torch.equal(output, exact.bfloat16())  # rounded once, at the end
    torch.testing.assert_close(gradient, exact_gradient, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 3, stride=2), nn.Conv2d(1, 4, 3, stride=2)]
)
def test_other_convolutions_compute_in_bfloat16(layer):
    images = torch.randn(2, layer.in_channels, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = output_and_gradient(layer, images)
        with Float32Depthwise():
            found = output_and_gradient(layer, images)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_convolutions_keep_all_bits_within_and_what_was_set_before_behind():
    before = torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert torch.backends.cudnn.allow_tf32 == before
