"""Which student an ONNX file was made from."""

from pathlib import Path

import onnx

MADE_FROM = "dfq.student"  # the name in the file's metadata of the digest of the student's tensors


def student_in(path: Path) -> str | None:
    """Returns the digest of the student that an ONNX file was made from; None where the file does not say it."""
    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # protobuf and onnx have several errors for damage, which the runtime reports better
        return None
    return next((entry.value for entry in properties if entry.key == MADE_FROM), None)
