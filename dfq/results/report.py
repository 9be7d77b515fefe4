"""The report: everything that a run measured, assumed and used, as one dictionary (`report.json`)."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import fx

from dfq.student.convert import weight_quantizers
from dfq.student.set_ranges import input_quantizer

# Name in the report → distribution.
PACKAGES = {
    "dfq": "dfq-toolkit",
    **{name: name for name in ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors")},
}


def versions() -> dict[str, str | None]:
    """Python and every package that influences a result."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package, distribution in PACKAGES.items():
        try:
            found[package] = version(distribution)
        except PackageNotFoundError:
            found[package] = None
    return found


def hardware(device: torch.device) -> dict[str, str | int | None]:
    """Processor, cores, threads in use, accelerator."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def layers(student: fx.GraphModule) -> list[dict]:
    """One row per convolution and linear layer: name, type, weight shape, bits of weight and of input (null: float)."""
    modules = dict(student.named_modules())
    weights = weight_quantizers(student)
    rows = []
    for node in student.graph.nodes:
        if node.op != "call_module" or node.target not in weights:
            continue
        layer = modules[node.target]
        source = None if layer.float_reason is not None else input_quantizer(node, modules)
        rows.append(
            {
                "name": node.target,
                "type": type(layer).__name__.removeprefix("Quant"),
                "shape": list(layer.weight.shape),
                "weight_bits": weights[node.target].spec.bits,
                "input_bits": source.spec.bits if source is not None else None,
            }
        )
    return rows
