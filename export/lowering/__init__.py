"""Turns a student into a graph of named operators that ONNX has."""
