"""Accuracy of the main job on real checkpoints, cell by cell; a finished cell is never run again.

    python benchmarks/accuracy.py --data ../shared/data [--out benchmarks/results/accuracy.json]

One set of synthetic images per network and seed serves all of its cells; each cell's seconds include their synthesis.
Real images are opened to report, but for the cells whose `images` are "real": the ceiling, the same quantizer, steps
and schedule on 10,000 training images. The student is the one that held-out synthetic images chose.
"""

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from dfq.batch import Batch
from dfq.checkpoint import load_checkpoint
from dfq.labelled import Labelled, read_labelled
from dfq.pipeline import quantize_model, synthesize
from dfq.report import hardware, versions
from dfq.run_folder import write_json
from dfq.settings import Settings
from dfq.teacher import Teacher

CHECKPOINTS = {"resnet20": "cifar10/resnet20.th", "resnet56": "cifar10/resnet56.th"}
# Three times the work of ResNet-20 in twice its time: half of the images.
OWN_SETTINGS: dict[str, dict[str, int]] = {"resnet20": {}, "resnet56": {"images": 512}}


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    net: str
    scheme: str
    bits: int
    seed: int
    images: str = "synthetic"

    def name(self) -> str:
        return f"{self.net} W{self.bits}A{self.bits} {self.scheme} seed {self.seed} {self.images}"


FORMATS = (("paper-qat", 3), ("deploy", 4), ("paper-qat", 4), ("deploy", 8))
CELLS = [
    *(Cell("resnet20", scheme, bits, 0) for scheme, bits in FORMATS),
    *(Cell("resnet20", "paper-qat", bits, 0, "real") for bits in (3, 4)),
    *(Cell("resnet20", scheme, bits, 1) for scheme, bits in FORMATS),
    *(Cell("resnet56", scheme, bits, 0) for scheme, bits in reversed(FORMATS)),
    *(Cell("resnet20", scheme, bits, 2) for scheme, bits in FORMATS),
]


class Bench:
    """Teachers, labelled images and synthetic images, each loaded or made once."""

    def __init__(self, data: Path):
        self.data = data
        self._images: dict[tuple[str, int], tuple[Batch, float]] = {}

    def teacher(self, net: str) -> Teacher:
        loaded = load_checkpoint(self.data / CHECKPOINTS[net], arch=f"dfq/{net}")
        return Teacher(loaded.model, loaded.input_spec)

    def labelled(self, teacher: Teacher) -> Labelled:
        return read_labelled(self.data / "cifar10/test_1000.npz", teacher.input_spec, teacher.num_classes)

    def real(self, teacher: Teacher) -> Batch:
        pixels = np.load(self.data / "cifar10/train_10000.npz", allow_pickle=False)["images"]
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        return Batch(teacher.input_spec.normalize(images))

    def images(self, cell: Cell, teacher: Teacher) -> tuple[Batch, float]:
        """(images of the cell, seconds that making them took)."""
        if cell.images == "real":
            return self.real(teacher), 0.0
        key = (cell.net, cell.seed)
        if key not in self._images:
            start = time.monotonic()
            batch, _ = synthesize(teacher, Settings(bits=4, seed=cell.seed, **OWN_SETTINGS[cell.net]))
            self._images[key] = batch, time.monotonic() - start
        return self._images[key]

    def images_of(self, cell: Cell, teacher: Teacher) -> tuple[Batch, float]:
        """As `images`; 8 bits take the first 256, their default, which the same seed makes alone, and their share."""
        batch, seconds = self.images(cell, teacher)
        if cell.bits < 8 or cell.images == "real":
            return batch, seconds
        count = min(Settings(bits=8).image_count(teacher.input_spec), len(batch))
        return batch.pick(torch.arange(count)), seconds * count / len(batch)

    def run(self, cell: Cell) -> dict:
        teacher = self.teacher(cell.net)
        batch, synthesis = self.images_of(cell, teacher)
        own = {} if cell.bits == 8 else OWN_SETTINGS[cell.net]  # 8 bits have their own, smaller default
        settings = Settings(bits=cell.bits, scheme=cell.scheme, seed=cell.seed, **own)
        with tempfile.TemporaryDirectory() as folder:
            result = quantize_model(
                teacher, folder, settings, arch=f"dfq/{cell.net}", labelled=self.labelled(teacher), batch=batch
            )
        report = result.report
        seconds = {**report["seconds"], "synthesis": synthesis, "total": report["seconds"]["total"] + synthesis}
        kept = ("accuracy", "agreement", "size_bytes", "latency_ms", "nodes", "settings", "training")
        return {**asdict(cell), **{key: report[key] for key in kept}, "seconds": seconds,
                "train_agreement": self.train_agreement(teacher, result.student),
                "versions": versions(), "hardware": hardware(teacher.device)}  # fmt: skip

    @torch.no_grad()
    def train_agreement(self, teacher: Teacher, student: torch.nn.Module) -> float:
        """Top-1 agreement of student and teacher on the 10,000 real training images: small error bars, no labels."""
        batches = self.real(teacher).images.split(500)
        same = sum(int((student(b).argmax(1) == teacher(b).argmax(1)).sum()) for b in batches)
        return same / sum(len(b) for b in batches)


def table(rows: list[dict]) -> Table:
    view = Table(
        title="Data-free accuracy, CIFAR-10 (1000 test images)",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in ("network, format, scheme", "images", "seeds", "teacher", "ONNX", "drop", "agree", "s"):
        view.add_column(column, justify="left" if column.startswith(("net", "im")) else "right", no_wrap=True)
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["net"], row["scheme"], row["bits"], row["images"]), []).append(row)
    for (net, scheme, bits, images), group in groups.items():
        accuracy = np.array([row["accuracy"]["onnx"] for row in group]) * 100
        teacher = group[0]["accuracy"]["teacher"] * 100
        agreement = np.mean([row["train_agreement"] for row in group]) * 100
        spread = f"±{accuracy.std(ddof=1):.1f}" if len(group) > 1 else ""
        seconds = np.mean([row["seconds"]["total"] for row in group])
        view.add_row(
            f"{net} W{bits}A{bits} {scheme}", images, str(len(group)), f"{teacher:.1f}",
            f"{accuracy.mean():.1f}{spread}", f"{teacher - accuracy.mean():.1f}", f"{agreement:.1f}", f"{seconds:.0f}",
        )  # fmt: skip
    return view


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/accuracy.json"))
@click.option("--only", default="", help="run the cells whose name contains this text")
@click.option("--show", is_flag=True, help="print the table of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, out: Path, only: str, show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console, rows = Console(), json.loads(out.read_text()) if out.exists() else []
    done = {Cell(**{key: row[key] for key in Cell.__dataclass_fields__}) for row in rows}
    bench = Bench(data)
    for cell in () if show else [c for c in CELLS if c not in done and only in c.name()]:
        row = bench.run(cell)
        rows.append(row)
        write_json(out, rows)
        console.print(f"{cell.name()}: {row['accuracy']}, {row['seconds']['total']:.0f} s")
    console.print(table(rows))


if __name__ == "__main__":
    main()
