"""The integers that store a layer's weight and bias.

Integer kernels start from the bias and add up x · w in int32, so that the bias is an int32 on the grid
scale_x · scale_w. They want weights with zero point 0. An asymmetric grid of b bits becomes symmetric when its zero
point is subtracted from the integers: they then lie in ±(2^b − 1), which int8 holds for up to 7 bits. Narrow integers
are multiplied by `QuantSpec.refinement` and their scale is divided by it, which gives the same weights and a finer
bias.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.quantized_layers import QuantConv2d, QuantLinear

QuantizedLayer = QuantConv2d | QuantLinear
LARGEST_BIAS = 2**30  # int32 ends at 2^31; the rest is room for the sum of products


@dataclass(frozen=True)
class IntegerWeights:
    """A layer's constants; real weight = scale · (integers − zero_point).

    Attributes:
        integers: Multiples of `refinement`, int8, of the weight's shape (out, …).
        scale: Scale of each output channel, float32 (out,).
        zero_point: Zero point of each output channel, int8 (out,).
        refinement: Factor of the integers, a power of two.
        stored_zero_point: Shift of the stored integers, int8 (out,): integers / refinement + stored_zero_point are the
            `bits`-wide integers of the grid.
        bits: Width of the grid.
        bias: The bias in steps of `bias_scale`, int32 (out,); None where the layer has none, or keeps it in floating
            point.
        bias_scale: Scale of the layer's input times `scale`, float32 (out,); None where `bias` is None.
        in_float: Whether the layer computes in floating point with these weights.
    """

    integers: Tensor
    scale: Tensor
    zero_point: Tensor
    refinement: int
    stored_zero_point: Tensor
    bits: int
    bias: Tensor | None
    bias_scale: Tensor | None
    in_float: bool = False


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def integer_weights(layer: QuantizedLayer, source: FakeQuantize | None) -> IntegerWeights:
    """Returns the constants of a quantized layer.

    Args:
        layer: The layer.
        source: The quantizer on whose grid the layer's input lies; None: the input is in floating point.
    """
    quantizer = layer.weight_quantizer
    scale, zero_point = quantizer.qparams()
    centred = quantizer.integers(layer.weight) - _column(zero_point, layer.weight).to(torch.int32)
    bias, bias_scale, refinement = None, None, 1
    if source is not None and layer.bias is not None and layer.float_reason is None:
        step, refinement = source.qparams()[0], quantizer.spec.refinement
        centred, scale = _make_room_for_bias(centred, scale, layer.bias.detach() / step * refinement)
        centred, scale = centred * refinement, scale / refinement
        bias_scale = step * scale
        bias = (layer.bias.detach() / bias_scale).round().to(torch.int32)
    stored_zero_point = zero_point.to(torch.int8)
    if quantizer.spec.bits == 8 and not quantizer.spec.symmetric:  # int8 does not hold ±255, so the zero point stays
        centred, zero_point = centred + _column(zero_point, centred).to(torch.int32), zero_point.to(torch.int8)
        stored_zero_point = torch.zeros_like(stored_zero_point)
    else:
        zero_point = torch.zeros_like(zero_point, dtype=torch.int8)
    return IntegerWeights(
        centred.to(torch.int8), scale, zero_point, refinement, stored_zero_point,
        quantizer.spec.bits, bias, bias_scale, layer.float_reason is not None,
    )  # fmt: skip


def _make_room_for_bias(integers: Tensor, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Widens the scale of channels whose bias would overflow int32, and rounds their weights to it.

    These are dead channels, which are common in MobileNets: they have weights of about 1e-8 and an ordinary bias.
    `bias` has the shape (out,) and is in units of the input's scale.
    """
    needed = bias.abs() / LARGEST_BIAS
    wider = torch.maximum(scale, needed)
    ratio = _column(scale / wider, integers)
    return torch.where(ratio < 1, (integers * ratio).round().to(torch.int32), integers), wider
