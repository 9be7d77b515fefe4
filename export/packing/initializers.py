"""The contents of the constants in an exported graph."""

import numpy as np
import onnx_ir as ir


def numbers_of(value: ir.Value | None) -> np.ndarray:
    """Returns the content of an initializer."""
    assert value is not None and value.const_value is not None
    return value.const_value.numpy()
