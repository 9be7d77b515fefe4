"""One set of held-out synthetic images for all students of a comparison.

Every run holds out images of its own, so methods that make easier images agree better with the teacher on them. On
images that all share, in equal parts from every method, the figures can be set side by side.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dfq.jobs.quantize.synthesis import held_out_count
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import load_tensors
from dfq.teacher import Teacher
from dfq.teacher.answers import answers, boundary_of

MIN_PER_METHOD, MAX_PER_METHOD, BATCH_SIZE = 32, 256, 64


def common_held_out(runs: Mapping[str, Sequence[RunFolder]]) -> Tensor | None:
    """Pixels uint8 (N, C, H, W): as many of each method, none twice within one, none that any run kept for training.

    A method that makes a few images only (`instant`, `zeroq`) gives none where others have more: else it would leave
    too few for all.

    The last condition matters because the images of one seed are often the same at another width, where they may have
    been trained on. None: a method has no such image, or there is no method.

    Args:
        runs: method → its finished runs.

    Raises:
        DfqError: images that are missing or damaged.
    """
    trained: set[bytes] = set()
    held_out: dict[str, dict[bytes, Tensor]] = {method: {} for method in runs}
    for method, folders in runs.items():
        for run in folders:
            images = load_tensors(run.images)["images"]
            first = len(images) - held_out_count(len(images))
            trained.update(map(_key, images[:first]))
            held_out[method].update((_key(image), image) for image in images[first:])
    pools = [[image for key, image in pool.items() if key not in trained] for pool in held_out.values()]
    pools = [pool for pool in pools if len(pool) >= MIN_PER_METHOD] or pools
    share = min((len(pool) for pool in pools), default=0)
    if share == 0:
        return None
    return torch.stack([image for pool in pools for image in _spread(pool, min(share, MAX_PER_METHOD))])


def common_agreements(teacher: Teacher, students: Iterable[nn.Module], pixels: Tensor, task) -> list[float]:
    """Top-1 agreement of each student with the teacher on those pixels, fractions; advances `task` by one each."""
    images = teacher.input_spec.normalize(pixels.to(teacher.device).float() / 255)
    wanted, found = _classes(teacher.model, images), []
    for student in students:
        found.append((_classes(student.to(teacher.device), images) == wanted).float().mean().item())
        task.advance()
    return found


def _key(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().data).digest()


def _spread(pool: Sequence[Tensor], count: int) -> list[Tensor]:
    """Evenly over the pool, so that every seed has its part."""
    return [pool[index * len(pool) // count] for index in range(count)]


@torch.no_grad()
def _classes(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([answers(network(part), boundary_of(network)) for part in images.split(BATCH_SIZE)])
