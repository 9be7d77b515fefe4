"""The measurement: every engine runs in a process of its own and is asked in turns, while the machine is calm."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.latency.calm import MIN_SCALING, Probe
from benchmarks.latency.files import ENTRIES, STATIC, Entry, nodes_of

WORKER = "benchmarks.latency.worker"
SITTINGS = 3  # each has new processes: two of one file may differ, by where their memory happens to lie
MAX_TRIES = 20  # for a measurement that the machine disturbs; after them the calmest one counts


class Worker:
    """A process that runs one file in one engine and is asked for its latency."""

    def __init__(self, entry: Entry, folder: Path, threads: int):
        command = [sys.executable, "-m", WORKER, entry.engine, folder / entry.file, str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([str(part) for part in command], text=True, **pipes)

    def is_ready(self) -> bool:
        """Waits until the engine has run the file once; False if it cannot."""
        return self.process.stdout.readline().strip() == "ready"

    def measure(self, seconds: float) -> float:
        """Returns the milliseconds of a run."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


@contextmanager
def workers(labels: list[str], folder: Path, threads: int) -> Iterator[dict[str, Worker]]:
    """Starts a process for each label, yields those whose engine can run the file, and ends all."""
    with ExitStack() as stack:
        started = {label: Worker(ENTRIES[label], folder, threads) for label in labels}
        for worker in started.values():
            stack.callback(worker.process.wait)
            stack.callback(worker.process.stdin.close)
        yield {label: worker for label, worker in started.items() if worker.is_ready()}


def measure(folder: Path, threads: int, rounds: int, seconds: float) -> dict:
    """Measures `SITTINGS` × `rounds` rounds: medians in milliseconds, ratios of each round, bytes, nodes."""
    labels = [label for label, entry in ENTRIES.items() if (folder / entry.file).exists()]
    each, disturbed = [], 0
    for _ in range(SITTINGS):
        with workers(labels, folder, threads) as ready, closing(Probe()) as probe:
            order = list(ready)
            for first in range(rounds):  # another one begins each time: who follows whom matters by some percent
                turn = order[first % len(order) :] + order[: first % len(order)]
                found = {label: _when_calm(ready[label], seconds, probe) for label in turn}
                each.append({label: latency for label, (latency, _) in found.items()})
                disturbed += sum(tries - 1 for _, tries in found.values())
    latency = {label: float(np.median([found[label] for found in each])) for label in order}
    best = min((label for label in STATIC if label in latency), key=lambda label: latency[label])
    pairs = {"float/int8": ("float", "int8"), "static/int8": (best, "int8"), "w4a4/int8": ("w4a4", "int8")}
    rounds_of = {name: [found[a] / found[b] for found in each] for name, (a, b) in pairs.items()}
    sizes = {label: _size(folder / ENTRIES[label].file) for label in labels}
    return {
        "latency_ms": latency,
        "ratios": {name: float(np.median(values)) for name, values in rounds_of.items()},
        "ratios_of_each_round": rounds_of,
        "measurements": {"kept": len(each) * len(order), "disturbed": disturbed},
        "best_static": best,
        "size_bytes": sizes,
        "nodes": {label: nodes_of(folder, label) for label in ("float", "int8", "w4a4", best)},
        "not_run": sorted({label for label in labels if label not in latency}),
    }


def _when_calm(worker: Worker, seconds: float, probe: Probe) -> tuple[float, int]:
    """Returns the milliseconds of a run between two moments when two cores were worth two, and the tries it took."""
    found: list[tuple[float, float]] = []
    before = probe.scaling()
    while len(found) < MAX_TRIES and not (found and found[-1][0] >= MIN_SCALING):
        latency, after = worker.measure(seconds), probe.scaling()
        found.append((min(before, after), latency))
        before = after
    return max(found)[1], len(found)


def _size(path: Path) -> int:
    weights = path.with_suffix(".bin")  # of OpenVINO's own format
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)
