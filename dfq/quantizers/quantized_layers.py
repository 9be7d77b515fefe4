"""Convolution and linear layers with a fake-quantized weight; `QUANTIZED_LAYERS` has one row per layer type."""

from torch import Tensor, nn

from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.scheme import QuantSpec


class QuantConv2d(nn.Conv2d):
    """An `nn.Conv2d` whose weight (out, in / groups, h, w) passes through `weight_quantizer` (axis 0) before use.

    Attributes:
        weight_quantizer: Quantizer of the weight.
        float_reason: Why the layer computes in floating point although its weight has a grid; None: it does not.
    """

    weight_quantizer: FakeQuantize
    float_reason: str | None

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight_quantizer(self.weight), self.bias)


class QuantLinear(nn.Linear):
    """An `nn.Linear` whose weight (out, in) passes through `weight_quantizer` (axis 0) before use.

    Attributes:
        weight_quantizer: Quantizer of the weight.
        float_reason: Why the layer computes in floating point although its weight has a grid; None: it does not.
    """

    weight_quantizer: FakeQuantize
    float_reason: str | None

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight_quantizer(self.weight), self.bias)


QUANTIZED_LAYERS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: QuantConv2d, nn.Linear: QuantLinear}
MATRIX_LAYERS = tuple(QUANTIZED_LAYERS)


def quantize_layer(layer: nn.Module, spec: QuantSpec, float_reason: str | None = None) -> nn.Module:
    """Turns a (copied) `nn.Conv2d` or `nn.Linear` into its quantized kind in place and returns it.

    Parameters and names stay the same.
    """
    layer.__class__ = QUANTIZED_LAYERS[type(layer)]
    layer.float_reason = float_reason
    layer.weight_quantizer = FakeQuantize(spec, channels=layer.weight.shape[0])
    return layer
