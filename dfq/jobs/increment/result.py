"""`Incremented`: what `dfq.increment` returns."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Incremented:
    """What `dfq.increment` returns.

    Attributes:
        model: The network in evaluation mode, with logits of shape (N, old + new classes). The old classes keep their
            numbers.
        report: The content of the report beside the checkpoint (`dfq.jobs.increment.report.IncrementReport`).
    """

    model: nn.Module
    report: dict
