"""ONNX files as networks: one row per operator, folded sizes, and a comparison with ONNX Runtime."""
