"""Takes the census: measures what becomes of many architectures at 8 bits, a row for each.

    python -m benchmarks.zoo.run LIST [--out benchmarks/results/zoo.json] [--files [SECONDS]] [--only NAME …]

LIST is a file of names, one a line (`torchvision/resnet18`, `timm/vit_tiny_patch16_224`), such as
benchmarks/zoo/names.txt. Each network has random weights and runs in a process of its own; a row that is there already
is not measured again. A row has the seconds of the capture (which compares the captured graph with the module on 1, 2
and 5 random images, or refuses), the part of the multiply–accumulates of layers that runs on integers for `ort-cpu`,
the same with every choice for the sake of speed switched off, and the parts in floating point by reason. With --files
it also has the sizes of both files, and how often the 8-bit file in ONNX Runtime answers as its student does on 16
random images; with a number of seconds, only networks whose capture took no longer have these. `table.py` writes the
rows as a table.
"""

import argparse
import json
import multiprocessing
import time
import traceback
from dataclasses import replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.zoo.table import summary
from dfq.export import ComparedImages, ExportedFiles, ValidationSettings, export_float_onnx, export_onnx, validate
from dfq.graph.capture.capture import random_images
from dfq.images.input_spec import InputSpec
from dfq.models.registry import build, published_input_spec
from dfq.quantizers import targets
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.coverage import measure_coverage
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.student.settings import CalibrationSettings
from dfq.system.atomic_files import replacing
from dfq.teacher import Teacher

SECONDS = 600  # for one network
IMAGES = 16  # to calibrate with, and to compare answers on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("list", type=Path, help="Read the names of the networks here, one a line.")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/zoo.json"), help="Read and write the rows here."
    )
    parser.add_argument(
        "--files",
        nargs="?",
        type=float,
        const=inf,
        default=0.0,
        metavar="SECONDS",
        help="Write and compare the files, too, if the capture took no longer than that.",
    )
    parser.add_argument("--only", nargs="*", metavar="NAME", help="Measure these networks alone.")
    options = parser.parse_args()
    torch.set_num_threads(1)  # before the first fork
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.list.read_text().split():
        if options.only and name not in options.only:
            continue
        row = rows.get(name, {})
        lacks_files = "seconds" in row and row["files"] is None and row["seconds"] <= options.files
        if not row or lacks_files:
            rows[name] = _in_a_process(name, options.files)
            print(name, json.dumps(rows[name]), flush=True)
            with replacing(options.out) as temporary:
                temporary.write_text(json.dumps(rows, indent=1) + "\n")
    print(summary(rows))


def _in_a_process(name: str, files: float) -> dict:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_measure_into, args=(name, files, results))
    process.start()
    try:
        return results.get(timeout=SECONDS)
    except Exception:
        return {"refused": f"no answer within {SECONDS} s"}
    finally:
        process.kill()
        process.join()


def _measure_into(name: str, files: float, results) -> None:
    try:
        results.put(measure(name, files))
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        results.put(
            {"refused": f"{type(error).__name__}: {str(error)[:300]} ({Path(frame.filename).name}:{frame.lineno})"}
        )


def measure(name: str, files: float) -> dict:
    """Returns the row of a network, with its files where the capture took at most `files` seconds."""
    torch.manual_seed(0)
    model = build(name).eval()
    spec = published_input_spec(name)
    assert isinstance(spec, InputSpec)
    start = time.monotonic()
    teacher = Teacher(model, spec)
    seconds = time.monotonic() - start
    student = make_student(teacher, make_scheme("deploy", bits=8))
    coverage = measure_coverage(student)
    return {
        "seconds": round(seconds, 1),
        "share": round(coverage.share_of_macs, 4),
        "share_of_weights": round(coverage.share_of_weights, 4),
        "share_all": round(_share_without_choices(teacher), 4),
        "in_float": {reason: round(share, 4) for reason, share in coverage.float_shares().items()},
        "not_recognised": coverage.not_recognised,
        "files": eight_bit_files(teacher, student, spec) if seconds <= files else None,
    }


def _share_without_choices(teacher: Teacher) -> float:
    default = targets.TARGETS[targets.DEFAULT_TARGET]
    targets.TARGETS[targets.DEFAULT_TARGET] = replace(default, min_products=0)
    try:
        return measure_coverage(make_student(teacher, make_scheme("deploy", bits=8))).share_of_macs
    finally:
        targets.TARGETS[targets.DEFAULT_TARGET] = default


def eight_bit_files(teacher: Teacher, student, spec: InputSpec) -> dict:
    """Returns what is found of the 8-bit file and its float twin on random images."""
    images = random_images(student, spec, IMAGES)
    calibrate(student.eval(), images, ranges="minmax", settings=CalibrationSettings(batch_size=4))
    round_biases_to_kernel_grid(student)
    with TemporaryDirectory() as folder:
        file = export_onnx(student, Path(folder) / "model.onnx", spec)
        twin = export_float_onnx(teacher.model, Path(folder) / "float.onnx", spec)
        files = ExportedFiles(file, twin, is_classifier=teacher.is_classifier)
        found = validate(files, student, ComparedImages(images), teacher, ValidationSettings(threads=1))
    size = found.size_bytes
    return {
        "size_ratio": round(size["onnx"] / size["float_onnx"], 4),
        "agreement": found.agreement["onnx_student"]["synthetic"],
        "error_steps": round(found.error_steps["max"], 3),
        "snr_db": min(row.snr_db["onnx_teacher"]["synthetic"] for row in found.outputs),
    }


if __name__ == "__main__":
    main()
