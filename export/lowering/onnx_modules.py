"""Modules that write ONNX operators by name; the exporter sees them in place of dfq's layers and quantizers.

torch's exporter would write a fake quantizer as floating-point arithmetic. `torch.onnx.ops.symbolic` writes the named
operator instead. These modules exist only in the copy of a student that is exported, and they cannot be run.
"""

from collections.abc import Sequence

import onnx_ir as ir
import torch
from torch import Tensor, nn

from dfq.export.lowering.recorder import current_recorder
from dfq.quantizers.quantized_attention import QuantizedAttention, QuantizedAverage
from dfq.quantizers.scheme import QuantSpec
from dfq.quantizers.targets import Target

ONNX_DEFAULTS = ([1, 1], [0, 0, 0, 0], 1)  # defaults of a convolution's attributes
INTEGERS = "integers"  # name of the buffer in `EmitWeight`, by which the integers are found in the exported graph


def _operator(name: str, inputs: Sequence[Tensor], shape: Sequence, dtype=torch.float32, **attributes) -> Tensor:
    if (recorder := current_recorder()) is not None:
        return recorder.symbolic(name, inputs, tuple(shape), dtype, attributes)
    return torch.onnx.ops.symbolic(name, tuple(inputs), attributes, dtype=dtype, shape=tuple(shape))


def _dequantize(integers: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    # The axis is always written, because ONNX's default is 1, with which a square convolution computes wrong numbers.
    attributes = {} if axis is None else {"axis": axis}
    return _operator("DequantizeLinear", (integers, scale, zero_point), integers.shape, **attributes)


class EmitQuantize(nn.Module):
    """Writes QuantizeLinear and DequantizeLinear, and for grids narrower than 8 bits a Clip.

    The Clip stands between the two and works on integers. Where the target wants no such operator, it stands in front
    of them and clips at the ends of the grid, which gives the same integers.

    Args:
        spec: The grid of the tensor; it must have one scale per tensor. Where the target wants unsigned activations, a
            signed grid is written as uint8, with all integers and the zero point moved up.
        scale: Scale of the grid, one number.
        zero_point: Zero point of the grid, one number.
        target: The runtime.
        clip: False where the values are known to lie on the grid already.
        stays_signed: Whether a signed grid without zero point is written as int8 though the target wants unsigned
            activations. No zero point is then written, because ONNX Runtime rewrites int8 as uint8 where there is one.
    """

    def __init__(
        self,
        spec: QuantSpec,
        scale: Tensor,
        zero_point: Tensor,
        target: Target,
        clip: bool = True,
        stays_signed: bool = False,
    ):
        super().__init__()
        self.stays_signed = stays_signed
        self.dtype = torch.int8 if target.signed or stays_signed else torch.uint8
        self.clip, self.clip_integers = clip and spec.bits < 8, target.integer_operators
        shift = 0 if self.dtype is torch.int8 else -spec.q_min
        ends = torch.tensor([spec.q_min + shift, spec.q_max + shift])
        scale, zero_point = scale.reshape(()).clone(), zero_point.reshape(()) + shift
        limits = ends.to(self.dtype) if self.clip_integers else (ends - zero_point) * scale
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point.to(self.dtype))
        self.register_buffer("lowest", limits[0].clone())
        self.register_buffer("highest", limits[1].clone())
        self.scale: Tensor
        self.zero_point: Tensor
        self.lowest: Tensor
        self.highest: Tensor

    def _clip(self, values: Tensor, dtype: torch.dtype) -> Tensor:
        return _operator("Clip", (values, self.lowest, self.highest), values.shape, dtype)

    def forward(self, values: Tensor) -> Tensor:
        if self.clip and not self.clip_integers:
            values = self._clip(values, torch.float32)
        if self.stays_signed:
            return self._without_zero_point(values)
        integers = _operator("QuantizeLinear", (values, self.scale, self.zero_point), values.shape, self.dtype)
        if self.clip and self.clip_integers:
            integers = self._clip(integers, self.dtype)
        return _dequantize(integers, self.scale, self.zero_point)

    def _without_zero_point(self, values: Tensor) -> Tensor:
        code = int(ir.DataType.INT8)
        integers = _operator("QuantizeLinear", (values, self.scale), values.shape, self.dtype, output_dtype=code)
        if self.clip:
            integers = self._clip(integers, self.dtype)
        return _operator("DequantizeLinear", (integers, self.scale), integers.shape)


