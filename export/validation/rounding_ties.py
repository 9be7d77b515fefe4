"""Measures how much of the difference between a file and its student comes from the network itself.

A value halfway between two steps of a grid is rounded up by one order of summation and down by another. In a deep
network each such tie disturbs the values after it, some of which then round differently, too. Where the network does
not damp that, two exact computations of the same student end as far apart as two students. The agreement of the student
in float64 with the student in float32 therefore says what to expect of any runtime.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfq.export.validation.settings import RoundingTieSettings
from dfq.graph.outputs import for_each, joined
from dfq.system.progress import Progress
from dfq.teacher.answers import boundary_of, same_answers


@torch.no_grad()
def agreement_with_itself(
    student: nn.Module,
    batches: Sequence[Tensor],
    logits: np.ndarray,
    progress: Progress,
    settings: RoundingTieSettings = RoundingTieSettings(),
) -> float:
    """Returns the top-1 agreement of a student in float64 with itself in float32.

    Args:
        student: The student.
        batches: Normalised images, (N, C, H, W); the first ones are compared.
        logits: Its logits on these images in float32, (N, classes).
        progress: Where the comparison is reported.
        settings: How many images are compared.
    """
    found = in_double_precision(student, batches, progress, settings)
    return same_answers(found, logits[: len(found)], boundary_of(student))


@torch.no_grad()
def in_double_precision(
    student: nn.Module,
    batches: Sequence[Tensor],
    progress: Progress,
    settings: RoundingTieSettings = RoundingTieSettings(),
) -> Any:
    """Returns what a student in float64 gives for the first images: an array (N, …), or a tuple of arrays."""
    precise = copy.deepcopy(student).double()
    device = next(precise.parameters()).device
    chosen = torch.cat(list(batches))[: settings.images].split(settings.batch_size)
    own: list = []
    with progress.task("Comparing with float64", total=len(chosen)) as task:
        for images in chosen:
            own.append(for_each(lambda each: each.numpy(force=True), precise(images.to(device, torch.float64))))
            task.advance()
    return joined(own)
