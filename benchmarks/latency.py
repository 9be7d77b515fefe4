"""Latency and size of dfq's ONNX files against ONNX Runtime's own `quantize_static`, on random weights.

    python benchmarks/latency.py [--models resnet18 resnet50 mobilenet_v2] [--out benchmarks/results/latency.json]

Per network, in one process and in turns, batch 1: the float file, `quantize_static` of that file (QDQ, uint8
activations, int8 weights per channel, after `quant_pre_process`), dfq INT8 and dfq W4A4.
"""

import argparse
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchvision
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dfq.calibrate import calibrate, snap_biases
from dfq.convert import quantize
from dfq.export import export_float_onnx, export_onnx
from dfq.export.engine import Engine
from dfq.export.islands import count_nodes
from dfq.export.latency import median_latencies
from dfq.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.scheme import make_scheme
from dfq.teacher import Teacher

MODELS = ("resnet18", "resnet50", "mobilenet_v2")
INPUT = InputSpec(size=(3, 224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
LATENCY_RATIOS = ("int8/quantize_static", "w4a4/int8", "float/int8")
LIMITS = {"int8/quantize_static": 1.05, "w4a4/int8": 1.05}


class RandomImages(quantization.CalibrationDataReader):
    """Feeds `images` (N, C, H, W) to `quantize_static`, one by one."""

    def __init__(self, images: Tensor):
        self._images = iter(images.numpy()[:, None])

    def get_next(self) -> dict | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}


def random_network(name: str, images: Tensor) -> nn.Module:
    """Random weights whose BatchNorm statistics are those of `images`, so that activations keep a sane range."""
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # running statistics become plain averages
    model.train()
    with torch.no_grad():
        model(images)
    return model.eval()


def write_files(name: str, folder: Path, images: Tensor) -> dict[str, Path]:
    """The four files to compare, by label."""
    torch.manual_seed(0)
    model = random_network(name, images)
    files = {"float": export_float_onnx(model, folder / "float.onnx", INPUT)}
    files["quantize_static"] = quantize_statically(files["float"], images)
    for label, bits in (("int8", 8), ("w4a4", 4)):
        student = quantize(Teacher(model, INPUT), make_scheme("deploy", bits=bits))
        calibrate(student, images, ranges="minmax", batch_size=4)
        snap_biases(student)
        files[label] = export_onnx(student, folder / f"{label}.onnx", INPUT)
    return files


def quantize_statically(path: Path, images: Tensor) -> Path:
    prepared, quantized = path.with_name("prepared.onnx"), path.with_name("quantize_static.onnx")
    quant_pre_process(str(path), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(quantized),
        RandomImages(images[:4]),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return quantized


def measure(name: str, threads: int, repeats: int) -> dict:
    """Medians in milliseconds, sizes in bytes, ratios with their spread, and what ONNX Runtime made of each file."""
    images = torch.randn(8, *INPUT.size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(name, Path(folder), images)
        sizes = {label: path.stat().st_size for label, path in files.items()}
        nodes = {label: count_nodes(path) for label, path in files.items() if label != "float"}
        runs = [_one_repeat(files, images[:1], threads, first) for first in range(repeats)]
    ratios = {ratio: [_quotient(run, ratio) for run in runs] for ratio in LATENCY_RATIOS}
    return {
        "latency_ms": {label: float(np.median([run[label] for run in runs])) for label in files},
        "ratios": {ratio: float(np.median(values)) for ratio, values in ratios.items()}
        | {f"{label} size/float": sizes[label] / sizes["float"] for label in ("int8", "w4a4")},
        "ratios_of_each_repeat": ratios,
        "size_bytes": sizes,
        "nodes": nodes,
    }


def _one_repeat(files: dict[str, Path], images: Tensor, threads: int, first: int) -> dict[str, float]:
    """Medians of fresh sessions. Each repeat starts with another file: who follows whom matters by some percent."""
    labels = list(files)
    start = first % len(labels)
    engines = {label: Engine(files[label], threads) for label in labels[start:] + labels[:start]}
    return median_latencies(engines, images, rounds=200, seconds=30)


def _quotient(latency: dict[str, float], ratio: str) -> float:
    above, below = ratio.split("/")
    return latency[above] / latency[below]


def machine(threads: int) -> dict:
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    packages = ("torch", "torchvision", "onnx", "onnxruntime")
    return {
        "hardware": cpu,
        "threads": threads,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }


def show(results: dict[str, dict], console: Console) -> None:
    table = Table(title="Median latency at batch 1 (ms), and ratios")
    first = next(iter(results.values()))
    columns = [*first["latency_ms"], *first["ratios"]]
    for column in ("network", *columns):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, result in results.items():
        times = [f"{value:.2f}" for value in result["latency_ms"].values()]
        table.add_row(name, *times, *(f"{value:.3f}" for value in result["ratios"].values()))
    console.print(table)
    for name, result in results.items():
        for label in ("int8", "w4a4"):
            islands = [f"{node['op']} ({node['reason']})" for node in result["nodes"][label]["float"]]
            console.print(f"{name} {label}: {result['nodes'][label]['integer']}; in float: {islands or 'nothing'}")
        for ratio, limit in LIMITS.items():
            if result["ratios"][ratio] > limit:
                each = ", ".join(f"{value:.3f}" for value in result["ratios_of_each_repeat"][ratio])
                console.print(f"{name}: {ratio} is above {limit}; each repeat: {each}", style="red")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names from torchvision.models")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/latency.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=6, help="fresh sessions in another order; medians over them")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {name: measure(name, arguments.threads, arguments.repeats) for name in arguments.models}
    show(results, Console(width=max(Console().width, 160)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(machine(arguments.threads) | {"networks": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
