"""Strategies for what a file of torch.save may hold: odd tensors, odd values, calls, and damaged pickles."""

import codecs
import io
import pickle
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from support.fuzzing.damage import damaged_bytes, damaged_zip, entries_of, plain_values, zip_of
from torch import Tensor

KEYS = ("arch", "state_dict", "input_spec", "input_size", "mean", "std", "args", "epoch", "hyper_parameters", "model")
MARKER = Path("executed-by-a-file")  # in the current folder


class Call:
    """Is pickled as a call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


CALLS = (
    Call(bytearray, 6 * 10**9),
    Call(torch.FloatTensor, 10**10),
    Call(torch.UntypedStorage, 10**10),
    Call(codecs.encode, Call(codecs.encode, "a" * 1000, "hex"), "zlib"),
    Call(np.dtype, "V2000000000"),
    Call(Path.write_text, MARKER, "ran"),
    Call(print, "ran"),
    Call(Counter, {"a": 1}),
    Call(OrderedDict, [("a", 1)]),
)


def nested(depth: int) -> list:
    """Returns a list of lists of the same lists, whose text would be longer than any memory."""
    value: list = [1, 2]
    for _ in range(depth):
        value = [value, value]
    return value


def odd_tensors() -> st.SearchStrategy[Tensor]:
    return st.sampled_from(
        (
            torch.zeros(()),
            torch.zeros(0),
            torch.zeros(3, 0, 3, 3),
            torch.zeros(1).expand(10**6, 10**6),
            torch.zeros(1).expand(2000, 2000),
            torch.zeros(8, 1, 3, 3).to(torch.float8_e4m3fn),
            torch.full((8, 1, 3, 3), float("nan")),
            torch.full((8, 1, 3, 3), 1e38),
            torch.zeros(8, 1, 3, 3, dtype=torch.complex64),
            torch.zeros(8, 1, 3, 3, dtype=torch.bool),
            torch.zeros(8, 1, 3, 3, dtype=torch.float64),
            torch.zeros(8, 1, 3, 3, dtype=torch.int64),
            torch.zeros(4, 4).to_sparse(),
            torch.zeros(8, 1, 3, 3, device="meta"),
            torch.zeros(*[1] * 30),
            torch.quantize_per_tensor(torch.zeros(4, 4), 0.1, 0, torch.quint8),
        )
    )


def odd_values() -> st.SearchStrategy[Any]:
    return st.one_of(plain_values(), odd_tensors(), st.sampled_from(CALLS), st.just(nested(60)), st.binary(max_size=9))


def saved(content: Any, legacy: bool = False) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, _use_new_zipfile_serialization=not legacy)
    return written.getvalue()


def odd_checkpoints(content: Mapping[str, Any], weights: str = "state_dict") -> st.SearchStrategy[bytes]:
    """Returns files of torch.save in which values or tensors are odd, and damaged ones.

    Args:
        content: What a whole file holds.
        weights: The key of a dictionary of tensors in it.
    """
    tensors: Mapping[str, Tensor] = content[weights]

    def with_weight(name: str, tensor: Any) -> dict:
        return {**content, weights: {**tensors, name: tensor}}

    odd = st.one_of(
        st.tuples(st.sampled_from((*KEYS, *content)), odd_values()).map(lambda pair: {**content, pair[0]: pair[1]}),
        st.tuples(st.sampled_from(sorted(tensors)), odd_values()).map(lambda pair: with_weight(*pair)),
        st.sampled_from(sorted(content)).map(lambda key: {k: v for k, v in content.items() if k != key}),
        odd_values(),
    )
    whole, legacy = saved(content), saved(content, legacy=True)
    pickle_name = next(name for name in entries_of(whole) if name.endswith("data.pkl"))
    return st.one_of(
        st.tuples(odd, st.booleans()).map(lambda pair: saved(*pair)),
        damaged_zip(whole),
        damaged_bytes(legacy),
        odd_values().map(lambda value: zip_of({**entries_of(whole), pickle_name: pickle.dumps(_plain(value), 2)})),
    )


def _plain(value: Any) -> Any:
    """Returns the value, or a text in place of what only torch.save can write."""
    try:
        pickle.dumps(value, 2)
    except Exception:
        return "no pickle"
    return value
