"""`dfq demo` does the whole job on a small network, in a minute."""

from dataclasses import asdict
from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import settings_options
from dfq.jobs.demo import DemoRow, run_demo
from dfq.jobs.settings import JobSettings
from dfq.results.number_format import NOTHING, milliseconds, percent, points, ratio, seconds, size
from dfq.system.output_paths import check_folder

EXPLAINED = "agreement: same class in ONNX Runtime as in the student. latency: batch 1."


@command
@click.option("--out", type=PATH, metavar="DIR", default=Path("dfq-demo"), show_default=True,
              help="Folder to write.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the demo that --out holds.  [default: off]")
@settings_options(JobSettings, "seed")
@click.option("--threads", type=int, default=1, metavar="N", show_default=True,
              help="CPU threads. Images of 8×8 pixels gain nothing from more.")  # fmt: skip
def demo(output: Output, out: Path, overwrite: bool, seed: int, threads: int) -> None:
    """Train a small network on handwritten digits, forget the digits, quantize it to 8 and to 4 bits, and report.

    It needs no file and no connection. The digits that ship with scikit-learn train the teacher. Quantization sees
    nothing but the teacher's checkpoint. The held-out digits are opened at the end, to report.

    \b
    Examples:
      dfq demo
      dfq demo --out demo/ --seed 1
    """
    options.set_threads(threads)
    check_folder(out, overwrite=overwrite)
    result = run_demo(out, seed=seed, overwrite=overwrite, progress=output.progress)
    output.write({"folder": str(out), **asdict(result)})
    teacher = result.rows[0]
    title = f"Held-out digits ({result.images} images, opened only now)"
    columns = ("", "accuracy", "ONNX file", "latency", "agreement", "made in")
    console.stdout.print()
    console.stdout.print(console.table(title, columns, [_cells(row, teacher) for row in result.rows]))
    console.stdout.print(EXPLAINED, style="dim")
    console.stdout.print()
    console.facts(
        "Files", [f"in {out}/", "teacher.pt    the checkpoint", "int8/, w4a4/  run folders, as of `dfq quantize`"]
    )
    console.facts(
        "Try", [f"dfq inspect {out}/teacher.pt --bits 4", f"dfq quantize {out}/teacher.pt --bits 3 --no-flip"]
    )


def _cells(row: DemoRow, teacher: DemoRow) -> tuple[str, ...]:
    is_teacher = row is teacher
    return (
        row.name,
        percent(row.accuracy) + ("" if is_teacher else points(row.accuracy, teacher.accuracy)),
        size(row.size_bytes) + ("" if is_teacher else ratio(row.size_bytes, teacher.size_bytes)),
        milliseconds(row.latency_ms),
        NOTHING if row.agreement is None else percent(row.agreement),
        seconds(row.seconds),
    )
