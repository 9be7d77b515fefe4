"""How much of the difference between a file and its student is in the network itself.

A value that lies between two steps of a grid is rounded up by one order of summation and down by another. In a deep
network each such tie disturbs the values behind it, some of which then round differently, too; where the network does
not damp that, two exact computations of the same student end as far apart as two students. So the student in float64
beside the student in float32 says what to expect of any runtime.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dfq.system.progress import Progress
from dfq.teacher.answers import boundary_of, same_answers

MAX_IMAGES, BATCH_SIZE = 128, 16  # float64 is slow


@torch.no_grad()
def agreement_with_itself(
    student: nn.Module, batches: Sequence[Tensor], logits: np.ndarray, progress: Progress
) -> float:
    """Top-1 agreement of `student` in float64 with `logits` (N, classes), its own on the same batches in float32.

    On the first `MAX_IMAGES` images.
    """
    precise = copy.deepcopy(student).double()
    device = next(precise.parameters()).device
    chosen = torch.cat(list(batches))[:MAX_IMAGES].split(BATCH_SIZE)
    own: list[np.ndarray] = []
    with progress.task("Comparing the student with itself in float64", total=len(chosen)) as task:
        for images in chosen:
            own.append(precise(images.to(device, torch.float64)).numpy(force=True))
            task.advance()
    found = np.concatenate(own)
    return same_answers(found, logits[: len(found)], boundary_of(student))
