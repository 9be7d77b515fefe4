"""The runtimes that a file is written for: one row per target in `TARGETS`.

This is the same for all of them: weights are int8 with zero point 0 and one scale per output channel (axis 0 of Conv
and Gemm, axis 1 of MatMul), activations have one scale per tensor, BatchNorm is folded, and QuantizeLinear and
DequantizeLinear say what is quantized.
"""

from dataclasses import dataclass

from dfq.errors import DfqError

DEFAULT_TARGET = "ort-cpu"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a runtime wants from a file.

    Attributes:
        name: Name of the target on the command line.
        signed: Whether activations are int8; otherwise they are uint8.
        zero_points: Whether zero points may differ from 0; otherwise every grid is symmetric.
        packs_constants: Whether weights of up to 4 bits are stored as INT4, cast to INT8 and multiplied by their
            refinement, biases that fit are stored as INT16 and cast to INT32, and the scale of a bias is the product of
            two other scales. The runtime folds all of this when it loads the file. Otherwise weights are stored as INT8
            and biases as INT32, which gives the same numbers in a larger file.
        stores_int2: Whether weights of 2 bits are stored as INT2, in a file of opset 25, where `packs_constants`.
        integer_operators: Whether operators other than QuantizeLinear and DequantizeLinear may work on integers (Clip
            for grids below 8 bits, Pad, Slice), and biases may be int32. Otherwise they work on the floating-point
            side, with the same results.
        integer_gates: Whether Sigmoid and products of two tensors run on integers where everything that they read is
            integer, as in squeeze-and-excitation after ReLU.
        min_products: In a network of SiLU, HardSwish or GELU, a convolution stays in floating point if each output is a
            sum of fewer products than this and an operator without integer kernel reads the output, or it is added to a
            tensor in floating point: it saves less than the conversions after it cost. 0: no convolution does.
        min_keys: The two products of attention, of queries and keys and of probabilities and values, run on integers
            where each query sees at least this many keys, and the softmax between them in floating point. With fewer
            keys the conversions cost more than integers save. 0: they stay in floating point.
        has_quick_gelu: Whether SiLU is written as ONNX Runtime's own QuickGelu. If it is written as Sigmoid and Mul,
            each of the two dequantizes the same tensor again.
        has_fused_bias: Whether a linear layer of several positions is written as ONNX Runtime's own
            MatMulIntegerToFloat, which adds the bias in the same pass, in networks whose attention runs on integers
            (others were not measured). Otherwise it is MatMul and Add, of which the runtime fuses the former alone.
        opset: ONNX opset of the file.
        reason: Why the runtime wants this, for people.
        source: Who says so.
    """

    name: str
    signed: bool
    zero_points: bool
    packs_constants: bool
    stores_int2: bool
    integer_operators: bool
    integer_gates: bool
    min_products: int
    min_keys: int
    has_quick_gelu: bool
    has_fused_bias: bool
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
            min_keys=32,
            has_quick_gelu=True,
            has_fused_bias=True,
            opset=21,
            reason="ONNX Runtime's CPU provider fuses uint8 activations with int8 weights; with int8 activations half "
            "of the convolutions stay in float",
            source="benchmarks/latency; onnxruntime.ai/docs/performance/model-optimizations/quantization.html",
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
            min_keys=0,
            has_quick_gelu=False,
            has_fused_bias=False,
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
            min_keys=0,
            has_quick_gelu=False,
            has_fused_bias=False,
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
            min_keys=0,
            has_quick_gelu=False,
            has_fused_bias=False,
            opset=21,
            reason="OpenVINO's CPU plugin runs the same uint8 and int8 file on its integer kernels, also where INT4 is "
            "cast; a DequantizeLinear that reads INT4 directly would run in float",
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
            min_keys=0,
            has_quick_gelu=False,
            has_fused_bias=False,
            opset=18,
            reason="the file holds nothing newer than what runtimes have read for years: INT4 came with opset 21",
            source="github.com/onnx/onnx/blob/main/docs/Changelog.md",
        ),
    )
}


def find_target(name: str | Target) -> Target:
    """Returns the row of that name; a row is given back as it is.

    Raises:
        DfqError: There is no row of that name.
    """
    if isinstance(name, Target):
        return name
    if name not in TARGETS:
        raise DfqError(f"target {name!r}", f"one of {', '.join(TARGETS)}", f"the default is {DEFAULT_TARGET}")
    return TARGETS[name]
