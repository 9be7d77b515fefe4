"""The runtimes that a file is written for: one row per target in `TARGETS`.

The same for all: weights are int8 with zero point 0 and one scale per output channel (axis 0 of Conv and Gemm, axis 1
of MatMul), activations have one scale per tensor, BatchNorm is folded, and QuantizeLinear and DequantizeLinear say what
is quantized.
"""

from dataclasses import dataclass

from dfq.errors import DfqError

DEFAULT_TARGET = "ort-cpu"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a runtime wants from a file.

    Attributes:
        signed: activations are int8 if True, uint8 if False.
        zero_points: may differ from 0; else every grid is symmetric.
        packs_constants: weights of up to 4 bits are stored as INT4, cast to INT8 and multiplied by their refinement,
            biases as INT16 behind a Cast to INT32 where they fit, their scales as a product: the runtime folds all of
            this when it loads the file. False: weights as INT8, and so on: the same numbers in a larger file.
        stores_int2: weights of 2 bits are stored as INT2, in a file of opset 25, where `packs_constants`.
        integer_operators: operators other than QuantizeLinear and DequantizeLinear may work on integers (Clip for
            grids below 8 bits, Pad, Slice), and biases may be int32. False: they work on the floating-point side, with
            the same results.
        integer_gates: Sigmoid and products of two tensors run on integers where all that they read is integer, as in
            squeeze-and-excitation behind ReLU.
        min_products: in a network of SiLU, HardSwish or GELU, a convolution whose output meets an operator without
            integer kernel, or is added to a tensor in floating point, stays in floating point if each output is a sum
            of fewer products than this: it saves less than the conversions behind it cost. 0: none does.
        has_quick_gelu: SiLU is written as ONNX Runtime's own QuickGelu. As Sigmoid and Mul, each of the two would
            dequantize the same tensor again.
        opset: of the file.
        reason: why, for people.
        source: who says so.
    """

    name: str
    signed: bool
    zero_points: bool
    packs_constants: bool
    stores_int2: bool
    integer_operators: bool
    integer_gates: bool
    min_products: int
    has_quick_gelu: bool
    opset: int
    reason: str
    source: str


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="ort-cpu",
            signed=False,
            zero_points=True,
            packs_constants=True,
            stores_int2=True,
            integer_operators=True,
            integer_gates=True,
            min_products=250,
            has_quick_gelu=True,
            opset=21,
            reason="ONNX Runtime's CPU provider fuses uint8 activations with int8 weights; with int8 activations half "
            "of the convolutions stay in float",
            source="benchmarks/latency.py; onnxruntime.ai/docs/performance/model-optimizations/quantization.html",
        ),
        Target(
            name="ort-cuda",
            signed=False,
            zero_points=True,
            packs_constants=True,
            stores_int2=False,
            integer_operators=False,
            integer_gates=False,
            min_products=0,
            has_quick_gelu=False,
            opset=21,
            reason="the CUDA provider has no integer convolutions: it rounds as the file says around float kernels, so "
            "the accuracy is the file's and the speed is not; for speed take tensorrt",
            source="huggingface.co/docs/optimum/onnxruntime/usage_guides/gpu",
        ),
        Target(
            name="tensorrt",
            signed=True,
            zero_points=False,
            packs_constants=False,
            stores_int2=False,
            integer_operators=False,
            integer_gates=False,
            min_products=0,
            has_quick_gelu=False,
            opset=18,
            reason="TensorRT takes int8 with zero point 0 only, in QuantizeLinear and DequantizeLinear and nowhere "
            "else, and refuses int32 biases behind DequantizeLinear; its INT4 is for matrix products alone",
            source="github.com/onnx/onnx-tensorrt docs/operators.md; github.com/microsoft/onnxruntime/issues/14229",
        ),
        Target(
            name="openvino",
            signed=False,
            zero_points=True,
            packs_constants=True,
            stores_int2=False,
            integer_operators=True,
            integer_gates=False,
            min_products=0,
            has_quick_gelu=False,
            opset=21,
            reason="OpenVINO's CPU plugin runs the same uint8 and int8 file, INT4 behind a Cast too, on its integer "
            "kernels; INT4 straight into DequantizeLinear would run in float",
            source="tests/export/test_engines.py, OpenVINO 2026.4",
        ),
        Target(
            name="onnx-generic",
            signed=False,
            zero_points=True,
            packs_constants=False,
            stores_int2=False,
            integer_operators=True,
            integer_gates=False,
            min_products=0,
            has_quick_gelu=False,
            opset=18,
            reason="nothing newer than what runtimes have read for years: INT4 came with opset 21",
            source="github.com/onnx/onnx/blob/main/docs/Changelog.md",
        ),
    )
}


def find_target(name: str) -> Target:
    """The row of that name.

    Raises:
        DfqError: there is none.
    """
    if name not in TARGETS:
        raise DfqError(f"target {name!r}", f"one of {', '.join(TARGETS)}", f"the default is {DEFAULT_TARGET}")
    return TARGETS[name]
