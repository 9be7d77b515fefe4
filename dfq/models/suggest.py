"""Which architectures a bare state dict may belong to: by names and shapes, without allocating any weight."""

import time
from collections import defaultdict
from collections.abc import Mapping
from difflib import SequenceMatcher

from torch import Size, Tensor

from dfq.errors import DfqError
from dfq.models.registry import build
from dfq.models.shapes_only import shapes_only
from dfq.models.source_files import Source
from dfq.models.source_hints import likely
from dfq.models.torchvision_library import current_key

WORTH_NAMING = 0.5
SECONDS = 4.0  # of processor time, for building networks
MAX_BUILDS = 60
HINT_TRUST = 2.0  # builds of networks of nearly the same name that the source text counts for
SHARPNESS = 8  # how alike two names must be for one's fit to say something about the other's
WRAPPERS = ("module", "_orig_mod")
DEEPEST = 3  # prefixes that are tried
IGNORED = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
ORDER = ("torchvision", "timm", "dfq")  # of libraries, where two networks are as likely

Shapes = dict[str, Size]


def suggest(weights: Mapping[str, Tensor], limit: int = 3) -> list[tuple[str, float]]:
    """The best-fitting architectures and the share of names and shapes that fit (1 = all), best first.

    Networks of torchvision, timm and dfq are built in the order in which they are likely, for `SECONDS` at most or
    until one fits whole (then those of the same name in other libraries, too). Prefixes and wrappers before the names
    count for nothing, nor does the number of classes.
    """
    variants = _variants(weights)
    shares = _search(variants, _classes(weights))
    worth = [(name, share) for name, share in shares.items() if share >= WORTH_NAMING]
    return sorted(worth, key=lambda pair: (-pair[1], _place(pair[0])))[:limit]


def _search(variants: list[Shapes], classes: int | None) -> dict[str, float]:
    """Builds the likeliest network again and again; one that fits makes those of a similar name likelier."""
    hints: dict[Source, float] = {}
    for shapes in variants:
        for source, hint in likely(shapes).items():
            hints[source] = max(hint, hints.get(source, 0.0))
    sums = {source: [HINT_TRUST * hint, HINT_TRUST] for source, hint in hints.items()}  # of fits, and of their weights
    shares: dict[str, float] = {}
    end = time.thread_time() + SECONDS
    while sums and len(shares) < MAX_BUILDS and time.thread_time() < end:
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
                alike = matcher.ratio() ** SHARPNESS
                sums[other] = [total + alike * fit, weight + alike]
    return shares


def _place(name: str) -> int:
    return ORDER.index(name.partition("/")[0])


def _short(name: str) -> str:
    return name.partition("/")[2]


def _fit(variants: list[Shapes], name: str, classes: int | None) -> tuple[float, float]:
    """(share of names with shapes that fit, mean of that and of the share of names)."""
    try:
        with shapes_only():
            state = build(name, classes).state_dict()
    except DfqError:  # some compute with their weights while they are made
        return 0.0, 0.0
    own = {key: tensor.shape for key, tensor in state.items() if not key.endswith(IGNORED)}
    if name.startswith("torchvision/"):
        variants = [{current_key(_short(name), key): shape for key, shape in each.items()} for each in variants]
    shares = [(_overlap(own.items(), each.items()), _overlap(own.keys(), each.keys())) for each in variants]
    whole, names = max(shares)
    return whole, (whole + names) / 2


def _overlap(first, second) -> float:
    return len(first & second) / max(len(first | second), 1)


def _variants(weights: Mapping[str, Tensor]) -> list[Shapes]:
    """Names and shapes as they are, and under each prefix that may be one; without wrappers' parts."""
    variants = [{name: tensor.shape for name, tensor in weights.items() if not name.endswith(IGNORED)}]
    while len(variants) <= DEEPEST and (inner := _under_prefix(variants[-1])) is not None:
        variants.append(inner)
    return [{_without_wrappers(name): shape for name, shape in each.items()} for each in variants]


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _under_prefix(shapes: Shapes) -> Shapes | None:
    """What is under the first part that most names have, if all else is copies of it, vectors and numbers."""
    groups: dict[str, Shapes] = defaultdict(dict)
    for name, shape in shapes.items():
        first, _, rest = name.partition(".")
        groups[first][rest] = shape
    network = max(groups.values(), key=len, default={})
    beside = [each for each in groups.values() if each != network and any(len(shape) > 1 for shape in each.values())]
    return network if not beside and "" not in network else None


def _classes(weights: Mapping[str, Tensor]) -> int | None:
    """Rows of the last matrix, which is the classifier's."""
    rows = [tensor.shape[0] for name, tensor in weights.items() if tensor.ndim in (2, 4) and name.endswith("weight")]
    return rows[-1] if rows and rows[-1] > 0 else None
