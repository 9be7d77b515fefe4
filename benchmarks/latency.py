"""Latency and size of dfq's ONNX files against float, ONNX Runtime's `quantize_static` and NNCF, on random weights.

    python benchmarks/latency.py [--models resnet18 …] [--prepare] [--again] [--show]

Batch 1. One process per engine and file (`latency_worker.py`), asked in turns; medians over the rounds of ratios within
a round, so that a machine that slows down slows all alike. What is measured while two cores are worth less than two
(`calm.py`) is measured again. Networks that `results/latency.json` holds are left out. `--prepare` only writes the
files, which takes minutes and may share the machine; measuring wants it idle.
"""

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from latency_files import ENTRIES, write_files
from latency_measure import measure
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
# Least float ÷ INT8, as the project promises it.
MIN_SPEEDUP = {
    "resnet18": 2.9,
    "resnet50": 3.0,
    "mobilenet_v2": 1.7,
    "mobilenet_v3_large": 1.2,
    "efficientnet_b0": 1.15,
    "regnet_y_400mf": 1.2,
    "vit_b_16": 2.2,
    "convnext_tiny": 1.8,
}
MAX_W4A4_LATENCY, MIN_STATIC_RATIO = 1.05, 1.0
MAX_W4A4_SIZE = {"resnet18": 0.14, "mobilenet_v2": 0.18}


def missed(name: str, result: dict) -> list[str]:
    """The limits that a network's figures do not keep, in words."""
    ratios, sizes = result["ratios"], result["size_bytes"]
    packed = sizes["w4a4"] / sizes["float"]
    checks = (
        (ratios["float/int8"] < MIN_SPEEDUP.get(name, 0), f"float/int8 {ratios['float/int8']:.2f}"),
        (ratios["static/int8"] < MIN_STATIC_RATIO, f"{result['best_static']}/int8 {ratios['static/int8']:.3f}"),
        (ratios["w4a4/int8"] > MAX_W4A4_LATENCY, f"w4a4/int8 {ratios['w4a4/int8']:.3f}"),
        (packed > MAX_W4A4_SIZE.get(name, 1), f"size of w4a4 {packed:.3f}"),
    )
    return [text for is_missed, text in checks if is_missed]


def show(networks: dict[str, dict], console: Console) -> None:
    times = Table(title="Milliseconds at batch 1, best quantize_static of its settings")
    ratios = Table(title="Ratios: what must be at least, or at most, in brackets; [red]missed[/red]")
    for column in ("", "float", "int8", "w4a4", "static", "nncf", "OV float", "OV int8", "OV nncf"):
        times.add_column(column, justify="right" if column else "left")
    for column in ("", "float/int8", "static/int8 (1)", "w4a4/int8 (1.05)", "int8 size", "w4a4 size"):
        ratios.add_column(column, justify="right" if column else "left")
    for name, result in networks.items():
        labels = (
            "float",
            "int8",
            "w4a4",
            result["best_static"],
            "nncf",
            *(n for n in ENTRIES if n.startswith("openv")),
        )
        found = result["latency_ms"]
        times.add_row(name, *(f"{found[label]:.2f}" if label in found else "–" for label in labels))
        sizes, each = result["size_bytes"], result["ratios"]
        cells = [f"{each['float/int8']:.2f} ({MIN_SPEEDUP.get(name, '–')})", f"{each['static/int8']:.2f}"]
        cells += [f"{each['w4a4/int8']:.2f}", f"{sizes['int8'] / sizes['float']:.3f}"]
        cells += [f"{sizes['w4a4'] / sizes['float']:.3f} ({MAX_W4A4_SIZE.get(name, '–')})"]
        ratios.add_row(name, *cells, style="red" if missed(name, result) else "")
    console.print(times)
    console.print(ratios)
    for name, result in networks.items():
        console.print(f"{name}: in float {result['nodes']['int8']['float'] or 'nothing'}", style="dim")
        for text in missed(name, result):
            console.print(f"{name}: limit missed: {text}", style="red")
        for label, reason in result.get("skipped", {}).items():
            console.print(f"{name}: no {label}: {reason}", style="yellow")


def machine(threads: int) -> dict:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "onnx", "onnxruntime", "openvino", "nncf"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {"hardware": names[0] if names else platform.machine(), "threads": threads, "versions": versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MIN_SPEEDUP), help="names from torchvision.models")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latency.json")
    parser.add_argument("--files", type=Path, default=HERE / "work" / "latency", help="where the files are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="in each of three sittings")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each engine in each round")
    parser.add_argument("--prepare", action="store_true", help="only write the files")
    parser.add_argument("--again", action="store_true", help="measure finished networks again")
    parser.add_argument("--show", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    networks = json.loads(arguments.out.read_text())["networks"] if arguments.out.exists() else {}
    for name in [] if arguments.show else arguments.models:
        if name in networks and not (arguments.again or arguments.prepare):
            continue
        skipped = write_files(name, arguments.files / name)
        if not arguments.prepare:
            found = measure(arguments.files / name, arguments.threads, arguments.rounds, arguments.seconds)
            networks[name] = {**found, "skipped": skipped}
            content = {**machine(arguments.threads), "networks": networks}
            arguments.out.write_text(json.dumps(content, indent=2) + "\n")
    if not arguments.prepare:
        show({name: networks[name] for name in arguments.models if name in networks}, Console())


if __name__ == "__main__":
    main()
