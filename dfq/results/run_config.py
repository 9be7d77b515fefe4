"""`RunConfig`: what `config.json` of a run folder says, checked."""

from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from dfq.errors import DfqError
from dfq.graph.file_interface import FileInterface
from dfq.images.input_spec import InputSpec
from dfq.quantizers.scheme import Scheme, make_scheme
from dfq.results.stored_files import read_json
from dfq.system.reading import reading


@dataclass(frozen=True)
class RunConfig:
    """The part of `config.json` from which a student is built again.

    Attributes:
        arch: Name of the architecture; None where the network was handed over in Python.
        num_classes: Width of the logits; None where the network has several outputs.
        is_classifier: Whether the network gives logits of classes and nothing else.
        input_spec: Size and normalisation of the images.
        scheme: Which grids the student has.
        interface: Names in the ONNX files.
        student_digest: Digest of the student's tensors; None in folders of older runs, and until there is a student.
    """

    arch: str | None
    num_classes: int | None
    is_classifier: bool
    input_spec: InputSpec
    scheme: Scheme
    interface: FileInterface
    student_digest: str | None


def read_run_config(path: Path, needed_format: int) -> RunConfig:
    """Reads and checks a `config.json`.

    Raises:
        DfqError: The file is missing or damaged, belongs to a distillation, or has another format.
    """
    values = read_json(path)
    if values.get("kind") == "distilled":
        raise DfqError(
            f"'{path.parent}' holds a distilled network in floating point",
            "a folder of `dfq quantize`",
            f"{path.parent}/student.pt is an ordinary checkpoint: dfq quantize {path.parent}/student.pt",
        )
    if values.get("format") != needed_format:
        raise DfqError(
            f"'{path.parent}' is a run folder of format {str(values.get('format'))[:20]}",
            f"format {needed_format}, which this version of dfq reads and writes",
            "quantize again; the folder's model.onnx stays valid",
        )
    with reading(path):
        return RunConfig(
            arch=_typed(values, "arch", str | None),
            num_classes=_typed(values, "num_classes", int | None),
            is_classifier=_typed(values, "is_classifier", bool),
            input_spec=InputSpec.from_dict(_typed(values, "input_spec", dict)),
            scheme=_scheme(_typed(values, "scheme", dict)),
            interface=FileInterface.from_dict(_typed(values, "file_interface", dict | None)),
            student_digest=_typed({"student_digest": None, **values}, "student_digest", str | None),
        )


def _scheme(values: dict) -> Scheme:
    _check_scheme(values)
    return Scheme.from_dict(values)


def _check_scheme(values: dict) -> None:
    """Raises an error for values of a scheme that have another type than those of the default one."""
    for key, own in make_scheme().to_dict().items():
        kinds = (int, type(None)) if key == "first_last_bits" else (type(own),)
        if key in values and type(values[key]) not in kinds:
            raise ValueError(f"'{key}' of the scheme is {brief(values[key])}")


def _typed(values: dict, key: str, kind: Any) -> Any:
    """Returns a value of a JSON object, or raises an error that says which key is missing or what it holds."""
    if key not in values:
        raise ValueError(f"'{key}' is missing")
    if not isinstance(values[key], kind) or (kind is not bool and isinstance(values[key], bool)):
        raise ValueError(f"'{key}' is {brief(values[key])}")
    return values[key]
