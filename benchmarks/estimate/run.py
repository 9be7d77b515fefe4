"""Measures whether held-out synthetic images tell what a student lost: predicted against true drop over many students.

    python -m benchmarks.estimate.run --data ../shared/data [--nets resnet20] [--untrained] [--show] [--threads N]

The students are of very different quality: they differ in width, in scheme and in how they were made (ranges only;
SQuant rounding, with bias correction; a short reconstruction, unless --untrained). A finished cell is never run again.
Each network is predicted by a fit over the other ones, so that the error is that of a network which the fit has not
seen; drops are fitted as shares of the teacher's accuracy, and shown in points. `--show` prints the constants over all
networks, which stand in `dfq/evaluation/drop_estimate.py`.
"""

import json
from pathlib import Path

import click
import torch
from rich.console import Console

from benchmarks.common.folded import folded
from benchmarks.common.image_sets import image_set
from benchmarks.common.nets import Data, accuracy_on
from benchmarks.common.options import data_option, out_option, threads_option
from benchmarks.estimate.fit import described, fit
from benchmarks.estimate.plot import picture
from benchmarks.estimate.table import errors
from dfq.evaluation.diversity import measure_diversity
from dfq.evaluation.held_out_evidence import HeldOutEvidence
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import CorrectBiases, PostTraining, Reconstruct, RoundWeights, StepContext
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate

# How students are made, by name: the steps after their ranges are set.
MADE: dict[str, tuple[PostTraining, ...]] = {
    "ranges": (),
    "SQuant": (RoundWeights(),),
    "SQuant, corrected": (RoundWeights(), CorrectBiases()),
    "reconstruction": (Reconstruct(FitSettings(iterations=40), large=FitSettings(iterations=20)),),
}
SCHEMES = ("deploy", "paper-qat")
SMALL = tuple((scheme, bits) for scheme in SCHEMES for bits in (6, 4, 3, 2))
LARGE = tuple(("deploy", bits) for bits in (8, 6, 5, 4))
CELLS = {  # formats and number of synthetic images of each network
    "resnet20": (SMALL, 512),
    "resnet56": (tuple(("deploy", bits) for bits in (4, 3, 6, 2)), 128),
    "mobilenet_v1_0.25": (LARGE, 64),
    "mobilenet_v2": (LARGE, 64),
    "efficientnet_lite0": (LARGE, 64),
    # Without BatchNorm statistics: read from an ONNX file, in which they are folded, or never there.
    "resnet20 folded": (tuple(("deploy", bits) for bits in (4, 3, 6, 2)), 512),
    "efficientnet_lite0 folded": (LARGE, 64),
    "mobilenet_v1_0.25 folded": (LARGE, 64),
    "compact_vit": (LARGE, 256),
    "compact_convnext": (LARGE, 256),
}
FOLDED = " folded"
WORK = Path("benchmarks/work/estimate")
HELD_OUT = 128  # images, or half of all where there are fewer
# The fields of a row that say which cell it is.
KEYS = ("net", "scheme", "bits", "made")


class Judged:
    """Runs the cells of one network, with its synthetic images and the labelled ones that the drop is measured on."""

    def __init__(self, data: Data, net: str):
        whole = data.teacher(net.removesuffix(FOLDED))
        self.net, self.teacher = net, folded(whole, WORK / f"{net}.onnx") if net.endswith(FOLDED) else whole
        images = image_set(self.teacher, net, CELLS[net][1])
        self.fitted, held_out = images.split(min(HELD_OUT, len(images) // 2))
        deviation = measure_diversity(self.teacher, images).batch_norm_deviation
        self.deviation = sum(deviation) / len(deviation) if deviation else None
        self.jury = HeldOutEvidence(self.teacher, held_out.images)
        self.accuracy_of = accuracy_on(data.labelled(net.removesuffix(FOLDED), self.teacher), self.teacher)
        self.accuracy = self.accuracy_of(self.teacher)

    def run(self, scheme: str, bits: int, made: str) -> dict:
        """Returns the row of one student: what synthetic images say, and what is true."""
        images = self.fitted.images
        student = make_student(self.teacher, Settings(bits=bits, scheme=scheme).make_scheme())
        calibrate(student, images[:256]).eval()
        for step in MADE[made]:
            step(StepContext(student, self.teacher, images))
        return {
            "net": self.net, "scheme": scheme, "bits": bits, "made": made, "classes": self.teacher.num_classes,
            "evidence": self.jury.measure(student).to_dict(), "deviation": self.deviation,
            "teacher_accuracy": self.accuracy,
            "drop": self.accuracy - self.accuracy_of(student),
        }  # fmt: skip


@click.command()
@data_option()
@click.option(
    "--nets", default="resnet20,resnet56,mobilenet_v1_0.25", show_default=True, help="Quantize these networks."
)
@out_option("estimate.json")
@click.option(
    "--untrained", is_flag=True, help="Leave out the reconstructed students, which take minutes instead of seconds."
)
@click.option("--show", is_flag=True, help="Print the fit and stop.")
@threads_option
def main(data: Path, nets: str, out: Path, untrained: bool, show: bool, threads: int) -> None:
    """Measures predicted against true drops of accuracy over many students."""
    torch.set_num_threads(threads)
    console, shared = Console(), Data(data)
    for net in () if show else nets.split(","):
        assert net in CELLS, net
        done = {tuple(row[key] for key in KEYS) for row in read_rows(out)}
        made = [
            name for name, steps in MADE.items() if not (untrained and any(isinstance(s, Reconstruct) for s in steps))
        ]
        cells = [(*form, name) for form in CELLS[net][0] for name in made if (net, *form, name) not in done]
        judged = Judged(shared, net) if cells else None
        for cell in cells:
            row = judged.run(*cell)
            environment = {"versions": versions(), "hardware": hardware(judged.teacher.device)}
            write_json(out, {"rows": [*read_rows(out), row], **environment})  # read again: others may have added cells
            console.print(f"{net} {cell}: far agreement {row['evidence']['far_agreement']:.3f}, drop {row['drop']:.3f}")
    rows = read_rows(out)
    console.print(errors(rows))
    console.print(fit(described(rows)))
    picture(rows, out.with_suffix(".png"))


def read_rows(out: Path) -> list[dict]:
    """Returns the rows of a file of results; none if there is no such file."""
    return json.loads(out.read_text())["rows"] if out.exists() else []


if __name__ == "__main__":
    main()
