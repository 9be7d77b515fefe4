"""`inspect` shows what a network consists of and what would become of it, and changes nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from torch import fx, nn

from dfq.jobs.keywords import InspectKeywords
from dfq.quantizers.scheme import Scheme, make_scheme
from dfq.results.number_format import label, ratio, size
from dfq.results.report import layers
from dfq.results.verdict import Sentence, check_strict, verdict
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.coverage import measure_coverage
from dfq.student.size_estimate import estimated_bytes
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import normalization_layers
from dfq.teacher.load import load_teacher, split_keywords
from dfq.teacher.output_kinds import described


@dataclass(frozen=True, repr=False)
class Inspection:
    """What `inspect` found.

    Attributes:
        teacher: The network that was inspected.
        student: Its low-bit copy, whose ranges are not set yet.
        scheme: The scheme, which says what is quantized and to how many bits.
        coverage: What runs on integers, and why the rest does not (`dfq.student.coverage.Coverage.to_dict`).
    """

    teacher: Teacher
    student: fx.GraphModule
    scheme: Scheme
    coverage: dict

    @property
    def verdict(self) -> list[Sentence]:
        """The verdict in sentences, the most important one first."""
        return verdict(self.coverage)

    @property
    def sizes(self) -> dict[str, int]:
        """Estimated bytes of the file in floating point (`float_onnx`) and of the low-bit file (`onnx`)."""
        float_bytes, quantized_bytes = estimated_bytes(self.student, self.scheme.target)
        return {"float_onnx": float_bytes, "onnx": quantized_bytes}

    @property
    def title(self) -> str:
        """The network and the scheme in a few words."""
        name = self.teacher.arch or type(self.teacher.model).__name__
        return f"{name}, {label(self.scheme.to_dict())} {self.scheme.name}"

    def facts(self) -> list[tuple[str, str]]:
        """Returns further facts about the network, each with its name."""
        spec, rows = self.teacher.input_spec, self.coverage["layers"]
        before, after = self.sizes["float_onnx"], self.sizes["onnx"]
        tensors = Counter(quantizer.spec.bits for quantizer in activation_quantizers(self.student).values())
        in_float = sum(layer["reason"] is not None for layer in rows)
        norms = len(normalization_layers(self.teacher.model))
        counted = f"{len(rows) - in_float} on integers, {in_float} in floating point"
        return [
            ("Layers", f"{len(rows)} with weights: {counted}"),
            ("Input", f"{'x'.join(map(str, spec.size))}, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"),
            self._gives(),
            ("BatchNorm", f"{norms} layers with statistics, folded before quantization"),
            ("Tensors", ", ".join(f"{count} at {bits} bits" for bits, count in sorted(tensors.items())) or "none"),
            ("Size", f"about {size(before)} → {size(after)}{ratio(after, before)}"),
        ]

    def to_dict(self) -> dict:
        """Returns what `dfq inspect --json` writes; sizes are estimates, in bytes."""
        return {
            "arch": self.teacher.arch,
            "input_spec": self.teacher.input_spec.to_dict(),
            "outputs": [output.to_dict() for output in self.teacher.outputs],
            "scheme": self.scheme.to_dict(),
            "verdict": [sentence.text for sentence in self.verdict],
            "coverage": self.coverage,
            "layers": layers(self.student),
            "size_bytes": self.sizes,
            "assumed": list(self.teacher.assumed),
        }

    def _gives(self) -> tuple[str, str]:
        if self.teacher.is_classifier:
            return "Classes", str(self.teacher.num_classes)
        return "Outputs", described(self.teacher.outputs)

    def __repr__(self) -> str:
        lines = [self.title, *(sentence.text for sentence in self.verdict)]
        return "\n".join([*lines, *(f"{name:11} {text}" for name, text in self.facts())])


def inspect(
    model: str | Path | nn.Module | Teacher, *, strict: bool = False, **options: Unpack[InspectKeywords]
) -> Inspection:
    """Shows what a network consists of and what would become of it, as the command `dfq inspect` does.

    Args:
        model: The network, as `dfq.quantize` takes it.
        strict: Whether `DfqError` is raised where less than 90 % of the multiply–accumulates would be on integers, or
            where a layer with weights was not recognised.
        options: The keys of `dfq.teacher.load.LoadOptions`, and `bits`, `weight_bits`, `activation_bits`, `scheme`,
            `target` and `layer_bits` of `dfq.jobs.quantize.settings.Settings`.

    Raises:
        DfqError: An argument cannot be used.

    Examples:
        ```python
        found = dfq.inspect("model.pt", bits=4)
        print(found.verdict[0].text, found.sizes)
        ```
    """
    loading, chosen = split_keywords(options, InspectKeywords.__annotations__)
    scheme = scheme_of(chosen)
    teacher = load_teacher(model, **loading)
    student = make_student(teacher, scheme)
    coverage = measure_coverage(student).to_dict()
    if strict:
        check_strict(coverage)
    return Inspection(teacher, student, scheme, coverage)


def scheme_of(chosen: Mapping[str, Any]) -> Scheme:
    """Returns the scheme that the keywords of `inspect` ask for.

    Raises:
        DfqError: A value cannot be used.
    """
    others = {name: value for name, value in chosen.items() if name not in ("scheme", "layer_bits")}
    return make_scheme(chosen.get("scheme", "deploy"), overrides=chosen.get("layer_bits"), **others)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
