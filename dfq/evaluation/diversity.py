"""How varied synthetic images are in the teacher's eyes: distances, confusion, balance, BatchNorm statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, isfinite, log, nan
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfq.errors import DfqError
from dfq.evaluation.settings import DiversitySettings
from dfq.images.batch import Batch
from dfq.teacher import Teacher
from dfq.teacher.answers import answers, two_or_more
from dfq.teacher.batch_norm_statistics import pool_moments

NO_CLASSES: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(("entropy", "margin", "class_balance", "classes_seen", "label_agreement")),
        "entropy_counts": (), "class_counts": (), "classes_per_bin": 1,
    }
)  # fmt: skip
LARGEST_DISTANCE = 2.0  # Two unit vectors are not further apart.


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """What a set of images looks like to the teacher; the class of an image is the teacher's top-1 answer.

    Where the teacher is no classifier, all images count as one class, and entropy, margin and classes are None or
    empty.

    Distances are Euclidean distances between penultimate features scaled to length 1, over all pairs of images: 0 (same
    direction), √2 (orthogonal), 2 (opposite). After a ReLU they are at most √2.

    Attributes:
        images: Number of images that were measured.
        num_classes: Number of classes C of the teacher; 2 where it has a single logit, and 0 where it is no classifier.
        same_class_distance: Mean distance over pairs of one class, 0 to 2; None where there is no such pair. A small
            value means that images repeat.
        different_class_distance: Mean distance over pairs of two classes, 0 to 2; None where there is no such pair.
        same_class_pairs, different_class_pairs: Numbers of pairs in equal bins of distance from 0 to 2
            (`DiversitySettings.distance_bins`).
        entropy: Mean entropy of the teacher's softmax in nats, from 0 (certain) to ln C (knows nothing).
        entropy_counts: Numbers of images in bins of entropy, by default four to a decade from 1e-6 to 10 nats. The
            first and the last bin also hold what lies beyond them.
        margin: Mean difference of the two largest probabilities, 0 to 1.
        class_balance: Entropy of the shares of the classes, divided by ln C: 0 (one class) to 1 (balanced). N < C
            images reach ln N ÷ ln C.
        classes_seen: Number of classes that at least one image has.
        classes_per_bin: Number of neighbouring classes that share a bin of `class_counts`: 1 up to 100 classes.
        class_counts: Numbers of images in each bin of classes.
        label_agreement: Share of the images whose drawn label is the teacher's answer, 0 to 1; None without labels.
        batch_norm_deviation: Relative deviation of the whole set's statistics from those of each BatchNorm layer
            (`BatchNormStatistics.per_layer`), from 0 up, in order of registration; None without BatchNorm.
    """

    images: int
    num_classes: int
    same_class_distance: float | None
    different_class_distance: float | None
    same_class_pairs: tuple[int, ...]
    different_class_pairs: tuple[int, ...]
    entropy: float | None
    entropy_counts: tuple[int, ...]
    margin: float | None
    class_balance: float | None
    classes_seen: int | None
    classes_per_bin: int
    class_counts: tuple[int, ...]
    label_agreement: float | None
    batch_norm_deviation: tuple[float, ...] | None

    def to_dict(self) -> dict:
        """Returns numbers and short lists, as JSON takes them; a value that is not finite becomes None."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping) -> "Diversity":
        """Restores what `to_dict` returned.

        None becomes NaN in fields that cannot be None; in the others it stays None.

        Raises:
            DfqError: A figure is missing.
        """
        missing = [field.name for field in fields(cls) if field.name not in values]
        if missing:
            raise DfqError(f"a measurement of diversity without {', '.join(missing)}", "all figures", "repeat the run")
        restored: dict[str, Any] = {field.name: _restored(values[field.name], field.type) for field in fields(cls)}
        return cls(**restored)


