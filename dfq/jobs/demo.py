"""`dfq demo`: the whole job in a minute, on scikit-learn's handwritten digits.

A small teacher is trained on real digits and saved; from there on nothing but the checkpoint is used, by the very
pipeline that `dfq quantize` runs. The held-out digits are opened once, at the end, to report.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dfq.checkpoint import save_checkpoint
from dfq.export import validate
from dfq.images.augment import Augment
from dfq.images.labelled import Labelled
from dfq.jobs.quantize.run import quantize
from dfq.models.registry import DIGITS_INPUT, build
from dfq.results.load_run import load_run
from dfq.results.run_folder import RunFolder
from dfq.system.output_paths import check_folder, make_folder
from dfq.system.progress import Progress, Silent
from dfq.teacher.load import load_teacher

ARCH = "dfq/digits_cnn"
HELD_OUT, SPLIT_SEED = 0.3, 2024  # one split for every seed: runs differ in training, not in what is asked
EPOCHS, BATCH_SIZE, PEAK_RATE = 30, 64, 0.01
WIDTHS = {"INT8": 8, "W4A4": 4}
IMAGES, STEPS = {8: 256, 4: 512}, {8: 100, 4: 400}  # 8×8 pixels need less than the defaults


@dataclass(frozen=True)
class DemoRow:
    """One network of the demo, measured on the held-out digits.

    Attributes:
        name: "teacher", or a key of `WIDTHS`.
        accuracy: of the ONNX file in ONNX Runtime (teacher: of the float network), a fraction.
        size_bytes, latency_ms: of its ONNX file; latency is the median at batch 1.
        agreement: top-1 agreement of ONNX file and fake-quantized student; None for the teacher.
        seconds: that its making took.
    """

    name: str
    accuracy: float
    size_bytes: int
    latency_ms: float
    agreement: float | None
    seconds: float


@dataclass(frozen=True)
class DemoResult:
    """The teacher's row, then one for each of `WIDTHS`; `images` held-out digits were asked."""

    rows: list[DemoRow]
    images: int


def run_demo(
    folder: str | Path, *, seed: int = 0, overwrite: bool = False, progress: Progress | None = None
) -> DemoResult:
    """Trains, forgets, quantizes twice, reports; writes `teacher.pt` and the run folders `int8/` and `w4a4/`.

    Raises:
        DfqError: the folder holds files already (unless `overwrite`), or cannot be written to.
    """
    folder, progress = Path(folder), progress or Silent()
    checkpoint = folder / "teacher.pt"
    check_folder(folder, overwrite=overwrite)
    make_folder(folder)
    start = time.monotonic()
    save_teacher(checkpoint, seed, progress)  # returns nothing: the digits and the network are gone
    seconds = {"teacher": time.monotonic() - start}
    for name, bits in WIDTHS.items():
        images, steps = IMAGES[bits], STEPS[bits]
        command = f"dfq quantize teacher.pt --bits {bits} --no-flip --images {images} --steps {steps} --seed {seed}"
        progress.note(f"{name}: {command}")
        result = quantize(
            checkpoint, out=folder / name.lower(), bits=bits, flip=False, images=images, steps=steps, seed=seed,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
        seconds[name] = result.report["seconds"]["total"]
    return _report(folder, checkpoint, seconds)


def digits(part: str) -> Labelled:
    """The "training" or the "held-out" digits, (N, 8, 8, 1) uint8."""
    from sklearn.datasets import load_digits  # takes seconds to import, and only the demo needs it
    from sklearn.model_selection import train_test_split

    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    parts = train_test_split(
        pixels, found.target.astype(np.int64), test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=found.target
    )
    which = ("training", "held-out").index(part)
    return Labelled(parts[which], parts[2 + which])


def normalized(labelled: Labelled) -> torch.Tensor:
    """Network input (N, 1, 8, 8)."""
    return DIGITS_INPUT.normalize(torch.from_numpy(labelled.images).permute(0, 3, 1, 2).float() / 255)


def save_teacher(checkpoint: Path, seed: int, progress: Progress) -> None:
    """Trains a teacher on the training digits and writes its checkpoint, the only thing that remains of them."""
    training = digits("training")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(ARCH)
        _train(model, normalized(training), torch.from_numpy(training.labels), seed, progress)
    save_checkpoint(checkpoint, model, ARCH, DIGITS_INPUT)


def _train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int, progress: Progress) -> None:
    generator, shift = torch.Generator().manual_seed(seed), Augment(flip=False, shift=1)
    steps = EPOCHS * (len(images) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    model.train()
    with progress.task("Training the teacher", steps) as task:
        for _ in range(steps):
            index = torch.randint(len(images), (BATCH_SIZE,), generator=generator)
            loss = nn.functional.cross_entropy(model(shift(images[index], generator)), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            task.advance(1, loss=loss.item())
    model.eval()


def _report(folder: Path, checkpoint: Path, seconds: dict[str, float]) -> DemoResult:
    """The held-out digits are opened here, and only here."""
    held_out = digits("held-out")
    images, teacher = normalized(held_out), load_teacher(checkpoint)
    rows: list[DemoRow] = []
    for name in WIDTHS:
        run = RunFolder(folder / name.lower())
        found = validate(
            run.onnx, load_run(run.path), images, teacher=teacher, float_path=run.float_onnx, labelled=held_out
        ).to_dict()  # fmt: skip
        if not rows:
            rows.append(_row("teacher", found, "float_onnx", seconds))
        rows.append(_row(name, found, "onnx", seconds))
    return DemoResult(rows, len(held_out))


def _row(name: str, found: dict, file: str, seconds: dict[str, float]) -> DemoRow:
    is_teacher = name == "teacher"
    return DemoRow(
        name=name,
        accuracy=found["accuracy"]["teacher" if is_teacher else "onnx"],
        size_bytes=found["size_bytes"][file],
        latency_ms=found["latency_ms"][file],
        agreement=None if is_teacher else found["agreement"]["onnx_student"]["labelled"],
        seconds=seconds[name],
    )
