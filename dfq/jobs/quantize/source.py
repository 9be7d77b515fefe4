"""Keeps the ONNX file that a run started from in its folder, so that the student can be loaded without it."""

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper

from dfq.errors import DfqError
from dfq.models.onnx_file.read import SUFFIX
from dfq.models.onnx_file.reading import stored
from dfq.results.run_folder import RunFolder
from dfq.system.atomic_files import replacing


def read_source(arch: str | None, run: RunFolder) -> bytes | None:
    """Returns the ONNX file `arch` as one file, its external data included; None for a network from elsewhere.

    Raises:
        DfqError: The file is one of those that the run is about to replace, or too large for one file.
    """
    if arch is not None and Path(arch).resolve() in {path.resolve() for path in run.artifacts()}:
        raise DfqError(
            f"'{arch}' lies in the run folder that is to be written",
            "another folder, so that the network is not lost",
            "choose another with --out, or copy the file first",
        )
    if arch is None or not arch.endswith(SUFFIX) or not Path(arch).is_file():
        return None
    model = onnx.load_model(arch, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.CopyFrom(numpy_helper.from_array(stored(tensor, Path(arch)), tensor.name))
    try:
        return model.SerializeToString()
    except Exception as error:  # protobuf has a class of its own, and a limit of 2 GB
        raise DfqError(f"'{arch}' is too large for one file", "a network of less than 2 GB", "", exit_code=1) from error


def file_digest(arch: str | None) -> str | None:
    """Returns the SHA-256 of the ONNX file `arch` as it lies on disk; None for a network from elsewhere."""
    if arch is None or not arch.endswith(SUFFIX) or not Path(arch).is_file():
        return None
    with Path(arch).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_source(content: bytes | None, run: RunFolder) -> None:
    """Writes what `read_source` returned into the run folder.

    Raises:
        DfqError: The folder cannot be written to.
    """
    if content is not None:
        with replacing(run.source) as temporary:
            temporary.write_bytes(content)
