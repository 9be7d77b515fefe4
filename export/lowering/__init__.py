"""A student becomes a graph of named operators that ONNX has."""
