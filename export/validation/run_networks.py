"""Runs the networks of a validation on the same images: the student, the teacher, and a file in each engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfq.export.engines.table import ENGINES
from dfq.export.validation.settings import ValidationSettings
from dfq.graph.outputs import as_tuple, for_each, joined
from dfq.system.progress import Progress

Network = Callable[[Tensor], Any]
Found = dict[str, Any]  # what each network gives for all images: an array (N, …), or a tuple of arrays


def in_torch(network: nn.Module, *, softmax: bool = False) -> Network:
    """Returns a network in torch as a function to arrays, with the softmax behind it that its file has."""
    device = next(network.parameters()).device

    @torch.no_grad()
    def run(images: Tensor) -> Any:
        outputs = network(images.to(device))
        outputs = torch.softmax(outputs.float(), 1) if softmax else outputs
        return for_each(lambda each: (each.float() if each.is_floating_point() else each).numpy(force=True), outputs)

    return run


def run_all(
    networks: Mapping[str, Network],
    batches: Sequence[Tensor],
    progress: Progress,
    limits: Mapping[str, int] | None = None,
) -> Found:
    """Returns what each network gives; a slow engine computes only the first rows.

    Args:
        networks: The networks by name.
        batches: The images, each (N, C, H, W).
        progress: Where the comparison is reported.
        limits: Name of a network → number of images that it computes at most.
    """
    limits = {**{name: row.most_images for name, row in ENGINES.items()}, **(limits or {})}
    found: dict[str, list] = {name: [] for name in networks}
    with progress.task("Comparing the files", total=len(batches)) as task:
        for batch in batches:
            for name, run in networks.items():
                most = limits.get(name)
                room = len(batch) if most is None else most - sum(len(as_tuple(part)[0]) for part in found[name])
                if room > 0:
                    found[name].append(run(batch[:room]))
            task.advance()
    return {name: joined(parts) for name, parts in found.items()}


def in_memory(images: Tensor, run: Network, settings: ValidationSettings) -> Tensor:
    """Returns as many of the images (N, C, H, W) as have outputs that memory holds; at least one."""
    size = sum(each.nbytes for each in as_tuple(run(images[:1])))
    return images[: max(settings.largest_outputs // size, 1)]


def rows(found: Any, count: int) -> Any:
    """Returns the first rows of what a network gave."""
    return for_each(lambda each: each[:count], found)
