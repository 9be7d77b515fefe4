"""Parts that the reports of all jobs share: versions, hardware, and the layers of a student."""

import os
import platform
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import fx

from dfq.student.convert import weight_quantizers
from dfq.student.set_ranges import input_quantizer
from dfq.system.processes import run_size

# Maps the name in the report to the name of the distribution.
PACKAGES = {
    "dfq": "dfq-toolkit",
    **{name: name for name in ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "onnxscript", "safetensors")},
}


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """The keys that `report.json` of every job has; the JSON Schemas beside this file describe them.

    Attributes:
        schema_version: Version of the keys.
    """

    schema_version: int
    arch: str | None
    input_spec: dict
    images: int
    agreement: dict
    doubt: str | None
    outputs: list[dict]
    error_steps: dict
    accuracy: dict
    size_bytes: dict
    latency_ms: dict
    nodes: dict
    engines: list[dict]
    evidence: dict
    knowledge: str
    seconds: dict
    budget: dict | None
    settings: dict
    diversity: dict
    seed: int
    versions: dict
    hardware: dict
    warnings: list[str]

    def to_dict(self) -> dict:
        """Returns what `report.json` holds: the keys of this job, then those of all."""
        shared = {field.name for field in fields(JobReport)}
        own = {name: value for name, value in vars(self).items() if name not in shared}
        return own | {name: value for name, value in vars(self).items() if name in shared}


def budget(limit: float | None, reserved: float) -> dict[str, float] | None:
    """Returns the limit of a run and what was kept of it for the end, in seconds; None where there was no limit."""
    return None if limit is None else {"limit": limit, "reserved": reserved}


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and of every package that influences a result; None for one that is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package, distribution in PACKAGES.items():
        try:
            found[package] = version(distribution)
        except PackageNotFoundError:
            found[package] = None
    return found


def hardware(device: torch.device) -> dict[str, str | int | None]:
    """Returns what describes this machine: processor, cores, threads of a process, processes, device, accelerator."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": run_size(),
        "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def layers(student: fx.GraphModule) -> list[dict]:
    """Returns one row for each convolution and linear layer of the student.

    A row has the layer's name, type and weight shape, the bits of its weight, and the bits of its input. The latter are
    None where the input stays in floating point.
    """
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
