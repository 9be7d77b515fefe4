"""Convolution and linear layers with a fake-quantized weight: one row per layer type in `QUANTIZED_LAYERS`."""

from torch import Tensor, nn

from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.scheme import QuantSpec


class QuantConv2d(nn.Conv2d):
    """`nn.Conv2d` whose weight (out, in / groups, h, w) passes `weight_quantizer` (axis 0) before use."""

    weight_quantizer: FakeQuantize
    float_reason: str | None  # why it computes in floating point, though its weight has a grid; None: it does not

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight_quantizer(self.weight), self.bias)


class QuantLinear(nn.Linear):
    """`nn.Linear` whose weight (out, in) passes `weight_quantizer` (axis 0) before use."""

    weight_quantizer: FakeQuantize
    float_reason: str | None

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight_quantizer(self.weight), self.bias)


QUANTIZED_LAYERS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: QuantConv2d, nn.Linear: QuantLinear}
MATRIX_LAYERS = tuple(QUANTIZED_LAYERS)


def quantize_layer(layer: nn.Module, spec: QuantSpec, float_reason: str | None = None) -> nn.Module:
    """Turns a (copied) `nn.Conv2d` or `nn.Linear` into its quantized kind, in place: same parameters, same names."""
    layer.__class__ = QUANTIZED_LAYERS[type(layer)]
    layer.float_reason = float_reason
    layer.weight_quantizer = FakeQuantize(spec, channels=layer.weight.shape[0])
    return layer
