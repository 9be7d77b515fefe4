"""Compares the latency and size of dfq's ONNX files with float, ONNX Runtime's `quantize_static` and NNCF.

    python -m benchmarks.latency.run [--models resnet18 …] [--prepare] [--again] [--show]

The networks have random weights, and the batch is 1. There is one process per engine and file (`worker.py`). They are
asked in turns, and the results are medians, over the rounds, of ratios within a round, so that a machine that slows
down slows all alike. What is measured while two cores are worth less than two (`calm.py`) is measured again. Networks
that `results/latency.json` holds are left out. `--prepare` only writes the files, which takes minutes and may share the
machine; measuring wants it idle.
"""

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console

from benchmarks.latency.files import write_files
from benchmarks.latency.measure import measure
from benchmarks.latency.table import MIN_SPEEDUP, show


def machine(threads: int) -> dict:
    """Returns the processor and the versions of the packages."""
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
    parser.add_argument(
        "--models", nargs="+", default=list(MIN_SPEEDUP), help="Measure these networks of torchvision.models."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/latency.json"), help="Read and write the results here."
    )
    parser.add_argument("--files", type=Path, default=Path("benchmarks/work/latency"), help="Keep the ONNX files here.")
    parser.add_argument("--threads", type=int, default=2, help="Give each engine that many threads.")
    parser.add_argument("--rounds", type=int, default=5, help="Measure that many rounds in each of three sittings.")
    parser.add_argument(
        "--seconds", type=float, default=0.25, help="Measure each engine for that many seconds in each round."
    )
    parser.add_argument("--prepare", action="store_true", help="Only write the files.")
    parser.add_argument("--again", action="store_true", help="Measure finished networks again.")
    parser.add_argument("--show", action="store_true", help="Only print the tables.")
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
