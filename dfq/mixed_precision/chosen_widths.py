"""The chosen widths, and what they were chosen from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from dfq.quantizers.scheme import Scheme


@dataclass(frozen=True)
class Point:
    """One choice: its cost (average bits, or bytes of the file), and the sum of its sensitivities in nats."""

    cost: float
    sensitivity: float


@dataclass(frozen=True, kw_only=True)
class ChosenWidths:
    """Widths of all weights of a network, and the alternatives.

    Attributes:
        unit: of target and costs: "bits" (per weight, on average) or "bytes" (of the ONNX file).
        target: what the cost may be at most.
        chosen: of `widths`.
        widths: layer → bits of its weight, for every matrix layer.
        weights: layer → number of weights.
        fixed: the layers whose width the scheme or an override sets.
        sensitivities: layer → bits → nats (`weight_sensitivity`), of the others.
        images: number of synthetic images that the sensitivities are a mean over.
        front: the Pareto front, cheapest first, at most about 200 points of it; costs in bytes are predicted, to within
            a few hundred, but that of `chosen` is measured.
        uniform: the same width for every layer that is not fixed; bits → point.
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
        """Per weight, fixed layers included."""
        return sum(self.widths[layer] * n for layer, n in self.weights.items()) / sum(self.weights.values())

    def applied_to(self, scheme: Scheme) -> Scheme:
        """The scheme with these widths."""
        free = {layer: bits for layer, bits in self.widths.items() if layer not in self.fixed}
        return replace(scheme, weight_overrides=MappingProxyType(free))

    def doubts(self, size_bytes: int) -> list[str]:
        """A warning about a file that became larger than its target."""
        if self.unit != "bytes" or size_bytes <= self.target:
            return []
        return [f"the ONNX file has {size_bytes:,} bytes, more than the target of {self.target:,.0f}"]

    def to_dict(self) -> dict:
        """As JSON takes it: bits that are keys become text."""
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
        """What `to_dict` gave."""
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
