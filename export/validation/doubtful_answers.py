"""Why an agreement of answers on synthetic images says nothing, where that is so."""

from math import log

import numpy as np
import torch

from dfq.export.validation.settings import ValidationSettings
from dfq.teacher.answers import answers


def why_doubtful(outputs: np.ndarray, boundary: float, settings: ValidationSettings, *, softmax: bool) -> str | None:
    """Returns in words why agreement with a teacher says nothing on these images; None where it says something.

    There are too few of them, the teacher gives one answer to nearly all, or it is unsure of all of them.

    Args:
        outputs: Logits (N, classes) of the teacher, or its probabilities.
        boundary: Value of a single logit that separates two classes.
        settings: The limits.
        softmax: Whether the outputs are probabilities.
    """
    if len(outputs) < settings.least_images:
        return f"{len(outputs)} synthetic images are too few (at least {settings.least_images})"
    given = torch.from_numpy(outputs).double()
    share = float(torch.bincount(answers(given, boundary)).max()) / len(given)
    if share > settings.most_alike:
        return f"the teacher gives one and the same answer to {100 * share:.0f} % of the synthetic images"
    if given.shape[1] == 1:  # the output may be a logit or a probability
        return None
    chances = given if softmax else torch.softmax(given, 1)
    entropy = float(-(chances * chances.clamp(min=1e-30).log()).sum(1).mean())
    if entropy > settings.most_unsure * log(chances.shape[1]):
        return (
            f"the teacher is unsure of its own synthetic images (entropy {entropy:.2f} of at most "
            f"{log(chances.shape[1]):.2f} nats): wrong weights or normalisation?"
        )
    return None
