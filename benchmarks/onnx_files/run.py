"""Reads ONNX files of several exporters and makes 8-bit files of them; a file that has a row is not read again.

    python -m benchmarks.onnx_files.run [--only NAME …] [--files FOLDER]

Networks of torchvision and timm with random weights are exported by torch's old exporter (`dynamo=False`) for opset 11,
13 and 17, for any number of images and for one, and by today's exporter for opset 20. `--files` adds the ONNX files in
a folder. A row has the largest difference between the network as dfq reads it and the file in ONNX Runtime on four
images (noise, and two with text, because noise leaves readers of text silent), as a part of the largest output; the
part of the multiply–accumulates on integers; and how often the 8-bit file answers as its student does, and its
signal-to-noise ratio in dB, on 16 random images.
"""

import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from benchmarks.common.options import out_option, show_option, threads_option
from benchmarks.zoo.run import eight_bit_files
from dfq.errors import DfqError
from dfq.graph.outputs import as_tuple
from dfq.images.input_spec import InputSpec
from dfq.models.onnx_file.read import image_size, read_onnx
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import OriginalFile
from dfq.models.registry import build, published_input_spec
from dfq.quantizers.scheme import make_scheme
from dfq.results.report import hardware, versions
from dfq.results.stored_files import read_json, write_json
from dfq.student.convert import make_student
from dfq.student.coverage import measure_coverage
from dfq.teacher import Teacher

NETWORKS = (
    "torchvision/resnet18", "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_small", "torchvision/densenet121",
    "torchvision/shufflenet_v2_x0_5", "torchvision/googlenet", "torchvision/convnext_tiny", "torchvision/swin_t",
    "timm/efficientnet_b0", "timm/vit_tiny_patch16_224",
)  # fmt: skip
FORMS = (("old", 11, True), ("old", 13, True), ("old", 17, True), ("old", 17, False), ("new", 20, True))
IMAGES = 2  # of each kind
OPEN = (3, 48, 192)  # size of the images, where a file leaves it open
SIZES = {"ch_PP-OCRv4_det_infer.onnx": (3, 96, 192)}  # of files that need another one


@click.command()
@out_option("onnx_files.json")
@click.option("--only", multiple=True, help="Read this network or file alone; the option may be given more than once.")
@click.option("--files", type=click.Path(exists=True, path_type=Path), help="Read the ONNX files of this folder, too.")
@show_option
@threads_option
def main(out: Path, only: tuple[str, ...], files: Path | None, show: bool, threads: int) -> None:
    """Reads ONNX files of several exporters and makes 8-bit files of them."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")
    rows = read_json(out)["rows"] if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in () if show else _sources(Path(folder), files, only, rows):
            rows[name] = measure(path) if isinstance(path, Path) else {"not_exported": path}
            print(name, json.dumps(rows[name]), flush=True)
            write_json(out, {"rows": rows, "versions": versions(), "hardware": hardware(torch.device("cpu"))})
    Console().print(table(rows))


def _sources(folder: Path, files: Path | None, only: tuple[str, ...], rows: dict) -> Iterator[tuple[str, Path | str]]:
    """Yields the name of each row that is missing, and its file, or the reason why there is none."""
    for network in NETWORKS:
        for exporter, opset, is_open in FORMS:
            name = f"{network} {exporter} {opset}{'' if is_open else ' one image'}"
            if name not in rows and (not only or network in only):
                yield name, _exported(network, folder / "model.onnx", exporter, opset, is_open)
    for path in sorted(files.rglob("*.onnx")) if files else ():
        if path.name not in rows and (not only or path.name in only):
            yield path.name, path


def _exported(network: str, path: Path, exporter: str, opset: int, is_open: bool) -> Path | str:
    torch.manual_seed(0)
    model, spec = build(network).eval(), published_input_spec(network)
    assert spec is not None
    images = torch.zeros(2 if is_open else 1, *spec.size)
    try:
        if exporter == "old":
            axes = {"images": {0: "n"}} if is_open else None
            torch.onnx.export(
                model,
                (images,),
                str(path),
                opset_version=opset,
                dynamo=False,
                dynamic_axes=axes,
                input_names=["images"],
            )
        else:
            shapes = ({0: torch.export.Dim.DYNAMIC},)
            program = torch.onnx.export(
                model, (images,), opset_version=opset, dynamo=True, dynamic_shapes=shapes, verbose=False
            )
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:  # what an exporter refuses
        return (str(error).splitlines() or [type(error).__name__])[0][:120]
    return path


def measure(path: Path) -> dict:
    """Returns the row of a file."""
    start = time.monotonic()
    try:
        file = read_onnx_file(path)
        is_sized = None not in file.shape[1:]
        found, channels_last = image_size(file, None if is_sized else SIZES.get(path.name, OPEN))
        network = read_onnx(path, found)
        seconds = time.monotonic() - start
        generator = torch.Generator().manual_seed(7)
        images = torch.cat([torch.rand(IMAGES, *found, generator=generator), written(found)])
        pairs = list(
            zip(as_tuple(network(images)), OriginalFile(file, channels_last=channels_last)(images), strict=True)
        )
        spec = InputSpec(size=found, mean=(0.5,) * found[0], std=(0.5,) * found[0])
        teacher = Teacher(network, spec)
        student = make_student(teacher, make_scheme(bits=8))
        return {
            "opset": file.opset,
            "nodes": len(file.graph.node),
            "seconds": round(seconds, 1),
            "difference": max(map(_difference, pairs)),
            "outputs": [list(output.shape) for output in teacher.outputs],
            "share": round(measure_coverage(student).share_of_macs, 4),
            **eight_bit_files(teacher, student, spec),
        }
    except DfqError as error:
        return {"refused": error.found.replace(str(path), path.name)}


def written(size: tuple[int, int, int]) -> torch.Tensor:
    """Returns two images (2, C, H, W) from −1 to 1: black text on white, and white on black."""
    page = Image.new("L", (size[2], size[1]), 255)
    draw = ImageDraw.Draw(page)
    for line in range(0, size[1], 40):
        draw.text((4, line + 4), "data free 2026", fill=0, font_size=24)
    pixels = torch.from_numpy(np.asarray(page)).float() / 127.5 - 1
    return torch.stack([pixels, -pixels])[:, None].repeat(1, size[0], 1, 1)


def _difference(pair: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Returns the largest difference of an output and the file's, as a part of the largest value."""
    found, expected = pair
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9))


def table(rows: dict) -> Table:
    """Returns the rows for a terminal."""
    view = Table("file", "difference", "on integers", "size", "file = student", "SNR, dB", "seconds")
    for name, row in rows.items():
        reason = row.get("refused") or row.get("not_exported")
        cells = (reason, "", "", "", "", "") if reason else (
            f"{row['difference']:.1e}", f"{row['share']:.1%}", f"{row['size_ratio']:.2f}×", _percent(row["agreement"]),
            f"{row['snr_db']:.1f}" if "snr_db" in row else "", f"{row['seconds']}",
        )  # fmt: skip
        view.add_row(name, *cells)
    return view


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    main()
