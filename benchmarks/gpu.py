"""Measures what a GPU does, in pieces of about three minutes, so that a quarter of an hour on one brings figures.

    python -m benchmarks.gpu --data ../shared/data [--device cuda] [--minutes 14] [--show]
    python -m benchmarks.gpu --dry

A finished piece is in results/gpu.json with the name of the hardware and is never measured again there; the next call
goes on with the others. `--dry` runs each kind of piece with next to no work, on one thread of the CPU, without data.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.common.cells import read_rows, stop_after
from benchmarks.common.nets import Data
from benchmarks.common.options import data_option, minutes_option, out_option, show_option
from dfq.calibration import recipes
from dfq.calibration.inversion.inversion import Inversion
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec, is_large
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.models.registry import build
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.teacher import Teacher

MIB = 2**20
SMALL, LARGE = ("resnet20",), ("efficientnet_lite0", "mobilenet_v2")
TESTS = Path("tests/test_cuda.py")


@dataclass(frozen=True)
class Amount:
    """How much work a piece does.

    Attributes:
        images: Number of images of a piece of synthesis, by whether they are of more than 64 pixels a side.
        steps: Steps of synthesis that are timed.
        iterations: Iterations per block of a short and of a long reconstruction, whose difference is timed.
        fitted: Number of images of a reconstruction.
        student: Fields of the settings of a student.
    """

    images: dict[bool, int]
    steps: int
    iterations: tuple[int, int]
    fitted: int
    student: dict


WHOLE = Amount({False: 256, True: 64}, 60, (20, 120), 128, {"budget": 120.0})
DRY = Amount({False: 4, True: 2}, 2, (1, 2), 4, {"method": "instant", "images": 4})


@dataclass(frozen=True)
class Piece:
    """One measurement: of synthesis, of reconstruction, of a student of 4 bits, or the tests that need a GPU."""

    kind: str
    net: str


PIECES = (
    *(Piece(kind, net) for kind in ("synthesis", "reconstruction") for net in (*SMALL, *LARGE)),
    Piece("tests", ""),
    *(Piece("student", net) for net in (*SMALL, *LARGE)),
)


class Bench:
    """Measures pieces on a device; without data, on a network with random weights."""

    def __init__(self, data: Path | None, device: str, amount: Amount):
        self.data, self.device, self.amount = data and Data(data, device), torch.device(device), amount

    def measure(self, piece: Piece) -> dict:
        """Returns the figures of a piece, its seconds, and the peak memory of a GPU in MiB."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.monotonic()
        kinds = {
            "synthesis": self._synthesis, "reconstruction": self._reconstruction,
            "student": self._student, "tests": self._tests,
        }  # fmt: skip
        found = kinds[piece.kind](piece.net)
        peak = torch.cuda.max_memory_allocated() / MIB if self.device.type == "cuda" else None
        return {**found, "seconds": time.monotonic() - start, "peak_mib": peak}

    def _teacher(self, net: str) -> Teacher:
        if self.data is not None:
            return self.data.teacher(net)
        torch.manual_seed(0)
        spec = InputSpec(size=(3, 32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return Teacher(build("dfq/resnet20").eval(), spec, self.device)

    def _timed(self, work) -> float:
        """Returns the seconds of some work, all kernels of which have ended."""
        self._synchronize()
        start = time.monotonic()
        work()
        self._synchronize()
        return time.monotonic() - start

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _synthesis(self, net: str) -> dict:
        teacher = self._teacher(net)
        count = self.amount.images[is_large(teacher.input_spec.size)]

        def make(steps: int) -> None:
            kind = replace(recipes.IMPROVED, iterations=steps)
            Inversion(kind, teacher, Stage(), batch_size=count).sample(count)

        make(2)  # chooses kernels
        seconds = self._timed(partial(make, self.amount.steps))
        return {"images": count, "image_steps_per_second": count * self.amount.steps / seconds}

    def _reconstruction(self, net: str) -> dict:
        teacher, few = self._teacher(net), self.amount.fitted
        images = Inversion(replace(recipes.SKETCHES, iterations=2), teacher, Stage(), batch_size=few).sample(few).images
        blocks = 0

        def fit(iterations: int) -> None:
            nonlocal blocks
            student = calibrate(make_student(teacher, make_scheme("deploy", bits=4)), images).eval()
            settings = FitSettings(iterations=iterations).on(self.device)
            blocks = len(reconstruct(student, teacher, images, settings, Stage()).blocks)

        short, long = self.amount.iterations
        fit(1)  # chooses kernels
        seconds = self._timed(partial(fit, long)) - self._timed(partial(fit, short))
        return {"blocks": blocks, "iterations_per_second": blocks * (long - short) / max(seconds, 1e-9)}

    def _student(self, net: str) -> dict:
        teacher, folder = self._teacher(net), Path(tempfile.mkdtemp())
        labelled = None if self.data is None else self.data.labelled(net, teacher)
        settings = Settings(bits=4, **self.amount.student)
        report = quantize_model(teacher, folder / "run", settings, RunOptions(labelled=labelled)).report
        shutil.rmtree(folder)
        count = None if labelled is None else len(labelled)
        accuracy = None if labelled is None else report["accuracy"]
        return {"method": report["settings"]["method"], "accuracy": accuracy, "labelled": count}

    def _tests(self, _net: str) -> dict:
        look = ["--collect-only"] if self.device.type == "cpu" else []
        command = [sys.executable, "-m", "pytest", str(TESTS), "-n", "0", *look]
        ended = subprocess.run(command, capture_output=True, text=True)
        return {"exit_code": ended.returncode, "said": (ended.stdout.strip().splitlines() or [""])[-1]}


@click.command()
@data_option(required=False)
@out_option("gpu.json")
@click.option("--device", default="cuda", show_default=True, help="Measure this device.")
@click.option("--dry", is_flag=True, help="Run each kind of piece with next to no work on the CPU; keep no result.")
@show_option
@minutes_option
def main(data: Path | None, out: Path, device: str, dry: bool, show: bool, minutes: float | None) -> None:
    """Measures what a GPU does, piece by piece."""
    if not (dry or show or data):
        raise click.UsageError("give --data, or try it with --dry")
    stop_after(minutes)
    rows = [] if dry else read_rows(out)
    if dry:
        torch.set_num_threads(1)
    bench = Bench(None, "cpu", DRY) if dry else Bench(data, device, WHOLE)
    here = hardware(bench.device)
    for piece in () if show else (piece for piece in PIECES if not dry or piece.net not in LARGE):
        if any(asdict(piece).items() <= row.items() and row["hardware"] == here for row in rows):
            continue
        rows.append({**asdict(piece), **bench.measure(piece), "versions": versions(), "hardware": here})
        click.echo(f"{piece.kind} {piece.net}: {rows[-1]['seconds']:.0f} s")
        if not dry:
            write_json(out, rows)
    Console().print(table(rows))


def table(rows: list[dict]) -> Table:
    """Returns the figures of all pieces."""
    view = Table("piece", "network", "figure", "peak MiB", "on")
    for row in rows:
        peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}"
        view.add_row(row["kind"], row["net"], figure(row), peak, row["hardware"]["accelerator"] or "the CPU")
    return view


def figure(row: dict) -> str:
    """Returns the figure of a piece in words."""
    if row["kind"] == "synthesis":
        return f"{row['image_steps_per_second']:,.0f} image steps per second"
    if row["kind"] == "reconstruction":
        return f"{row['iterations_per_second']:,.0f} iterations of a block per second"
    if row["kind"] == "tests":
        return row["said"]
    known = row["accuracy"]
    if known is None:
        return f"{row['method']}, no labelled images"
    found, whole = (100 * known[name] for name in ("onnx", "teacher"))
    return f"{row['method']}: {found:.1f} % of {whole:.1f} % (n = {row['labelled']})"


if __name__ == "__main__":
    main()
