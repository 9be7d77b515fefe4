"""The table of ONNX operators that dfq reads, one file for each kind."""
