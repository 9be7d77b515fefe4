"""ONNX files that run on integer kernels, and the proof that they do; the folder is imported as `dfq.export`."""

if __name__ != "dfq.export":
    raise ImportError("this folder is imported as 'dfq.export': install it with `pip install -e .`")

from dfq.export.engines.onnxruntime_engine import processor_warnings
from dfq.export.engines.table import ENGINES
from dfq.export.to_onnx import export_float_onnx, export_onnx
from dfq.export.validation.compared import ComparedImages, ExportedFiles, further_images
from dfq.export.validation.float_file import compare_float_file
from dfq.export.validation.second_opinion import EngineAgreement
from dfq.export.validation.settings import ValidationSettings
from dfq.export.validation.validate import Agreement, Labelled, validate

__all__ = [
    "ENGINES",
    "Agreement",
    "ComparedImages",
    "EngineAgreement",
    "ExportedFiles",
    "Labelled",
    "ValidationSettings",
    "compare_float_file",
    "export_float_onnx",
    "export_onnx",
    "further_images",
    "processor_warnings",
    "validate",
]
