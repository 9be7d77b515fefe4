"""Recurrent layers, which readers of text have; they need `--allow-float-ops`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dfq.models.onnx_file.operators.row import Node, Operator

ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # those of ONNX in the order of torch
REFUSED = ("clip", "input_forget", "layout")  # attributes with which torch's layers compute something else


def _check(node: Node, lengths: Tensor | None, peepholes: Tensor | None) -> None:
    """Raises `NotImplementedError` where torch's layer computes something else."""
    usual = ACTIVATIONS[node.op]
    names = [name.lower() for name in node.get("activations") or usual]
    if names != usual * (len(names) // len(usual)):
        raise NotImplementedError(f"activations {', '.join(names)}")
    if lengths is not None or peepholes is not None:
        raise NotImplementedError("lengths of sequences" if peepholes is None else "peepholes")
    for name in REFUSED:
        if node.get(name, 0):
            raise NotImplementedError(f"attribute {name}")
    if node.op == "GRU" and not node.get("linear_before_reset", 0):
        raise NotImplementedError("a reset gate in front of the product (linear_before_reset is 0)")


def _weights(gates: tuple[int, ...], weight: Tensor, recurrent: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Returns the weights and biases of each direction, with the gates in the order of torch."""
    bias = weight.new_zeros(len(weight), 2 * weight.shape[1]) if bias is None else bias
    found = []
    for tensors in zip(weight.unbind(0), recurrent.unbind(0), *bias.chunk(2, 1), strict=True):
        for rows in tensors:
            parts = rows.chunk(len(gates))
            found.append(torch.cat([parts[gate] for gate in gates]))
    return found


def _first_state(x: Tensor, recurrent: Tensor, state: Tensor | None) -> Tensor:
    """Returns the state (directions, N, features) in front of the first step; one row stands for all images."""
    shape = (recurrent.shape[0], x.shape[1], recurrent.shape[2])
    if state is None:
        state = torch.zeros_like(x[:1, :, :1])
    return state.expand(shape).repeat(1, 1, 1)  # a copy: torch's exporter takes no other order in memory


def _recurrent(function: Callable[..., Any], *, cell: bool = False) -> Operator:
    """Returns the row of a layer; `function` is torch's, and `cell` says whether it has a second state."""

    def run(node: Node, x: Tensor, weight: Tensor, recurrent: Tensor, bias=None, lengths=None, *rest) -> Any:
        state, second, peepholes = (*rest, None, None, None)[:3]
        _check(node, lengths, peepholes)
        is_reverse, directions = node.get("direction", "forward") == "reverse", len(weight)
        first = _first_state(x, recurrent, state)
        before = (first, _first_state(x, recurrent, second)) if cell else first
        weights = _weights(GATES[node.op], weight, recurrent, bias)
        options = (True, 1, 0.0, False, directions == 2, False)  # biases, layers, dropout, training, directions
        y, *last = function(x.flip(0) if is_reverse else x, before, weights, *options)
        y = y.flip(0) if is_reverse else y
        return (y.reshape(y.shape[0], y.shape[1], directions, -1).transpose(1, 2), *last)

    return Operator(run)


RECURRENT = {
    "LSTM": _recurrent(torch.lstm, cell=True),
    "GRU": _recurrent(torch.gru),
    "RNN": _recurrent(torch.rnn_tanh),
}
