"""Measures how long the files of a network take: in one pass over the lowered network, and by torch's exporter.

    python -m benchmarks.speed.export [--rounds 3] [--threads 1]

Both ways alternate in one process, for the student and for its float twin; the results are medians of processor seconds
over the rounds. Outputs of both files are compared in ONNX Runtime on random images. Weights are random.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmarks.common.options import out_option, threads_option
from dfq.export import export_float_onnx, export_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.writing.write import write_directly
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import build
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.teacher import Teacher

ARCHITECTURES = (
    "torchvision/resnet18", "torchvision/resnet50", "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_large",
    "timm/tf_efficientnet_lite0", "torchvision/densenet121", "torchvision/convnext_tiny",
)  # fmt: skip
SPEC = InputSpec(size=(3, 224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
IMAGES = 3


def measure(arch: str, rounds: int, folder: Path) -> dict:
    """Returns the median seconds of both ways for both files, and how far outputs are apart."""
    torch.manual_seed(0)
    teacher, images = Teacher(build(arch), SPEC), torch.randn(IMAGES, *SPEC.size)
    student = calibrate(make_student(teacher, make_scheme()), images).eval()
    round_biases_to_kernel_grid(student)
    files: dict[str, Callable[[Path], Path]] = {
        "student": lambda path: export_onnx(student, path, SPEC),
        "float": lambda path: export_float_onnx(teacher.model, path, SPEC),
    }
    row: dict = {"arch": arch}
    for name, write in files.items():
        seconds: dict[str, list[float]] = {"direct": [], "traced": []}
        written: list[bool] = []
        paths = {way: folder / f"{way}.onnx" for way in seconds}
        for _ in range(rounds):
            seconds["direct"].append(_timed(write, paths["direct"], _noting(written)))
            seconds["traced"].append(_timed(write, paths["traced"], lambda *args, **keywords: None))
        outputs = [np.concatenate([each.ravel() for each in _run(path, images)]) for path in paths.values()]
        row[name] = {way: median(each) for way, each in seconds.items()} | {
            "is_direct": all(written), "largest_difference": float(np.abs(outputs[0] - outputs[1]).max())
        }  # fmt: skip
    return row


def _noting(written: list[bool]) -> Callable:
    def write(*args, **keywords):
        model = write_directly(*args, **keywords)
        written.append(model is not None)
        return model

    return write


def _timed(write: Callable[[Path], Path], path: Path, way: Callable) -> float:
    with patch("dfq.export.to_onnx.write_directly", way):
        start = time.process_time()
        write(path)
        return time.process_time() - start


def _run(path: Path, images: torch.Tensor) -> list[np.ndarray]:
    found = Engine(path).run(images)
    return list(found) if isinstance(found, (list, tuple)) else [found]


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Measure that many rounds.")
@threads_option
@out_option("export.json", reads=False)
def main(rounds: int, threads: int, out: Path) -> None:
    """Measures how long writing both files takes in either way."""
    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        rows = []
        for arch in ARCHITECTURES:
            rows.append(measure(arch, rounds, Path(folder)))
            click.echo(f"{arch:30} {rows[-1]['student']} {rows[-1]['float']}")
    write_json(out, {"rows": rows, "rounds": rounds, "versions": versions(), "hardware": hardware(torch.device("cpu"))})


if __name__ == "__main__":
    main()
