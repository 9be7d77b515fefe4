"""`ChosenWidths`: the chosen widths, and the alternatives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from dfq.mixed_precision.widths import Widths
from dfq.quantizers.scheme import Scheme


@dataclass(frozen=True)
class Point:
    """One choice.

    Attributes:
        cost: Bits per weight on average, bytes of the file, or bit operations for one image.
        sensitivity: Sum of the sensitivities of its widths, in nats.
    """

    cost: float
    sensitivity: float


@dataclass(frozen=True)
class ActivationWidth:
    """The width of what layers read: of one tensor, or of several where one layer is called on all of them.

    Attributes:
        layers: Names of the layers that read it.
        bits: Its width.
        sensitivities: Bits → nats (`width_sensitivity`); empty where the width is fixed.
    """

    layers: Sequence[str]
    bits: int
    sensitivities: Mapping[int, float]

    def to_dict(self) -> dict:
        """Returns what JSON takes."""
        return {**asdict(self), "layers": list(self.layers), "sensitivities": _text_keys(self.sensitivities)}

    @classmethod
    def from_dict(cls, values: Mapping) -> "ActivationWidth":
        """Returns the width that `to_dict` wrote."""
        return cls(values["layers"], values["bits"], _number_keys(values["sensitivities"]))


@dataclass(frozen=True, kw_only=True)
class ChosenWidths:
    """Widths of a network, and the alternatives.

    Attributes:
        unit: Unit of the target and the costs: "bits" (per weight, on average), "bytes" (of the ONNX file) or "bops"
            (bit operations for one image, `dfq.student.bit_operations`).
        target: Largest cost that is allowed.
        chosen: Cost and sensitivity of `widths`.
        widths: Bits of the weight of every matrix layer.
        weights: Number of weights of each layer.
        activations: Widths of what layers read on a grid. Only a limit on bit operations chooses them; it is empty with
            the others.
        fixed: The layers whose widths the scheme or an override sets.
        sensitivities: Layer → bits of its weight → nats (`width_sensitivity`), for the other layers.
        images: Number of synthetic images that the sensitivities are a mean over.
        front: The Pareto front, cheapest first, or about 200 points of it. Costs in bytes are predicted to within a few
            hundred; that of `chosen` is measured.
        uniform: Cost and sensitivity of the same width for everything that is not fixed, by bits.
    """

    unit: str
    target: float
    chosen: Point
    widths: Mapping[str, int]
    weights: Mapping[str, int]
    activations: Sequence[ActivationWidth]
    fixed: Sequence[str]
    sensitivities: Mapping[str, Mapping[int, float]]
    images: int
    front: Sequence[Point]
    uniform: Mapping[int, Point]

    @property
    def average_bits(self) -> float:
        """Average bits per weight; fixed layers count."""
        return sum(self.widths[layer] * n for layer, n in self.weights.items()) / sum(self.weights.values())

    def applied_to(self, scheme: Scheme) -> Scheme:
        """Returns the scheme with these widths."""
        weights = {layer: bits for layer, bits in self.widths.items() if layer not in self.fixed}
        read = {layer: group.bits for group in self.activations if group.sensitivities for layer in group.layers}
        return Widths(weights, {layer: read[layer] for layer in weights if layer in read}).applied_to(scheme)

    def doubts(self, size_bytes: int) -> list[str]:
        """Returns a warning where the file became larger than its target."""
        if self.unit != "bytes" or size_bytes <= self.target:
            return []
        return [f"the ONNX file has {size_bytes:,} bytes, more than the target of {self.target:,.0f}"]

    def to_dict(self) -> dict:
        """Returns what JSON takes: bits that are keys become text."""
        return {
            "unit": self.unit,
            "target": self.target,
            "chosen": asdict(self.chosen),
            "average_bits": self.average_bits,
            "widths": dict(self.widths),
            "weights": dict(self.weights),
            "activations": [group.to_dict() for group in self.activations],
            "fixed": list(self.fixed),
            "sensitivities": {layer: _text_keys(found) for layer, found in self.sensitivities.items()},
            "images": self.images,
            "front": [asdict(point) for point in self.front],
            "uniform": _text_keys({bits: asdict(point) for bits, point in self.uniform.items()}),
        }

    @classmethod
    def from_dict(cls, values: Mapping) -> "ChosenWidths":
        """Returns the widths that `to_dict` wrote; one from before activations were chosen has none of theirs."""
        converted: dict[str, Any] = {
            "chosen": Point(**values["chosen"]),
            "front": [Point(**point) for point in values["front"]],
            "uniform": {bits: Point(**point) for bits, point in _number_keys(values["uniform"]).items()},
            "sensitivities": {layer: _number_keys(found) for layer, found in values["sensitivities"].items()},
            "activations": [ActivationWidth.from_dict(group) for group in values.get("activations", [])],
        }
        kept = {field.name: values[field.name] for field in fields(cls) if field.name not in converted}
        return cls(**kept, **converted)


def _text_keys(values: Mapping[int, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items()}


def _number_keys(values: Mapping[str, Any]) -> dict[int, Any]:
    return {int(key): value for key, value in values.items()}
