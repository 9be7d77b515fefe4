"""Suggests architectures for a bare state dict by its names and shapes, without allocating any weight."""

import time
from collections import defaultdict
from collections.abc import Mapping
from difflib import SequenceMatcher

from torch import Size, Tensor

from dfq.errors import DfqError
from dfq.models import torchvision_library
from dfq.models.registry import build
from dfq.models.settings import SuggestSettings
from dfq.models.shapes_only import shapes_only
from dfq.models.source_files import Source
from dfq.models.source_hints import likely

WRAPPERS = ("module", "_orig_mod")
IGNORED = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
ORDER = ("torchvision", "timm", "dfq")  # decides between networks that are equally likely

Shapes = dict[str, Size]


def suggest(
    weights: Mapping[str, Tensor], limit: int = 3, *, settings: SuggestSettings = SuggestSettings()
) -> list[tuple[str, float]]:
    """Returns the best-fitting architectures and the share of names and shapes that fit (1 = all), best first.

    Networks of torchvision, timm and dfq are built in the order in which they are likely, for `settings.seconds` at
    most, or until one fits completely. Then those of the same name in other libraries are built, too. Prefixes and
    wrappers in front of the names do not matter, and neither does the number of classes.

    Args:
        weights: State dict.
        limit: Largest number of architectures.
        settings: How long, and in which order, networks are built.
    """
    variants = _variants(weights, settings.deepest_prefix)
    shares = _search(variants, _classes(weights), settings)
    worth = [(name, share) for name, share in shares.items() if share >= settings.worth_naming]
    return sorted(worth, key=lambda pair: (-pair[1], _place(pair[0])))[:limit]


def _search(variants: list[Shapes], classes: int | None, settings: SuggestSettings) -> dict[str, float]:
    """Builds the likeliest network again and again; a good fit makes networks with similar names likelier."""
    hints: dict[Source, float] = {}
    for shapes in variants:
        for source, hint in (likely(shapes, settings=settings) | _with_backbone(shapes)).items():
            hints[source] = max(hint, hints.get(source, 0.0))
    trust = settings.hint_trust
    sums = {source: [trust * hint, trust] for source, hint in hints.items()}  # sum of weighted fits, sum of weights
    shares: dict[str, float] = {}
    end = time.thread_time() + settings.seconds
    while sums and len(shares) < settings.max_builds and time.thread_time() < end:
        source = max(sums, key=lambda each: (sums[each][0] / sums[each][1], -_place(each.name), -len(each.name)))
        del sums[source]
        shares[source.name], fit = _fit(variants, source.name, classes)
        if shares[source.name] == 1:
            twins = [other.name for other in sums if _short(other.name) == _short(source.name)]
            return shares | {twin: _fit(variants, twin, classes)[0] for twin in twins}
        matcher = SequenceMatcher(None, b=source.name)
        for other, (total, weight) in sums.items():
            if other.file == source.file:
                matcher.set_seq1(other.name)
                alike = matcher.ratio() ** settings.name_sharpness
                sums[other] = [total + alike * fit, weight + alike]
    return shares


def _with_backbone(shapes: Shapes) -> dict[Source, float]:
    """Returns torchvision's segmentation networks or detectors that have parts of these names, with the hint 1."""
    names = torchvision_library.with_parts_of(shapes)
    return {Source(f"torchvision/{name}", "torchvision/with_backbone", frozenset(), ()): 1.0 for name in names}


def _place(name: str) -> int:
    return ORDER.index(name.partition("/")[0])


def _short(name: str) -> str:
    return name.partition("/")[2]


def _fit(variants: list[Shapes], name: str, classes: int | None) -> tuple[float, float]:
    """Returns the share of names with their shapes that fit, and the mean of it and the share of names alone."""
    if name.startswith("torchvision/"):
        variants = [_of_torchvision(_short(name), each) for each in variants]
        name = f"torchvision/{torchvision_library.fitted(_short(name), variants[0])}"
    try:
        with shapes_only():
            state = build(name, classes).state_dict()
    except DfqError:  # some networks compute with their weights while they are made
        return 0.0, 0.0
    own = {key: tensor.shape for key, tensor in state.items() if not key.endswith(IGNORED)}
    shares = [(_overlap(own.items(), each.items()), _overlap(own.keys(), each.keys())) for each in variants]
    whole, names = max(shares)
    return whole, (whole + names) / 2


def _of_torchvision(name: str, shapes: Shapes) -> Shapes:
    """Returns the shapes under today's names, without the parts that are not built."""
    renamed = {torchvision_library.current_key(name, key): shape for key, shape in shapes.items()}
    return {key: shape for key, shape in renamed.items() if not torchvision_library.is_outside(name, key)}


def _overlap(first, second) -> float:
    return len(first & second) / max(len(first | second), 1)


def _variants(weights: Mapping[str, Tensor], deepest_prefix: int) -> list[Shapes]:
    """Returns names and shapes as they are, and without each possible prefix; the parts of wrappers are removed."""
    variants = [{name: tensor.shape for name, tensor in weights.items() if not name.endswith(IGNORED)}]
    while len(variants) <= deepest_prefix and (inner := _under_prefix(variants[-1])) is not None:
        variants.append(inner)
    return [{_without_wrappers(name): shape for name, shape in each.items()} for each in variants]


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _under_prefix(shapes: Shapes) -> Shapes | None:
    """Returns what is under the most frequent first part, if the rest is copies of it, vectors and numbers."""
    groups: dict[str, Shapes] = defaultdict(dict)
    for name, shape in shapes.items():
        first, _, rest = name.partition(".")
        groups[first][rest] = shape
    network = max(groups.values(), key=len, default={})
    beside = [each for each in groups.values() if each != network and any(len(shape) > 1 for shape in each.values())]
    return network if not beside and "" not in network else None


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    """Returns the number of rows of the last matrix, which is the classifier's."""
    rows = [tensor.shape[0] for name, tensor in weights.items() if tensor.ndim in (2, 4) and name.endswith("weight")]
    return rows[-1] if rows and rows[-1] > 0 else None