@torch.no_grad()
def measure_diversity(
    teacher: Teacher, batch: Batch, *, settings: DiversitySettings = DiversitySettings()
) -> Diversity:
    """Measures up to `DiversitySettings.max_images` of the images, taken evenly from all labels.

    Raises:
        DfqError: There is no image.
    """
    if not len(batch):
        raise DfqError("a batch of 0 images", "at least one image to measure")
    chosen = batch.pick(batch.spread(settings.max_images).to(batch.images.device))
    logits, features, deviation = _answers(teacher, chosen.images, settings.batch_size)
    predicted = torch.zeros(len(chosen), dtype=torch.int64) if logits is None else answers(logits, teacher.boundary)
    return Diversity(
        images=len(chosen),
        num_classes=teacher.num_answers,
        **_distances(features, predicted, settings.distance_bins),
        **(NO_CLASSES if logits is None else _of_classes(logits, predicted, chosen.labels, settings)),
        batch_norm_deviation=deviation,
    )


def _of_classes(logits: Tensor, predicted: Tensor, labels: Tensor | None, settings: DiversitySettings) -> dict:
    probabilities = two_or_more(logits).double().softmax(1)
    entropies = torch.special.entr(probabilities).sum(1)
    return {
        "entropy": entropies.mean().item(),
        "entropy_counts": _histogram(entropies.log10(), settings.entropy_bins, *settings.entropy_decades),
        "margin": _margin(probabilities),
        **_classes(predicted, probabilities.shape[1], settings.max_class_bins),
        "label_agreement": None if labels is None else _mean(labels.cpu() == predicted),
    }


def _answers(
    teacher: Teacher, images: Tensor, batch_size: int
) -> tuple[Tensor | None, Tensor, tuple[float, ...] | None]:
    """Returns the logits (N, C) of a classifier, the unit penultimate features (N, D), and the BatchNorm deviations.

    All of them are on the CPU.
    """
    extract = teacher.features
    logits, features, moments, parts = [], [], [], images.split(batch_size)
    with teacher.bn_statistics() as statistics:
        for part in parts:
            if teacher.is_classifier:
                logits.append(teacher(part).float().cpu())
            else:
                teacher(part)
            features.append(normalize(extract(part).penultimate.float()).cpu())
            moments.append(statistics.moments)
        pooled = pool_moments(moments, [len(part) for part in parts])
        has_moments = any(moment is not None for moment in pooled)
        deviation = tuple(statistics.deviations(pooled).tolist()) if has_moments else None
    return torch.cat(logits) if logits else None, torch.cat(features), deviation


def _distances(features: Tensor, predicted: Tensor, bins: int) -> dict:
    distances = torch.pdist(features)  # in the order (0, 1), (0, 2), … of `triu_indices`
    first, second = torch.triu_indices(len(features), len(features), offset=1)
    is_same = predicted[first] == predicted[second]
    same, different = distances[is_same], distances[~is_same]
    return {
        "same_class_distance": _mean(same),
        "different_class_distance": _mean(different),
        "same_class_pairs": _histogram(same, bins, 0, LARGEST_DISTANCE),
        "different_class_pairs": _histogram(different, bins, 0, LARGEST_DISTANCE),
    }


def _margin(probabilities: Tensor) -> float:
    largest, second = probabilities.topk(2, dim=1).values.unbind(1)
    return (largest - second).float().mean().item()


def _classes(predicted: Tensor, num_classes: int, max_bins: int) -> dict:
    counts = torch.bincount(predicted, minlength=num_classes)
    entropy = torch.special.entr(counts / counts.sum()).sum().item()
    per_bin = ceil(num_classes / max_bins)
    return {
        "class_balance": entropy / log(num_classes),
        "classes_seen": int((counts > 0).sum()),
        "classes_per_bin": per_bin,
        "class_counts": tuple(int(part.sum()) for part in counts.split(per_bin)),
    }


def _histogram(values: Tensor, bins: int, least: float, most: float) -> tuple[int, ...]:
    """Counts the values in equal bins; the outer bins also take what lies beyond them."""
    counts = torch.histc(values.float().clamp(least, most), bins, least, most)
    return tuple(int(count) for count in counts)


def _mean(values: Tensor) -> float | None:
    return values.float().mean().item() if len(values) else None


def _plain(value: float | Sequence[float] | None) -> float | list | None:
    if isinstance(value, Sequence):
        return [_plain(element) for element in value]
    return value if value is not None and isfinite(value) else None


def _restored(value: float | Sequence | None, kind: object) -> float | tuple | None:
    if isinstance(value, Sequence):
        return tuple(nan if element is None else element for element in value)
    return nan if value is None and kind is float else value
