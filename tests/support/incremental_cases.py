"""What the tests of new classes share: digits, the first five known."""

import torch

from dfq.images.labelled import Labelled
from dfq.jobs.demo import digits, normalized

OLD = 5
FEW = {"strategy": "inversion", "images": 16, "steps": 12, "batch_size": 8, "flip": False}


def part(which: str, first: int, last: int) -> Labelled:
    """Digits from `first` to `last`, numbered from 0."""
    found = digits(which)
    kept = (found.labels >= first) & (found.labels <= last)
    return Labelled(found.images[kept], found.labels[kept] - first)


def accuracy(model, which, first, last, offset=0):
    found = part(which, first, last)
    with torch.no_grad():
        answers = model(normalized(found)).argmax(1)
    return float((answers == torch.from_numpy(found.labels) + offset).float().mean())
