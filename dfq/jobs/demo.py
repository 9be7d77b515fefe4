"""`dfq demo` does the whole job in a minute, on scikit-learn's handwritten digits.

A small teacher is trained on real digits and saved. From then on the job that `dfq quantize` runs uses nothing but the
checkpoint. The held-out digits are opened once, at the end, to report.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from dfq.checkpoint import save_checkpoint
from dfq.export import ComparedImages, validate
from dfq.images.augment import Augment
from dfq.images.labelled import Labelled
from dfq.jobs.quantize.run import quantize
from dfq.models.registry import DIGITS_INPUT, build
from dfq.results.load_run import load_run
from dfq.results.run_folder import RunFolder
from dfq.system.output_paths import check_folder
from dfq.system.progress import Progress, Silent
from dfq.system.run_lock import writing_alone
from dfq.teacher.load import load_teacher

ARCH = "dfq/digits_cnn"
WIDTHS = {"INT8": 8, "W4A4": 4}


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How the demo trains its teacher and quantizes it.

    Attributes:
        held_out: Share of the digits that is opened once, at the end, in [0, 1].
        split_seed: Seed of the one split that all runs share, so that they differ in training and not in the questions.
        epochs: Number of passes of the teacher's training over the other digits.
        batch_size: Number of images in one training step of the teacher.
        peak_rate: Largest learning rate of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        shift: Largest shift of the digits while the teacher learns, in pixels.
        images: Number of synthetic images, by bits; images of 8×8 pixels need fewer than the defaults.
        steps: Number of training steps of the student, by bits.
    """

    held_out: float = 0.3
    split_seed: int = 2024
    epochs: int = 30
    batch_size: int = 64
    peak_rate: float = 0.01
    weight_decay: float = 0.01
    shift: int = 1
    images: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({8: 256, 4: 512}))
    steps: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({8: 100, 4: 400}))


DEMO_SETTINGS = DemoSettings()


@dataclass(frozen=True)
class DemoRow:
    """One network of the demo, measured on the held-out digits.

    Attributes:
        name: "teacher", or a key of `WIDTHS`.
        accuracy: Top-1 accuracy of the ONNX file in ONNX Runtime, or of the teacher in torch, in [0, 1].
        size_bytes: Size of the ONNX file, in bytes.
        latency_ms: Median latency of the ONNX file at batch 1, in milliseconds.
        agreement: Top-1 agreement of the ONNX file with the fake-quantized student, in [0, 1]; None for the teacher.
        seconds: Seconds that it took to make the network.
    """

    name: str
    accuracy: float
    size_bytes: int
    latency_ms: float
    agreement: float | None
    seconds: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured.

    Attributes:
        rows: The row of the teacher, and one for each of `WIDTHS`.
        images: Number of held-out digits.
    """

    rows: list[DemoRow]
    images: int


def run_demo(
    folder: str | Path, *, seed: int = 0, overwrite: bool = False, progress: Progress | None = None
) -> DemoResult:
    """Trains a teacher, forgets the digits, quantizes the teacher twice, and measures all three networks.

    Writes `teacher.pt` and the run folders `int8/` and `w4a4/`.

    Args:
        folder: The folder to write.
        seed: Seed of every random draw.
        overwrite: Whether the demo that the folder holds may be replaced.
        progress: Where progress is reported; None: nowhere.

    Raises:
        DfqError: The folder holds files already and `overwrite` is False, or it cannot be written to.
    """
    folder, progress = Path(folder), progress or Silent()
    check_folder(folder, overwrite=overwrite)
    with writing_alone(folder):
        return _run(folder, seed, overwrite, progress)


def _run(folder: Path, seed: int, overwrite: bool, progress: Progress) -> DemoResult:
    checkpoint, start = folder / "teacher.pt", time.monotonic()
    save_teacher(checkpoint, seed, progress)  # It returns nothing, so the digits and the network are gone.
    seconds = {"teacher": time.monotonic() - start}
    for name, bits in WIDTHS.items():
        images, steps = DEMO_SETTINGS.images[bits], DEMO_SETTINGS.steps[bits]
        command = f"dfq quantize teacher.pt --bits {bits} --no-flip --images {images} --steps {steps} --seed {seed}"
        progress.note(f"{name}: {command}")
        result = quantize(
            checkpoint, out=folder / name.lower(), bits=bits, flip=False, images=images, steps=steps, seed=seed,
            overwrite=overwrite, progress=progress,
        )  # fmt: skip
        seconds[name] = result.report["seconds"]["total"]
    return _report(folder, checkpoint, seconds)


def digits(part: str) -> Labelled:
    """Returns the "training" or the "held-out" digits, uint8 (N, 8, 8, 1)."""
    from sklearn.datasets import load_digits  # The import takes seconds, and only the demo needs it.
    from sklearn.model_selection import train_test_split

    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)[..., None]
    parts = train_test_split(
        pixels,
        found.target.astype(np.int64),
        test_size=DEMO_SETTINGS.held_out,
        random_state=DEMO_SETTINGS.split_seed,
        stratify=found.target,
    )
    which = ("training", "held-out").index(part)
    return Labelled(parts[which], parts[2 + which])


def normalized(labelled: Labelled) -> torch.Tensor:
    """Returns the network's input, (N, 1, 8, 8)."""
    return DIGITS_INPUT.normalize(torch.from_numpy(labelled.images).permute(0, 3, 1, 2).float() / 255)


def save_teacher(checkpoint: Path, seed: int, progress: Progress) -> None:
    """Trains a teacher on the training digits and writes its checkpoint, which is all that remains of them."""
    training = digits("training")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(ARCH)
        _train(model, normalized(training), torch.from_numpy(training.labels), seed, progress)
    save_checkpoint(checkpoint, model, ARCH, DIGITS_INPUT)


def _train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int, progress: Progress) -> None:
    generator, shift = torch.Generator().manual_seed(seed), Augment(flip=False, shift=DEMO_SETTINGS.shift)
    steps = DEMO_SETTINGS.epochs * (len(images) // DEMO_SETTINGS.batch_size)
    rate, decay = DEMO_SETTINGS.peak_rate, DEMO_SETTINGS.weight_decay
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    model.train()
    with progress.task("Training the teacher", steps) as task:
        for _ in range(steps):
            index = torch.randint(len(images), (DEMO_SETTINGS.batch_size,), generator=generator)
            loss = nn.functional.cross_entropy(model(shift(images[index], generator)), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            task.advance(1, loss=loss.item())
    model.eval()


def _report(folder: Path, checkpoint: Path, seconds: dict[str, float]) -> DemoResult:
    """Measures all networks on the held-out digits, which are opened here and nowhere else."""
    held_out = digits("held-out")
    images, teacher = normalized(held_out), load_teacher(checkpoint)
    rows: list[DemoRow] = []
    for name in WIDTHS:
        run = RunFolder(folder / name.lower())
        found = validate(run.files, load_run(run.path), ComparedImages(images, held_out), teacher).to_dict()
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
