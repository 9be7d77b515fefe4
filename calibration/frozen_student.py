"""The student as synthesis sees it: it answers, and nothing in it changes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(student: nn.Module | None) -> Iterator[None]:
    """Puts the student into evaluation mode, and its parameters get no gradients, so that only the images change.

    Evaluation mode matters for a student in floating point: in training mode, the generator's batches would change the
    statistics of its BatchNorm layers. Without a student (None), there is nothing to do.
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
