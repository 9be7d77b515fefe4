"""The results: every table of the benchmarks, drawn from the files that they wrote."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from page_makers import benchmarks, result_tables
from page_makers.result_parts import Part

INTRODUCTION = """# Results

Every table on this page is drawn from a file in `benchmarks/results/` while this site is built; no figure is typed.
Under each table stand the command that measured it, the versions, the hardware, and the date of the last change of its
file.

Where several seeds were run, a cell holds the mean ± the standard deviation over them. Accuracy is that of the ONNX
file in ONNX Runtime. *Agreement* is the share of images on which two networks give the same class. Real images and
labels are opened to report; nothing is trained on them, and nothing is chosen by them, unless a row says *real*.
[Honest evaluation](explanation/honest-evaluation.md) tells what such figures can show, and what they cannot. Times on
machines that are shared are noise; ratios that were measured side by side are not.

How networks that nobody had tried come through is shown by [the census](census.md).
"""


@dataclass(frozen=True)
class Section:
    """One subject.

    Attributes:
        parts: gives its tables.
        pictures: names of files in `benchmarks/results`, with what they show.
    """

    title: str
    text: str
    parts: Callable[[], Iterable[Part]]
    pictures: tuple[tuple[str, str], ...] = ()


SECTIONS = (
    Section(
        "Accuracy",
        "One table for each profile of `benchmarks.accuracy.run`; a profile fixes the work, equal for all methods. "
        "*ONNX* is the accuracy on labelled test images in percent, *drop* what the teacher has more, in points. "
        "*Agreement* is with the teacher: on real training images of CIFAR-10, on the labelled images for the "
        "MobileNets. *Core s* counts the processor seconds of all threads. R20 and R56 are ResNet-20 and ResNet-56 on "
        "CIFAR-10, Mv1 and Mv2 MobileNets on images like ImageNet's; *qat* is the scheme `paper-qat`. Methods named "
        "*real-…* have real images in place of synthetic ones: the ceiling.",
        result_tables.accuracy,
        (("accuracy_over_seconds.png", "Drop of accuracy against processor seconds, ResNet-20"),),
    ),
    Section(
        "Speed and size",
        "Batch 1 on random weights. Each file runs in a process of its own, asked in turns; ratios are medians over "
        "rounds. *static* is the best of three settings of ONNX Runtime's `quantize_static`, *nncf* the file of NNCF, "
        "*OV* the same in OpenVINO. What should be reached at least, or at most, stands in brackets; sizes are parts "
        "of the float file's.",
        result_tables.latency,
    ),
    Section(
        "Distillation without data",
        "Students of another architecture. *Accuracy* is that of the student in percent, */ T* its part of the "
        "teacher's, *agreement* with the teacher on the labelled images. *σ late* is the standard deviation of the "
        "accuracy over the second half of a run, *below best* how far it is below its best so far, on average; both in "
        "points.",
        result_tables.distill,
        (
            ("distill-10m.png", "Accuracy over time, CIFAR-10, ResNet-56 to ResNet-20"),
            ("distill-long.png", "The same, three times as many steps"),
            ("distill-digits.png", "Accuracy over time, digits"),
        ),
    ),
    Section(
        "New classes",
        "Held-out accuracy in percent after the last session: on the first classes (*old*), on all later ones (*new*), "
        "together (*all*). *Average* is the average incremental accuracy over the sessions, *forgetting* what the best "
        "accuracy on earlier classes was above the last one, in points.",
        result_tables.incremental,
    ),
    Section(
        "Mixed precision",
        "Each layer's weight has its own width, beside one width for all. *Agreement* is with the teacher on real "
        "images, *drop* that of the accuracy of the ONNX file.",
        result_tables.mixed,
        (("mixed.png", "Measured and predicted loss over bits per weight"),),
    ),
    Section(
        "What each part of RGAL contributes",
        "The same number of images and of steps for every arm. Agreement with the teacher: on *real* images, which are "
        "opened to report, and on a *jury* of held-out synthetic images that belong to no arm and that decide. The "
        "last columns say whether the terms moved what they were to move: *same* and *other* are mean distances, in "
        "the student's features, of images of one class and of different classes that were made against it, and "
        "*active* is the share of triplets that violate the margin at the end. Numbers in the names of arms are ratios "
        "of a term's gradient to that of the distillation, or of the other losses of the images.",
        result_tables.ablation,
    ),
    Section(
        "What the ingredients of the default method do",
        "The method `reconstruct` with one ingredient removed, or changed, once. The *jury* are held-out synthetic "
        "images of two kinds, and mixtures of them; they decide. *Divergence* is in nats.",
        result_tables.ingredients,
    ),
    Section(
        "Post-training without learning",
        "What the method `instant` consists of was decided here, on synthetic images alone: agreement with the teacher "
        "on mixtures of held-out images, in percent, the best mean first.",
        result_tables.instant,
    ),
    Section(
        "Predicted drop",
        "How far off the prediction of `evidence.predicted_drop` is, in points of accuracy: each network is predicted "
        "by a fit to the students of the other networks. *Covered* is the share of students within the 90 % interval "
        "(`evidence.drop_interval`), and *width* its mean width, where the predicted drop is below 10 points.",
        result_tables.estimate,
        (("estimate.png", "Predicted and true drop of accuracy"),),
    ),
    Section(
        "Killed runs",
        "Small jobs that are killed at random times, up to five times each, and gone on with: whether they end in the "
        "same networks as a job that was left alone, bit for bit, and what they leave behind.",
        result_tables.kills,
    ),
    Section(
        "Writing the files",
        "Processor seconds for the ONNX file of a student and for its float twin, 224 pixels: in one pass over the "
        "lowered network, as dfq writes it, and by torch's exporter, to which networks are left that have operators "
        "without a row. Both ways alternate in one process; medians of three rounds. *Difference* is the largest one "
        "between the outputs of both files in ONNX Runtime.",
        result_tables.export,
    ),
    Section(
        "Memory and disk",
        "Whole commands on networks with random weights. *Peak memory* is the resident set of the process; *peak disk* "
        "is that of the run folder, with what a killed run would go on from. The second table has "
        "the memory that the process of a comparison holds after each of its runs, as means over thirds of the runs: "
        "it should not grow.",
        result_tables.memory,
    ),
    Section("The demo", "`dfq demo` over several seeds, on held-out digits.", result_tables.digits),
    Section(
        "Images for other toolkits",
        "ONNX Runtime's own `quantize_static`, calibrated with dfq's images, with noise, and with real images: "
        "accuracy in percent, in brackets the agreement with the float file on real images.",
        result_tables.toolkits,
    ),
    Section(
        "Networks without BatchNorm statistics",
        "Networks as ONNX files with BatchNorm folded, by what their images were made from; *statistics* is the "
        "network that still has its BatchNorm layers, and *real* are real images, which are opened to show the "
        "ceiling. *Drop* is that of the accuracy of the ONNX file in points, *off* how far the images are from the "
        "statistics that the file has lost, and *dB* the signal-to-noise ratio of the student's logits on images "
        "made from these, which no arm sees. *Core s* are the processor seconds that the images took.",
        result_tables.without_statistics,
    ),
    Section(
        "Networks of LayerNorm to measure on",
        "They are distilled from ResNet-56 on 10,000 real images and lie in `benchmarks/teachers/`, so that data-free "
        "work can be measured on networks of their kind. Accuracy in percent is that of the last iterate.",
        result_tables.teachers,
    ),
    Section(
        "ONNX files as input",
        "Networks with random weights, exported by torch's old exporter (*old*) and by today's (*new*) for an opset, "
        "and ONNX files of other people, by their names. *Difference* is the largest one between the network as dfq "
        "reads it and the file in ONNX Runtime, as a part of the largest output. Then come the part of the "
        "multiply–accumulates on integers, the size of the 8-bit file as a part of the float file, how often it "
        "answers as its student does on 16 random images, its signal-to-noise ratio in dB (that of the output which is "
        "furthest off), and the seconds of reading. Answers of untrained networks "
        "hardly differ from image to image, so rounding decides them.",
        result_tables.onnx_files,
    ),
    Section(
        "Other outputs than classes",
        "Signal-to-noise ratio of the ONNX file against the network in dB, of the output that is furthest off: on "
        "held-out synthetic images, on 64 others (of the kind that the random networks' BatchNorm statistics come "
        "from, and photographs for the three trained networks), and there of what varies. Method `instant`, 32 "
        "images. A star: measured before decision record 0031, which widened the grids.",
        result_tables.outputs,
    ),
    Section(
        "What methods cost",
        "ResNet-20 with random weights. Shares are of the time of a whole run, without what a method does between "
        "calibration and training.",
        result_tables.method_speed,
    ),
    Section(
        "What synthesis costs",
        "A step of synthesis that also matches BatchNorm statistics, beside a plain one and one with the usual hooks; "
        "and the same synthesis with and without keeping freed memory in the process.",
        result_tables.synthesis,
    ),
)


def page() -> str:
    return "\n\n".join([INTRODUCTION.strip(), *map(_section, SECTIONS)]) + "\n"


def _section(section: Section) -> str:
    pictures = (f"![{text}](pictures/{name}){{ loading=lazy }}" for name, text in section.pictures)
    return "\n\n".join([f"## {section.title}", section.text, *map(_part, section.parts()), *pictures])


def _part(part: Part) -> str:
    heading = [f"### {part.heading}"] if part.heading else []
    told = benchmarks.provenance(part.command, part.measured, part.file)
    return "\n\n".join([*heading, *part.texts, told])
