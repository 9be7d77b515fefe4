"""Latency and size of the ONNX files against those of other toolkits."""
