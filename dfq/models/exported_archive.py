"""Reads the file of `torch.export.save` (.pt2) as data: nothing in it is executed.

`torch.export.load` is not safe by itself (torch 2.15: "Never load data from an untrusted source"). It unpickles weights
and constants where the archive says so, falls back to full unpickling for the example inputs and for the weights of
older files, hands size expressions to sympy's `sympify`, which evaluates them as Python, imports modules that the
description of the inputs names, and looks up operators by any dotted name below `torch`. So it never gets the file. A
clean copy is made in memory, of raw tensors and of a graph in which everything of that kind was refused or left out,
and torch reads the copy.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from dfq.errors import DfqError
from dfq.graph.silence import silence
from dfq.system.declared_sizes import check_declared

GRAPH = "models/model.json"
TABLES = {"data/weights": "model_weights_config.json", "data/constants": "model_constants_config.json"}
FIXED = ("archive_format", "archive_version", "byteorder", ".data/version")
SAMPLE_INPUTS = "data/sample_inputs/model.pt"
RAW_TENSOR = re.compile(r"(weight|tensor)_\d+")
OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.(getitem|add|sub|mul|floordiv|mod|neg|eq|ne|ge|gt|le|lt)")
SIZE_WORDS = "Symbol Integer Add Mul FloorDiv Mod PythonMod CleanDiv Max Min True False positive integer nonnegative"
# A size expression of this form cannot name an attribute.
SIZE = re.compile(rf"(?:'?[su]\d+'?|\d+|\b(?:{SIZE_WORDS.replace(' ', '|')})\b|[-+(),= ])*")
PATHS = re.compile(r"[\w.,;@<>]*")  # the modules around a node, a text that torch only splits
FOREIGN = ("as_custom_obj", "as_graph", "as_operator", "custom_obj", "token")  # arguments and inputs that are not data
WORDS = frozenset(
    ["none", "tanh", "same", "valid", "constant", "reflect", "replicate", "circular", "nearest", "bilinear", "floor"]
)
CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, NotImplementedError)
EXPORT_AGAIN = (
    "torch.export.save(torch.export.export(model.eval(), (images,), "
    "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), 'model.pt2'), with two or more example images"
)


def is_exported(names: list[str]) -> bool:
    """Returns whether a zip file with these members was written by `torch.export.save` of any version."""
    return any(name.endswith(("serialized_exported_program.json", GRAPH)) for name in names)


def read_archive(path: Path) -> torch.export.ExportedProgram:
    """Returns the program in the file.

    Raises:
        DfqError: The file is damaged, comes from torch before 2.8, or holds more than tensors and ATen operators.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            if GRAPH not in members or any(f"{folder}/model.pt" in members for folder in TABLES):
                raise _refused(path, "written by an older torch, as pickles")
            copied = _clean_copy(archive, members, path)
        with silence():  # torch logs a traceback above the message.
            program = torch.export.load(copied)
        tensors = [*program.state_dict.values(), *program.constants.values()]
        declared = sum(each.numel() * each.itemsize for each in tensors if isinstance(each, torch.Tensor))
        check_declared(declared, path.stat().st_size)
        return program
    except DfqError:
        raise
    except Exception as error:  # torch's deserializer raises a different error for every table
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DfqError(f"'{path}' is damaged, or of another version of torch: {reason}", "a whole .pt2 file",
                       EXPORT_AGAIN) from error  # fmt: skip


def _clean_copy(archive: zipfile.ZipFile, members: dict[str, str], path: Path) -> io.BytesIO:
    copied = io.BytesIO()
    with zipfile.ZipFile(copied, "w") as clean:

        def put(name: str, content: bytes) -> None:
            clean.writestr(f"archive/{name}", content)

        for name in FIXED:
            if name in members:
                put(name, archive.read(members[name]))
        for folder, table in TABLES.items():
            entries = json.loads(archive.read(members[f"{folder}/{table}"]))
            for file in sorted({_raw_tensor(entry, path) for entry in entries["config"].values()}):
                put(f"{folder}/{file}", archive.read(members[f"{folder}/{file}"]))
            put(f"{folder}/{table}", json.dumps(entries).encode())
        put(GRAPH, json.dumps(_clean_graph(json.loads(archive.read(members[GRAPH])), path)).encode())
        put(SAMPLE_INPUTS, b"")  # the archive holds a pickle there, which the network does not need
    copied.seek(0)
    return copied


def _raw_tensor(entry: dict[str, Any], path: Path) -> str:
    name = entry["path_name"]
    if entry.get("use_pickle") is not False or not RAW_TENSOR.fullmatch(name):
        raise _refused(path, f"a pickled Python object ({name})")
    return name


def _clean_graph(program: dict[str, Any], path: Path) -> dict[str, Any]:
    module = program["graph_module"]
    for node in module["graph"]["nodes"]:
        if not OPERATOR.fullmatch(node["target"]):
            raise _refused(path, f"the operator {node['target']}")
        stack = node["metadata"].get("nn_module_stack", "")
        node["metadata"] = {"nn_module_stack": stack} if stack and PATHS.fullmatch(stack) else {}
    module["metadata"], program["guards_code"] = {}, []
    for call in module["module_call_graph"]:
        signature = call["signature"] if call["fqn"] == "" else None
        call["signature"] = signature
        for spec in ("in_spec", "out_spec"):
            if signature is not None:
                _check_containers(json.loads(signature[spec])[1], path)
    _check_values(program, path)
    return program


def _check_containers(spec: dict[str, Any], path: Path) -> None:
    if spec["type"] not in CONTAINERS:
        raise _refused(path, f"inputs or outputs in a {spec['type']}")
    for child in spec["children_spec"]:
        _check_containers(child, path)


def _check_values(value: Any, path: Path) -> None:
    """Refuses Python objects, text other than a few known words, and sizes that are not plain arithmetic."""
    if isinstance(value, list):
        for each in value:
            _check_values(each, path)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key in FOREIGN and inner is not None:
            raise _refused(path, f"a Python object or a branch ({key})")
        if key == "expr_str" and not SIZE.fullmatch(str(inner)):
            raise _refused(path, f"the size {inner!r}")
        if key == "as_string" and inner not in WORDS:
            raise _refused(path, f"the text {inner!r} as an argument")
        _check_values(inner, path)


def _refused(path: Path, what: str) -> DfqError:
    return DfqError(
        f"'{path}' is a torch.export program that holds {what}",
        "tensors and ATen operators, which can be read without running code from the file",
        f"export it again with torch ≥ 2.8: {EXPORT_AGAIN}; or save weights and pass --arch",
    )
