"""Keeps the ONNX file that a run started from in its folder, so that the student can be loaded without it."""

from pathlib import Path

import onnx

from dfq.errors import DfqError
from dfq.models.onnx_file.read import SUFFIX
from dfq.results.run_folder import RunFolder
from dfq.system.atomic_files import replacing


def check_source(arch: str | None, run: RunFolder) -> None:
    """Raises `DfqError` where the network's file is one of those that the run is about to replace."""
    if arch is not None and Path(arch).resolve() in {path.resolve() for path in run.artifacts()}:
        raise DfqError(
            f"'{arch}' lies in the run folder that is to be written",
            "another folder, so that the network is not lost",
            "choose another with --out, or copy the file first",
        )


def keep_source(arch: str | None, run: RunFolder) -> None:
    """Copies the ONNX file `arch`, its external data included, into the run folder; does nothing for another network.

    Raises:
        DfqError: The folder cannot be written to.
    """
    if arch is None or not arch.endswith(SUFFIX) or not Path(arch).is_file():
        return
    with replacing(run.source) as temporary:
        onnx.save_model(onnx.load_model(arch), temporary)
