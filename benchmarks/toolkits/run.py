"""Calibrates ONNX Runtime's own `quantize_static` with synthetic images, with noise and with real images.

    python -m benchmarks.toolkits.run --data ../shared/data [--net resnet20] [--count 128] [--threads N]

The files are INT8 (QDQ, uint8 activations, int8 weights per channel), one by each rule of ranges that the tool has. The
program measures their accuracy on labelled images and their agreement with the float file on unlabelled real ones; both
only report. It adds the network to benchmarks/results/toolkits.json.
"""

import json
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.common.image_sets import image_set
from benchmarks.common.nets import NETS, Data
from benchmarks.common.options import data_option, threads_option
from dfq.calibration.adapters import CalibrationReader
from dfq.calibration.stored_images import StoredImages
from dfq.export import export_float_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.images.batch import Batch
from dfq.results.report import hardware, versions
from dfq.teacher import Teacher

RESULTS = Path("benchmarks/results/toolkits.json")
RULES = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "entropy": quantization.CalibrationMethod.Entropy,
    "percentile": quantization.CalibrationMethod.Percentile,
}
REAL = 2000  # the number of unlabelled real images for agreement
SHOWN = ("float", "synthetic", "noise", "real")


def sources(data: Data, net: str, teacher: Teacher, count: int) -> dict[str, Batch]:
    """Returns the images to calibrate with, by name; noise has pixels that are drawn evenly."""
    pixels = torch.rand(count, *teacher.input_spec.size, generator=torch.Generator().manual_seed(0))
    return {
        "synthetic": image_set(teacher, net, count),
        "noise": Batch(teacher.input_spec.normalize(pixels)),
        "real": data.real(net, teacher, count),
    }


def quantize_statically(float_path: Path, path: Path, batch: Batch, teacher: Teacher, rule: str) -> Path:
    """Writes the INT8 file of a float file by ONNX Runtime's tool."""
    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(str(float_path), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(path),
        CalibrationReader(StoredImages.from_batch(batch, teacher.input_spec), batch_size=16),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=RULES[rule],
    )
    return path


def answers(path: Path, images: Tensor, threads: int) -> np.ndarray:
    """Returns the class that a file gives each image."""
    return Engine(path, threads).run(images).argmax(1)


def measure(data: Data, net: str, count: int, threads: int) -> dict:
    """Measures accuracy and agreement by rule and source of images, and the accuracy of the float file."""
    teacher = data.teacher(net)
    labelled = data.labelled(net, teacher)
    pixels = torch.from_numpy(labelled.images).permute(0, 3, 1, 2).float() / 255
    test, real = teacher.input_spec.normalize(pixels), data.real(net, teacher, REAL).images
    with tempfile.TemporaryDirectory() as folder:
        float_path = export_float_onnx(teacher.model, Path(folder) / "float.onnx", teacher.input_spec)
        reference = answers(float_path, real, threads)
        rows: dict[str, dict] = {rule: {} for rule in RULES}
        for source, batch in sources(data, net, teacher, count).items():
            for rule in RULES:
                path = quantize_statically(float_path, Path(folder) / f"{source}-{rule}.onnx", batch, teacher, rule)
                rows[rule][source] = {
                    "accuracy": float((answers(path, test, threads) == labelled.labels).mean()),
                    "agreement": float((answers(path, real, threads) == reference).mean()),
                }
        accuracy = float((answers(float_path, test, threads) == labelled.labels).mean())
    return {"images": count, "float": accuracy, "real_images": len(real), "rules": rows}


def show(results: dict[str, dict]) -> None:
    """Prints the table of all networks."""
    table = Table(title="quantize_static: accuracy (agreement with the float file on real images), %")
    for column in ("network", "ranges", *SHOWN):
        table.add_column(column, justify="right" if column in SHOWN else "left")
    for net, found in results.items():
        for rule, row in found["rules"].items():
            cells = [f"{100 * row[s]['accuracy']:.1f} ({100 * row[s]['agreement']:.1f})" for s in SHOWN[1:]]
            table.add_row(net, rule, f"{100 * found['float']:.1f}", *cells)
    Console().print(table)


@click.command()
@data_option()
@click.option(
    "--net",
    type=click.Choice(list(NETS)),
    multiple=True,
    default=["resnet20"],
    show_default=True,
    help="Quantize this network; the option may be given more than once.",
)
@click.option("--count", default=128, show_default=True, help="Calibrate with that many images.")
@threads_option
def main(data: Path, net: tuple[str, ...], count: int, threads: int) -> None:
    """Calibrates ONNX Runtime's own `quantize_static` with synthetic images, with noise and with real images."""
    torch.set_num_threads(threads)
    content = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"networks": {}}
    for name in net:
        content["networks"][name] = measure(Data(data), name, count, threads)
        content |= {"versions": versions(), "hardware": hardware(torch.device("cpu"))}
        RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    show(content["networks"])


if __name__ == "__main__":
    main()
