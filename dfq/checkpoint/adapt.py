"""Gives a file's tensors the names of a network, without the parts of wrappers and tensors of other modules."""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from dfq.checkpoint.names import Fit, Tree, closest, fits, wrappers
from dfq.checkpoint.settings import NameSettings
from dfq.errors import DfqError

WRAPPERS = ("module", "_orig_mod")  # names used by DataParallel and weight averaging, and by torch.compile
THOP = ("total_ops", "total_params")  # THOP's counters of operations, which are buffers in every module
EMA = re.compile(r"(^|[._-])(ema|swa|averaged?)([._-]|$)", re.IGNORECASE)
LISTED = 5  # number of names that a sentence lists

Weights = OrderedDict[str, Tensor]


def adapted(
    own: Mapping[str, Tensor],
    weights: Weights,
    *,
    beside_matrices: bool = False,
    outside: Callable[[str], bool] = lambda name: False,
    settings: NameSettings = NameSettings(),
) -> tuple[Weights, tuple[str, ...]]:
    """Returns the file's tensors under the network's names, and sentences on what was changed.

    Where they do not fit without any prefix or wrapper, they get the closest names, for the error that loading them
    will raise.

    Args:
        own: State dict of the network.
        weights: State dict of the file.
        beside_matrices: Whether to leave out vectors and numbers of modules that the network does not have, too. This
            is for Lightning, which keeps losses and metrics beside the layers.
        outside: Returns whether one of the network's names belongs to a part that is not built and is left out.
        settings: Where the network is looked for.

    Raises:
        DfqError: The network is in the file several times, with different weights.
    """
    places = fits(Tree.of(own), Tree.of(weights), settings=settings)
    if not places:
        foreign = [part for part in WRAPPERS if part not in _parts(own)]
        nearest = closest(own, weights, foreign, settings=settings)
        return _renamed(weights, {file: name for file, name in nearest.items() if not outside(name)}), ()
    prefix, fit, said = _one(places, own, weights)
    names = {file: name for name, file in fit.items() if name in own}
    inside = f"{prefix}." if prefix else ""
    left_out = []
    for name in weights:
        below = name.removeprefix(inside)
        if name in names or (name.startswith(inside) and outside(below)):
            continue
        if not name.startswith(inside) or _is_beside(name, own, weights, beside_matrices):
            left_out.append(name)
        else:
            names[name] = below
    renamed = _renamed(weights, names)
    _keep_versions(renamed, weights, fit)
    return renamed, (*said, *_sentences(prefix, fit, own), *_left_out(left_out))


def _parts(names: Iterable[str]) -> set[str]:
    return {part for name in names for part in name.split(".")}


def _renamed(weights: Weights, names: Mapping[str, str]) -> Weights:
    return OrderedDict((names[name], tensor) for name, tensor in weights.items() if name in names)


def _is_beside(name: str, own: Mapping[str, Tensor], weights: Weights, beside_matrices: bool) -> bool:
    if name.rpartition(".")[2] in THOP and name not in own:
        return True
    module = name.partition(".")[0]
    return (
        beside_matrices
        and not any(each.partition(".")[0] == module for each in own)
        and all(tensor.ndim < 2 for each, tensor in weights.items() if each.partition(".")[0] == module)
    )


def _keep_versions(renamed: Weights, weights: Weights, fit: Fit) -> None:
    """Keeps the version numbers of modules under their new names: some modules need them to load older files."""
    versions = getattr(weights, "_metadata", None)
    if isinstance(versions, Mapping):
        renamed._metadata = {own: versions[file] for own, file in fit.items() if file in versions}  # type: ignore[attr-defined]


def _one(
    places: list[tuple[str, Fit]], own: Mapping[str, Tensor], weights: Weights
) -> tuple[str, Fit, tuple[str, ...]]:
    """Chooses the place whose shapes fit best; among equal ones it prefers averaged weights."""
    differing = [sum(own[name].shape != weights[fit[name]].shape for name in own if name in fit) for _, fit in places]
    best = [place for place, count in zip(places, differing, strict=True) if count == min(differing)]
    chosen = next((place for place in best if EMA.search(place[0])), best[0])
    others = [place for place in best if place is not chosen and not _same(chosen[1], place[1], own, weights)]
    if not others:
        return *chosen, ()
    listed = ", ".join(f"'{prefix}'" for prefix, _ in best)
    if not EMA.search(chosen[0]):
        raise DfqError(
            f"the network is in the file {len(best)} times, with different weights: under {listed}",
            "one set of weights",
            f"name it: --weights {best[0][0]}",
        )
    return *chosen, (averaged_sentence(chosen[0], [prefix for prefix, _ in others]),)


def averaged_sentence(chosen: str, others: list[str]) -> str:
    """Returns the sentence for raw and averaged weights that are side by side in a file."""
    listed = " and ".join(f"'{other}'" for other in others)
    return (
        f"the averaged weights under '{chosen}', because papers and timm report the accuracy of these; "
        f"not taken: {listed} (--weights {others[0]})"
    )


def _same(first: Fit, second: Fit, own: Mapping[str, Tensor], weights: Weights) -> bool:
    return all(torch.equal(weights[first[name]], weights[second[name]]) for name in own if name in first)


def _sentences(prefix: str, fit: Fit, own: Mapping[str, Tensor]) -> tuple[str, ...]:
    found = []
    if prefix:
        count = sum(name in fit for name in own)
        found.append(f"the network under '{prefix}.': this prefix is taken off the names of {count} tensors")
    modules = wrappers(fit)
    for wrapper, count in Counter(wrapper for _, wrapper in modules).items():
        first = next(module for module, each in modules if each == wrapper)
        more = f" and {count - 1} other modules" if count > 1 else ""
        found.append(f"a wrapper '{wrapper}' in '{first}'{more}: it is taken off the names of the tensors there")
    return tuple(found)


def _left_out(names: list[str]) -> tuple[str, ...]:
    if not names:
        return ()
    listed = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    tensors = "tensor that is" if len(names) == 1 else "tensors that are"
    return (f"{len(names)} {tensors} not the network's left out: {listed}",)