class EmitWeight(nn.Module):
    """Writes integer weights as one DequantizeLinear, with a scale and a zero point for each entry of `axis`."""

    def __init__(self, integers: Tensor, scale: Tensor, zero_point: Tensor, axis: int = 0):
        super().__init__()
        self.axis = axis
        self.register_buffer(INTEGERS, integers)
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point)

    def forward(self) -> Tensor:
        return _dequantize(
            self.get_buffer(INTEGERS), self.get_buffer("scale"), self.get_buffer("zero_point"), self.axis
        )


class EmitFloat(nn.Module):
    """Writes a constant in floating point, such as the bias of a layer whose input is not quantized."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.register_buffer("values", values.clone())

    def forward(self) -> Tensor:
        return self.get_buffer("values")


class EmitConvolution(nn.Module):
    """Writes Conv with constants from `weight` and `bias` and any padding.

    Args:
        weight: Gives the weight (out, in / groups, h, w).
        bias: Gives the bias (out,); None: there is none.
        layer: The layer that stride, dilation and groups are read from.
        padding: Padding at the top, left, bottom and right, in pixels; unlike torch's own, it may be asymmetric.
    """

    def __init__(self, weight: nn.Module, bias: nn.Module | None, layer: nn.Conv2d, padding: Sequence[int]):
        super().__init__()
        self.weight, self.bias, self.padding = weight, bias, tuple(padding)
        self.strides, self.dilations, self.groups = list(layer.stride), list(layer.dilation), layer.groups

    def _length(self, length: int, axis: int, kernel: int) -> int:
        padded = length + self.padding[axis] + self.padding[axis + 2]
        return (padded - self.dilations[axis] * (kernel - 1) - 1) // self.strides[axis] + 1

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight()
        channels, _, *kernel = weight.shape
        size = [self._length(images.shape[2 + axis], axis, kernel[axis]) for axis in (0, 1)]
        attributes = {
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": list(self.padding),
            "group": self.groups,
        }
        return _operator(
            "Conv",
            [images, weight] + ([self.bias()] if self.bias is not None else []),
            (images.shape[0], channels, *size),
            **{name: value for name, value in attributes.items() if value not in ONNX_DEFAULTS},
        )


class EmitGemm(nn.Module):
    """Writes Gemm on features (N, in), with `weight` (out, in) and `bias` (out,) or None."""

    def __init__(self, weight: nn.Module, bias: nn.Module | None):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight()
        inputs = [features, weight] + ([self.bias()] if self.bias is not None else [])
        return _operator("Gemm", inputs, (features.shape[0], weight.shape[0]), transB=1)


class EmitMatMul(nn.Module):
    """Writes MatMul and Add on features (…, in), with the transposed `weight` (in, out) and `bias` (out,) or None."""

    def __init__(self, weight: nn.Module, bias: nn.Module | None):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, features: Tensor) -> Tensor:
        weight = self.weight()
        product = _operator("MatMul", (features, weight), (*features.shape[:-1], weight.shape[1]))
        return product if self.bias is None else _operator("Add", (product, self.bias()), product.shape)


class EmitGlobalAveragePool(nn.Module):
    """Writes GlobalAveragePool, which has an integer kernel; torch's exporter writes ReduceMean, which has none."""

    def forward(self, images: Tensor) -> Tensor:
        return _operator("GlobalAveragePool", (images,), (images.shape[0], images.shape[1], 1, 1))


class EmitQuickGelu(nn.Module):
    """Writes SiLU, x · σ(x), as one operator of ONNX Runtime's own, which takes a single pass."""

    def forward(self, values: Tensor) -> Tensor:
        return _operator("com.microsoft::QuickGelu", (values,), values.shape, alpha=1.0)


class EmitAttention(nn.Module):
    """Writes the products of attention, whose factors are quantized, with the quantizer of the probabilities.

    Args:
        products: What is written.
        probabilities: Writes the quantizer between softmax and second product.
    """

    def __init__(self, products: QuantizedAverage, probabilities: EmitQuantize):
        super().__init__()
        self.products, self.probabilities = products, probabilities

    def forward(self, *factors: Tensor) -> Tensor:
        if not isinstance(self.products, QuantizedAttention):
            chances, values = factors
            return self.products.average(chances, values, self.probabilities)
        query, key, value, *mask = factors
        return self.products.average(self.products.chances(query, key, *mask), value, self.probabilities)


# These write nothing but named operators.
BY_NAME = (EmitQuantize, EmitConvolution, EmitGemm, EmitMatMul, EmitGlobalAveragePool, EmitQuickGelu)
