"""Quantizes networks of every kind of output; a network that has a row is not quantized again.

    python -m benchmarks.outputs.run [--only NAME] [--data FOLDER]

Networks with random weights (`benchmarks/outputs/networks.py`) are quantized to 8 bits by `instant`, on 32 synthetic
images of 128 pixels a side. With `--data` there are three trained classifiers, too, to 8 and 4 bits, as networks that
give their feature maps and no classes. A row has, for each output, the signal-to-noise ratio of the ONNX file against
the network in dB: on the held-out synthetic images, and on 64 others (images of the kind that the random networks'
statistics come from, or photographs for the trained networks). It also has the part of the multiply–accumulates on
integers, the size of the file as a part of that in floating point, and whether the file runs on 1 and on 3 images. A
star marks rows that were measured before the decision record that they name.
"""

import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import dfq
from benchmarks.common.nets import Data
from benchmarks.common.options import data_option, only_option, out_option, show_option, threads_option
from benchmarks.outputs.networks import NETWORKS, SPEC, TRAINED, StageFeatures, made, smooth_pixels
from dfq.errors import DfqError
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.graph.outputs import as_tuple
from dfq.images.input_spec import InputSpec
from dfq.results.report import hardware, versions
from dfq.results.stored_files import read_json, write_json

IMAGES = 32  # synthetic ones
PICTURES = 64  # other images that a network is judged on
BITS = (8,)  # widths of networks with random weights
BITS_TRAINED = (8, 4)  # widths of trained networks


@click.command()
@out_option("outputs.json")
@data_option(required=False)
@only_option
@show_option
@threads_option
def main(out: Path, data: Path | None, only: str, show: bool, threads: int) -> None:
    """Quantizes networks of every kind of output."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore")
    rows = read_json(out)["rows"] if out.exists() else {}
    for name in () if show else (*NETWORKS, *(TRAINED if data else ())):
        for bits in BITS if name in NETWORKS else BITS_TRAINED:
            key = f"{name} W{bits}A{bits}"
            if key not in rows and all(word in key for word in only.split()):
                rows[key] = measure(*network_of(name, data), bits)
                print(key, json.dumps(rows[key]), flush=True)
                write_json(out, {"rows": rows, "versions": versions(), "hardware": hardware(torch.device("cpu"))})
    Console().print(table(rows))


def network_of(name: str, data: Path | None) -> tuple[nn.Module, InputSpec, np.ndarray]:
    """Returns a network, its input, and images that it is judged on, as pixels, uint8 (N, H, W, C)."""
    if name in NETWORKS:
        network = made(name)
        pixels = (smooth_pixels(PICTURES).permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
        return network, SPEC, pixels.numpy()
    folder = Data(data)
    teacher = folder.teacher(name)
    return StageFeatures(teacher), teacher.input_spec, folder.labelled(name, teacher).images[:PICTURES]


def measure(network: nn.Module, spec: InputSpec, pictures: np.ndarray, bits: int) -> dict[str, Any]:
    """Returns the row of a network."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = dfq.quantize(
                network, input_size=spec.size, mean=spec.mean, std=spec.std, bits=bits, method="instant",
                images=IMAGES, pictures=pictures, out=folder, overwrite=True, progress=False,
            )  # fmt: skip
        except DfqError as error:
            return {"refused": error.found}
        counts = [len(as_tuple(Engine(result.onnx).run(torch.zeros(count, *spec.size)))[0]) for count in (1, 3)]
        report = result.report
        return {
            "outputs": {
                row["name"]: {
                    "shape": row["shape"],
                    **{kind: row["snr_db"]["onnx_teacher"][kind] for kind in ("synthetic", "pictures")},
                    "varying": row["varying_snr_db"]["onnx_teacher"]["pictures"],
                    "same_choice": row["same_choice"]["onnx_teacher"]["pictures"],
                    "file_student": row["snr_db"]["onnx_student"]["pictures"],
                }
                for row in report["outputs"]
            },
            "agreement": report["agreement"]["student_teacher"]["pictures"],
            "share": report["coverage"]["share_of_macs"],
            "size_ratio": report["size_bytes"]["onnx"] / report["size_bytes"]["float_onnx"],
            "any_batch": counts == [1, 3],
            "held_out": report["images"],
            "seconds": round(time.monotonic() - start, 1),
        }


def table(rows: dict) -> Table:
    """Returns the rows for a terminal; of several outputs, the figures are those of the one that is furthest off."""
    view = Table("network", "outputs", "synthetic, dB", "others, dB", "what varies, dB", "on integers", "size")
    for name, row in rows.items():
        if "refused" in row:
            view.add_row(name, row["refused"])
            continue
        figures = [_lowest(row["outputs"], which) for which in ("synthetic", "pictures", "varying")]
        shown = f"{name} *" if "before_record" in row else name
        view.add_row(shown, str(len(row["outputs"])), *figures, f"{row['share']:.1%}", f"{row['size_ratio']:.2f}×")
    return view


def _lowest(outputs: dict, which: str) -> str:
    return f"{min((each[which] for each in outputs.values() if each[which] is not None), default=float('nan')):.1f}"


if __name__ == "__main__":
    main()
