"""`ChosenWidths`: the chosen widths, and the alternatives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from dfq.quantizers.scheme import Scheme


@dataclass(frozen=True)
class Point:
    """One choice.

    Attributes:
        cost: Bits per weight on average, or bytes of the file.
        sensitivity: Sum of the sensitivities of its widths, in nats.
    """

    cost: float
    sensitivity: float


@dataclass(frozen=True, kw_only=True)
class ChosenWidths:
    """Widths of all weights of a network, and the alternatives.

    Attributes:
        unit: Unit of the target and the costs: "bits" (per weight, on average) or "bytes" (of the ONNX file).
        target: Largest cost that is allowed.
        chosen: Cost and sensitivity of `widths`.
        widths: Bits of the weight of every matrix layer.
        weights: Number of weights of each layer.
        fixed: The layers whose width the scheme or an override sets.
        sensitivities: Layer → bits → nats (`weight_sensitivity`), for the other layers.
        images: Number of synthetic images that the sensitivities are a mean over.
        front: The Pareto front, cheapest first, or about 200 points of it. Costs in bytes are predicted to within a few
            hundred; that of `chosen` is measured.
        uniform: Cost and sensitivity of the same width for every layer that is not fixed, by bits.
    """

    unit: str
    target: float
    chosen: Point
    widths: Mapping[str, int]
    weights: Mapping[str, int]
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
        free = {layer: bits for layer, bits in self.widths.items() if layer not in self.fixed}
        return replace(scheme, weight_overrides=MappingProxyType(free))

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
            "fixed": list(self.fixed),
            "sensitivities": {layer: _text_keys(found) for layer, found in self.sensitivities.items()},
            "images": self.images,
            "front": [asdict(point) for point in self.front],
            "uniform": _text_keys({bits: asdict(point) for bits, point in self.uniform.items()}),
        }

    @classmethod
    def from_dict(cls, values: Mapping) -> "ChosenWidths":
        """Returns the widths that `to_dict` wrote."""
        converted: dict[str, Any] = {
            "chosen": Point(**values["chosen"]),
            "front": [Point(**point) for point in values["front"]],
            "uniform": {int(bits): Point(**point) for bits, point in values["uniform"].items()},
            "sensitivities": {
                layer: {int(bits): nats for bits, nats in found.items()}
                for layer, found in values["sensitivities"].items()
            },
        }
        return cls(**{field.name: converted.get(field.name, values[field.name]) for field in fields(cls)})


def _text_keys(values: Mapping[int, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in values.items()}
