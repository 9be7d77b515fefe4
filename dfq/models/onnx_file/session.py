"""Opens an ONNX file in ONNX Runtime, to compare a network with it."""

import numpy as np
import onnxruntime
from onnx import helper
from onnxruntime import InferenceSession, OrtValue

from dfq.errors import DfqError
from dfq.models.onnx_file.reading import OnnxFile

SILENT = 4  # ONNX Runtime's log level: its exceptions say what is wrong
STRICTLY = {"enable_fallback": 0}  # Else the runtime writes to standard output where a file fails, and tries it again.


def session_of(file: OnnxFile) -> InferenceSession:
    """Returns a session of the file; it is given the tensors to which links lead.

    Raises:
        DfqError: ONNX Runtime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    try:
        if file.elsewhere:
            values = [_value(file.tensors[name]) for name in file.elsewhere]
            options.add_external_initializers(list(file.elsewhere), values)
        return InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"], **STRICTLY)
    except Exception as error:  # ONNX Runtime has a class of its own for every kind of error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DfqError(
            f"ONNX Runtime cannot load '{file.path}': {reason}", "a file that it runs", "export the network again"
        ) from error


def _value(values: np.ndarray) -> OrtValue:
    if values.dtype.name == "bfloat16":  # NumPy itself does not know it
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        return OrtValue.ortvalue_from_numpy_with_onnx_type(values.view(np.uint16), kind)
    return OrtValue.ortvalue_from_numpy(values)
