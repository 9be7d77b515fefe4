"""ONNX files that run on integer kernels, and the proof that they do: imported as `dfq.export`."""

if __name__ != "dfq.export":
    raise ImportError("this folder is imported as 'dfq.export': install it with `pip install -e .`")

from dfq.export.engines.onnxruntime_engine import doubts_about_processor
from dfq.export.engines.table import ENGINES
from dfq.export.to_onnx import export_float_onnx, export_onnx
from dfq.export.validation.float_file import compare_float_file
from dfq.export.validation.second_opinion import Opinion
from dfq.export.validation.validate import Agreement, Labelled, validate

__all__ = [
    "ENGINES",
    "Agreement",
    "Labelled",
    "Opinion",
    "compare_float_file",
    "doubts_about_processor",
    "export_float_onnx",
    "export_onnx",
    "validate",
]
