"""Writes a lowered network as an ONNX graph, operator by operator, without torch's exporter."""
