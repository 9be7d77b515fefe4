"""Errors that name a node of an ONNX file."""

from onnx import NodeProto

from dfq.errors import DfqError
from dfq.models.onnx_file.reading import OnnxFile

IN_FRONT = "export the part of the network in front of it"


def node_name(proto: NodeProto) -> str:
    """Returns the name of a node; one without a name is named by what it makes."""
    return proto.name or f"{proto.op_type} of {next(iter(proto.output), 'nothing')}"


def unknown_operator(file: OnnxFile, proto: NodeProto) -> DfqError:
    """Returns the error for an operator that dfq does not compute."""
    return DfqError(
        f"{_operator(file, proto)}, which dfq does not know",
        "operators of the table in the documentation",
        f"{IN_FRONT}, export it again with other operators, or report the file",
    )


def float_operator(file: OnnxFile, proto: NodeProto) -> DfqError:
    """Returns the error for an operator that dfq computes in floating point, where nobody allowed it."""
    return DfqError(
        f"{_operator(file, proto)}, for which there are no integers",
        "operators that are usual in networks for images",
        "--allow-float-ops (it then stays in floating point)",
    )


def unfit_node(
    file: OnnxFile, proto: NodeProto, reason: str, needed: str = "a network that ONNX Runtime runs"
) -> DfqError:
    """Returns the error for a node that cannot be computed."""
    return DfqError(
        f"'{file.path}', node '{node_name(proto)}' ({proto.op_type}): {reason}",
        needed,
        "check --input-size, export the network again, or report the file",
    )


def _operator(file: OnnxFile, proto: NodeProto) -> str:
    operator = f"{proto.domain}.{proto.op_type}" if proto.domain else proto.op_type
    return f"'{file.path}' has the operator {operator} (node '{node_name(proto)}', opset {file.opset})"
