"""ONNX files that run on integer kernels, and the proof that they do: imported as `dfq.export`."""

if __name__ != "dfq.export":
    raise ImportError("this folder is imported as 'dfq.export': install it with `pip install -e .`")

from dfq.export.engine import doubts_about_processor
from dfq.export.engines import ENGINES
from dfq.export.float_file import compare_float_file
from dfq.export.opinions import Opinion
from dfq.export.to_onnx import export_float_onnx, export_onnx
from dfq.export.validate import Agreement, Labelled, validate

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
