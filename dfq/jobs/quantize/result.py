"""`Result`: what `dfq.quantize` returns."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from matplotlib.figure import Figure
from torch import fx

from dfq.results import plots
from dfq.results.number_format import decibels, label, milliseconds, percent, points, ratio, size
from dfq.results.output_rows import best_kind, is_classifier, lowest_snr
from dfq.results.run_folder import RunFolder
from dfq.teacher import Teacher
from dfq.training.trainer import History


@dataclass(frozen=True, repr=False)
class Result:
    """A finished quantization.

    Attributes:
        student: The fitted, fake-quantized network, in evaluation mode.
        teacher: The network that it was made from.
        folder: The run folder.
        report: The content of `report.json`.
        history: The history of training end to end; None where the method does not train.
    """

    student: fx.GraphModule
    teacher: Teacher
    folder: Path
    report: dict
    history: History | None

    @property
    def onnx(self) -> Path:
        """The low-bit file."""
        return RunFolder(self.folder).onnx

    @property
    def accuracy(self) -> dict[str, float] | None:
        """Top-1 accuracy of teacher, student and ONNX file on the labelled images, in [0, 1]; None without them."""
        found = self.report["accuracy"]
        return None if found["teacher"] is None else found

    @property
    def agreement(self) -> dict[str, dict[str, float | None]]:
        """How often two networks have the same top-1 answer, in [0, 1], by pair and kind of image."""
        return self.report["agreement"]

    @property
    def expected_drop(self) -> float | None:
        """The share of the teacher's accuracy that is probably lost, in [0, 1]; None where it cannot be estimated."""
        return self.report["evidence"]["predicted_drop"]

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of the file in floating point (`float_onnx`) and of the low-bit file (`onnx`)."""
        return self.report["size_bytes"]

    @property
    def latency(self) -> dict[str, float]:
        """Median latencies of both files at batch 1, in milliseconds, measured in turns."""
        return self.report["latency_ms"]

    @property
    def snr(self) -> dict[str, float | None]:
        """Signal-to-noise ratio of each output of the ONNX file against the teacher, in dB, by the output's name.

        It is measured on real pictures where there are some, else on synthetic images.
        """
        kind = best_kind(self.report["outputs"])
        return {row["name"]: row["snr_db"]["onnx_teacher"][kind] for row in self.report["outputs"]}

    def plot(self) -> Figure:
        """Returns the learning curve, or a sheet of the synthetic images where nothing was trained end to end."""
        if self.history is not None:
            return plots.learning_curve_figure(self.history.records, self.history.chosen_step)
        spec = self.teacher.input_spec
        return plots.contact_sheet_figure(RunFolder(self.folder).load_images(spec, self.teacher.device), spec)

    def __repr__(self) -> str:
        return "\n".join(f"{name:11} {text}" for name, text in self._facts())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._facts())
        return f"<table>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        settings, sizes, latency = self.report["settings"], self.sizes, self.latency
        facts = [
            ("network", f"{self.report['arch'] or 'from Python'} → {label(settings['scheme'])}, {settings['method']}"),
            ("verdict", self.report["verdict"][0]),
        ]
        if self.accuracy is not None:
            teacher, file = self.accuracy["teacher"], self.accuracy["onnx"]
            facts.append(("accuracy", f"{percent(file)}{points(file, teacher)}, teacher {percent(teacher)}"))
        elif self.expected_drop is not None:
            kept = f"{1 - self.expected_drop:.1%} of the teacher's accuracy, told without real images"
            facts.append(("expected", kept))
        facts.append(("file", self._of_file()))
        facts.append(("size", f"{size(sizes['onnx'])}{ratio(sizes['onnx'], sizes['float_onnx'])}"))
        facts.append(("latency", f"{milliseconds(latency['onnx'])}{ratio(latency['onnx'], latency['float_onnx'])}"))
        facts.append(("folder", str(self.folder)))
        return facts

    def _of_file(self) -> str:
        outputs, of_file = self.report["outputs"], self.agreement["onnx_student"]["synthetic"]
        if is_classifier(self.report):
            return f"answers as the student on {percent(of_file)} of the synthetic images"
        kind = best_kind(outputs)
        of_teacher, of_student = (
            decibels(lowest_snr(outputs, pair, kind)) for pair in ("onnx_teacher", "onnx_student")
        )
        return f"signal-to-noise ratio {of_teacher} or more to the teacher, {of_student} or more to the student"
