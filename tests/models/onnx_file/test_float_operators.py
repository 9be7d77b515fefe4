"""Operators that stay in floating point are taken with `--allow-float-ops` alone, and compute what they should."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from support.command_line import fail, succeed
from support.onnx_files import SHAPE, exported, one_operator, operator_label
from torch import Tensor, nn

import dfq
from dfq.errors import DfqError
from dfq.graph.operators import Kind, kind_of
from dfq.graph.rewriting.rewrite import rewritten
from dfq.graph.shapes import propagate_shapes
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.operators.float_operators import FLOAT_OPERATORS
from dfq.models.onnx_file.operators.table import OPERATORS
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import check_same_outputs
from dfq.models.onnx_file.settings import ReadOnnxSettings
from dfq.models.registry import build

RANDOM = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


SMALL = (("Tanh", (), {}), ("Mul", (np.float32(0.9),), {}))
LARGE = (("Abs", (), {}), ("Add", (np.float32(1.1),), {}))
BOOL = (("Greater", (np.float32(0.5),), {}),)
WHOLE = (("Mul", (np.float32(3),), {}), ("Floor", (), {}), ("Cast", (), {"to": onnx.TensorProto.INT64}))
STEPS = (("Reshape", (ints(0, 0, -1),), {}), ("Transpose", (), {"perm": [1, 0, 2]}))  # (3, N, 64)
INSIDE = (("Transpose", (), {"perm": [1, 2, 0, 3]}),)  # (3, 8, N, 8)
PATCHES = (("Slice", (ints(0), ints(4), ints(2)), {}), ("Reshape", (ints(0, 12, 8),), {}))  # (N, 3 · 2 · 2, 8)


def turned(model: onnx.ModelProto, *axes: int) -> onnx.ModelProto:
    """Moves the images of each output, which lie along these axes, to the front."""
    for output, axis in zip(model.graph.output, axes, strict=True):
        rank = 4 if output.name == "result" else 3
        perm = [axis, *(place for place in range(rank) if place != axis)]
        model.graph.node.add(op_type="Transpose", input=[output.name], output=[f"turned_{output.name}"])
        model.graph.node[-1].attribute.append(helper.make_attribute("perm", perm))
        output.name = f"turned_{output.name}"
    return model


def at_most_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the file one image at a time."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


def of_nodes(*nodes: tuple, opset: int = 20, **stored: np.ndarray) -> onnx.ModelProto:
    """Returns a file of nodes, each as (operator, inputs, output, attributes)."""
    model = one_operator("Identity", opset=opset)
    del model.graph.node[:]
    for op, inputs, output, given in nodes:
        model.graph.node.append(helper.make_node(op, inputs, [output], name=f"the_{op}", **given))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in stored.items())
    return model


def recurrent(op: str, gates: int, *rest, bias: bool = True, features: int = 5, **attributes) -> onnx.ModelProto:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    given = [0.3 * numbers(directions, gates * features, size) for size in (64, features)]
    given.append(0.3 * numbers(directions, 2 * gates * features) if bias or rest else None)
    model = one_operator(op, *given, *rest, before=STEPS, hidden_size=features, **attributes)
    return turned(model, 2, *[1] * (attributes.get("outputs", 1) - 1))


CASES = [
    *(one_operator(op, before=SMALL) for op in ("Acos", "Asin", "Atanh", "Tan")),
    *(one_operator(op) for op in ("Asinh", "Atan", "Cosh", "Sinh", "Shrink", "Det")),
    one_operator("Acosh", before=LARGE),
    one_operator("Shrink", lambd=0.2, bias=0.1),
    one_operator("IsNaN", before=(("Sqrt", (), {}),), is_bool=True),
    one_operator("IsInf", before=(("Floor", (), {}), ("Reciprocal", (), {})), is_bool=True),
    one_operator("Xor", np.eye(8) > 0, before=BOOL, is_bool=True),
    one_operator("Hardmax"),
    one_operator("Hardmax", opset=11, axis=1),
    one_operator("OneHot", ints(4), np.array([0.5, 2], np.float32), before=WHOLE),
    one_operator("OneHot", ints(4), np.array([0, 1], np.float32), before=WHOLE, axis=1),
    one_operator("ArgMin", axis=1),
    one_operator("ArgMin", axis=-1, keepdims=0),
    one_operator("ReduceLogSum", axes=[2, 3], before=LARGE),
    turned(one_operator("GatherND", np.array([[[0, 1]], [[2, -1]]]), before=INSIDE), 2),  # (2, 1, N, 8)
    of_nodes(
        ("Flatten", ["images"], "flat", {}), ("ArgMax", ["flat"], "index", {"axis": 1}),
        ("GatherND", ["flat", "index"], "result", {"batch_dims": 1}),
    ),
    turned(one_operator("ScatterND", np.array([[2], [0], [2]]), "images", before=INSIDE, opset=18, reduction="add"), 2),
    turned(one_operator("ScatterND", np.array([[2], [0], [-2]]), "images", before=INSIDE), 2),
    one_operator("ScatterElements", np.array([[[[0, -1]]]]), numbers(1, 1, 1, 2), axis=3),
    one_operator("CenterCropPad", ints(5, 11), opset=18, axes=[2, 3]),
    one_operator("CenterCropPad", ints(4, 4, 4), opset=18, axes=[1, 2, -1]),
    one_operator("LpNormalization", axis=1),
    one_operator("LpNormalization", axis=-1, p=1),
    one_operator("MeanVarianceNormalization", axes=[2, 3]),
    one_operator("RMSNormalization", numbers(8), opset=23),
    one_operator("RMSNormalization", numbers(3, 8, 8), opset=23, axis=1, epsilon=0.1),
    one_operator("GlobalLpPool"),
    one_operator("GlobalLpPool", p=1),
    one_operator("Col2Im", ints(5, 3), ints(2, 2), opset=18, before=PATCHES),
    of_nodes(
        ("Flatten", ["images"], "flat", {}), ("MatMul", ["flat", "weight"], "six", {}),
        ("Reshape", ["six", "two_by_three"], "theta", {}), ("Shape", ["images"], "count", {"end": 1}),
        ("Concat", ["count", "rest"], "size", {"axis": 0}), ("AffineGrid", ["theta", "size"], "result", {}),
        weight=numbers(192, 6), two_by_three=ints(0, 2, 3), rest=ints(1, 4, 5),
    ),
    recurrent("LSTM", 4),
    recurrent("LSTM", 4, direction="bidirectional", outputs=3),
    recurrent("LSTM", 4, bias=False, direction="reverse"),
    at_most_one(recurrent("LSTM", 4, None, numbers(1, 1, 5), numbers(1, 1, 5))),
    recurrent("GRU", 3, linear_before_reset=1, direction="bidirectional", outputs=2),
    recurrent("RNN", 1, direction="reverse", outputs=2),
]  # fmt: skip


@pytest.mark.parametrize("model", CASES, ids=operator_label)
def test_an_operator_computes_what_the_runtime_computes(model, tmp_path):
    path = tmp_path / "one.onnx"
    onnx.save(model, path)
    file = read_onnx_file(path)
    network = OnnxNetwork(file, SHAPE, allow_float_ops=True)
    check_same_outputs(network, file, SHAPE, ReadOnnxSettings())
    assert set(network.float_operators) == {node.op_type for node in model.graph.node} & set(FLOAT_OPERATORS)


def test_every_row_has_a_case_and_stands_in_one_table():
    tried = {node.op_type for model in CASES for node in model.graph.node}
    assert not set(FLOAT_OPERATORS) - tried and not set(FLOAT_OPERATORS) & set(OPERATORS)


@pytest.mark.parametrize("op", ["LSTM", "GatherND", "MeanVarianceNormalization", "RMSNormalization"])
def test_an_operator_stays_in_floating_point(op, tmp_path):
    model = next(model for model in CASES if operator_label(model).startswith(op))
    onnx.save(model, tmp_path / "one.onnx")
    network = OnnxNetwork(read_onnx_file(tmp_path / "one.onnx"), SHAPE, allow_float_ops=True)
    program = torch.export.export(
        network, (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    ).run_decompositions({})
    captured = rewritten(program)
    propagate_shapes(captured, SHAPE)
    kinds = {kind_of(node, captured) for node in captured.graph.nodes if node.op.startswith("call_")}
    # A product is on integers where all that it reads is.
    assert Kind.FLOAT in kinds and not kinds & {Kind.MATRIX, Kind.INTEGER, Kind.RELU}


def refused(path, **options) -> DfqError:
    with pytest.raises(DfqError) as caught:
        OnnxNetwork(read_onnx_file(path), SHAPE, **options)
    return caught.value


def test_a_float_operator_is_refused_where_nobody_allowed_it(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(one_operator("Shrink"), path)
    error = refused(path)
    assert "operator Shrink (node 'the_Shrink', opset 17)" in error.found
    assert error.way_out == "--allow-float-ops (it then stays in floating point)"


def test_an_operator_in_neither_table_is_refused_either_way(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(one_operator("NonZero"), path)
    for allow in (False, True):
        error = refused(path, allow_float_ops=allow)
        assert "operator NonZero (node 'the_NonZero', opset 17)" in error.found
        assert "--allow-float-ops" not in error.way_out and "in front of it" in error.way_out


@pytest.mark.parametrize(
    "model, reason",
    [
        (recurrent("LSTM", 4, activations=["Relu", "Tanh", "Tanh"]), "activations relu, tanh, tanh"),
        (recurrent("LSTM", 4, clip=1.0), "attribute clip"),
        (recurrent("GRU", 3), "linear_before_reset is 0"),
        (one_operator("ScatterND", ints(0)[:, None], numbers(1, 3, 8, 8), opset=18, reduction="mul"), "reduction mul"),
    ],
    ids=["activations", "clip", "reset", "reduction"],
)
def test_what_torch_computes_otherwise_is_refused(model, reason, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    assert reason in refused(path, allow_float_ops=True).found


class Reader(nn.Module):
    """A convolution, and a recurrent layer that reads its columns, as readers of text do."""

    def __init__(self):
        super().__init__()
        self.conv, self.lstm, self.head = nn.Conv2d(3, 8, 3), nn.LSTM(8, 6, bidirectional=True), nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        columns = torch.relu(self.conv(images)).mean(2).permute(2, 0, 1)
        return self.head(self.lstm(columns)[0][-1])


@pytest.mark.slow
def test_the_job_keeps_it_in_floating_point_and_the_run_loads_again(tmp_path):
    torch.manual_seed(0)
    path, run = exported(Reader(), tmp_path / "net.onnx"), tmp_path / "run"
    with pytest.raises(DfqError, match="LSTM"):
        dfq.load_teacher(path)
    teacher = dfq.load_teacher(path, mean=0.0, std=1.0, allow_float_ops=True)
    assert teacher.assumed == ("that LSTM may be taken: it stays in floating point (--allow-float-ops)",)
    dfq.quantize(teacher, method="instant", images=16, out=run, progress=False)
    operators = {node.op_type for node in onnx.load(run / "model.onnx").graph.node}
    assert "LSTM" in operators and "QuantizeLinear" in operators
    path.unlink()
    student, images = dfq.load(run), torch.rand(3, *SHAPE)
    session = onnxruntime.InferenceSession(run / "model.onnx")
    (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(student(images), torch.from_numpy(answer), atol=1e-3, rtol=1e-3)


def test_the_command_line_names_the_option_and_takes_it(tmp_path):
    path = exported(Reader(), tmp_path / "net.onnx")
    assert "--allow-float-ops" in fail("inspect", path)
    shown = succeed("inspect", path, "--allow-float-ops", "--mean", 0, "--std", 1)
    assert "LSTM" in shown and "it stays in floating point" in " ".join(shown.split())


def test_the_option_is_ignored_for_other_files(tmp_path):
    checkpoint = {"arch": "dfq/resnet20", "state_dict": build("dfq/resnet20").state_dict()}
    torch.save(checkpoint, tmp_path / "net.pt")
    assert dfq.load_teacher(tmp_path / "net.pt", allow_float_ops=True).num_classes == 10
