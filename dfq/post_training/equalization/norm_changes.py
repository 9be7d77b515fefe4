"""Says which change of a normalization's channels its readers lose least with, once weights and inputs are rounded."""

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from dfq.graph.layer_outputs import matrix_calls
from dfq.graph.tensor_samples import TensorSamples
from dfq.post_training.equalization.cross_layer import equalizing_factors
from dfq.post_training.equalization.norm_outputs import NormOutput
from dfq.post_training.equalization.rounding_loss import rounding_loss
from dfq.post_training.equalization.settings import NormSettings
from dfq.quantizers.scheme import QuantSpec
from dfq.student.convert import weight_quantizers
from dfq.student.set_ranges import input_quantizer


@dataclass(frozen=True)
class Change:
    """What is done to channels: (y − middle) / factor.

    Attributes:
        middle: What is subtracted, (C,).
        factor: What the rest is divided by, (C,).
    """

    middle: Tensor
    factor: Tensor


class Changes:
    """The changes of one normalization that are tried.

    Args:
        norm: What the normalization gives.
        student: Student of `dfq.student.convert.make_student`, not calibrated.
        samples: What the readers read.
        settings: Settings of the rescaling.
    """

    def __init__(self, norm: NormOutput, student: fx.GraphModule, samples: TensorSamples, settings: NormSettings):
        self.norm, self.settings = norm, settings
        self.layers = {name: student.get_submodule(name) for name in norm.readers}
        self.rows = {name: samples.rows(reader.source) for name, reader in norm.readers.items()}
        weights = weight_quantizers(student)
        self.specs = {name: (weights[name].spec, spec) for name, spec in grids(norm, student).items()}
        self.factor = stored(student, norm.affine.factor)
        offset = norm.affine.offset
        self.offset = torch.zeros_like(self.factor) if offset is None else stored(student, offset)

    def best(self) -> Change | None:
        """Returns the change with the smallest loss; None where little is gained by any."""
        as_it_is = Change(torch.zeros_like(self.factor), torch.ones_like(self.factor))
        tried = self._tried()
        losses = [self.loss(change) for change in tried]
        if min(losses) >= self.settings.worth * self.loss(as_it_is):
            return None
        return tried[losses.index(min(losses))]

    def loss(self, change: Change) -> float:
        """Returns the sum of what the rounding of weights and inputs does to all readers."""
        total = 0.0
        for name, (weight_spec, spec) in self.specs.items():
            columns = self.norm.readers[name].columns
            rows, factor = self.rows[name] - change.middle[columns], change.factor[columns]
            settings = self.settings.rounding_loss
            total += rounding_loss(self.layers[name], rows, factor, weight_spec, spec, settings=settings)
        return total

    def _tried(self) -> list[Change]:
        low, high = self.ends()
        limits, found = self.settings.limits, []
        middles = (torch.zeros_like(low), (low + high) / 2) if self.norm.can_move else (torch.zeros_like(low),)
        for middle in middles:
            width = torch.maximum(high - middle, middle - low)
            shared = self._shared(width)
            factors = [shared.pow(power) for power in self.settings.strengths]
            for factor in (torch.ones_like(width), even(width), *factors):
                found.append(Change(middle, factor.clamp(limits.narrowest, limits.widest)))
        return found

    def ends(self) -> tuple[Tensor, Tensor]:
        """Returns the smallest and the largest value of each channel, (C,) each, seen or expected.

        A normalized channel is expected to reach some deviations to both sides of its offset, although images that are
        not real ones may not show it.
        """
        reach = self.factor.abs() * self.settings.deviations
        low, high = self.offset - reach, self.offset + reach
        for name, rows in self.rows.items():
            columns = self.norm.readers[name].columns
            low = low.scatter_reduce(0, columns, rows.amin(0), "amin")
            high = high.scatter_reduce(0, columns, rows.amax(0), "amax")
        return low, high

    def _shared(self, width: Tensor) -> Tensor:
        """Returns factors (C,) that share the differences of channels between activations and weights."""
        logarithms = []
        for name, reader in self.norm.readers.items():
            factors = equalizing_factors(width[reader.columns], [self.layers[name]]).log()
            none = torch.zeros_like(width)  # A channel that several features come from has the mean of their factors.
            logarithms.append(none.scatter_reduce(0, reader.columns, factors, "mean", include_self=False))
        return torch.stack(logarithms).mean(0).exp()


def grids(norm: NormOutput, student: fx.GraphModule) -> dict[str, QuantSpec]:
    """Returns the grid of what each reader reads, by name; those that read floating point are left out."""
    calls, modules = matrix_calls(student), dict(student.named_modules())
    found = {name: input_quantizer(calls[name], modules) for name in norm.readers}
    return {name: quantizer.spec for name, quantizer in found.items() if quantizer is not None}


def even(width: Tensor) -> Tensor:
    """Returns the factors (C,) behind which channels of these widths are equally wide; their geometric mean is 1."""
    alive = width > 0
    if not alive.any():
        return torch.ones_like(width)
    logarithm = width.clamp(min=torch.finfo(width.dtype).tiny).log()
    return torch.where(alive, (logarithm - logarithm[alive].mean()).exp(), 1.0)


def stored(network: fx.GraphModule, path: str) -> Tensor:
    """Returns the factors or offsets of channels at a path, detached, float32 (C,)."""
    owner, _, name = path.rpartition(".")
    return getattr(network.get_submodule(owner), name).detach().float().flatten()
