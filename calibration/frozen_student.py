"""The student as synthesis sees it: it answers, and nothing in it moves."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(student: nn.Module | None) -> Iterator[None]:
    """Evaluation mode and no gradients for the student's parameters: only the images move. None: nothing to do.

    Evaluation mode matters for a student in floating point: training mode would let the generator's batches move the
    statistics of its BatchNorm layers.
    """
    if student is None:
        yield
        return
    learned, was_training = [p for p in student.parameters() if p.requires_grad], student.training
    student.eval()
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        student.train(was_training)
        for parameter in learned:
            parameter.requires_grad_(True)
