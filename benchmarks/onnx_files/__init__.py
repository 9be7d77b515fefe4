"""ONNX files as input: exports of several exporters, and files of other people."""
