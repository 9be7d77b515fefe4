"""One set of held-out synthetic images for all students of a comparison.

Every run holds out images of its own, and students agree better with the teacher where a method makes easier images.
Images that all students share, in equal parts from every method, make the figures comparable.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfq.export.validation.output_agreement import snr_db
from dfq.graph.outputs import Outputs, as_tuple, joined
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import load_tensors
from dfq.system.reading import reading
from dfq.teacher import Teacher
from dfq.teacher.answers import same_answers


@dataclass(frozen=True, kw_only=True)
class CommonImageSettings:
    """How many images the students of a comparison share.

    Attributes:
        least: Fewest images that a method must have to contribute any, unless all methods have fewer.
        most: Largest number of images that a method contributes.
        batch_size: Number of images in one pass through a network.
    """

    least: int = 32
    most: int = 256
    batch_size: int = 64


COMMON_IMAGE_SETTINGS = CommonImageSettings()


def common_held_out(runs: Mapping[str, Sequence[RunFolder]]) -> Tensor | None:
    """Returns held-out images in equal numbers from each method, as pixels, uint8 (N, C, H, W).

    No image of a method occurs twice, and none was used for training by any run. This matters because runs of one seed
    often have the same images at several widths, and one of them may have trained on what another one held out.

    A method that makes few images (`instant`, `zeroq`) contributes none where others have more, because it would leave
    too few for all.

    Args:
        runs: The finished runs of each method.

    Returns:
        The pixels; None where a method has no such image, or where there is no method.

    Raises:
        DfqError: Images are missing or damaged.
    """
    trained: set[bytes] = set()
    held_out: dict[str, dict[bytes, Tensor]] = {method: {} for method in runs}
    for method, folders in runs.items():
        for run in folders:
            tensors = load_tensors(run.images)
            with reading(run.images):
                images = tensors["images"]
            first = len(images) - QUANTIZE_DEFAULTS.held_out_of(len(images))
            trained.update(map(_key, images[:first]))
            held_out[method].update((_key(image), image) for image in images[first:])
    pools = [[image for key, image in pool.items() if key not in trained] for pool in held_out.values()]
    pools = [pool for pool in pools if len(pool) >= COMMON_IMAGE_SETTINGS.least] or pools
    share = min((len(pool) for pool in pools), default=0)
    if share == 0:
        return None
    return torch.stack([image for pool in pools for image in _spread(pool, min(share, COMMON_IMAGE_SETTINGS.most))])


def common_figures(teacher: Teacher, students: Iterable[nn.Module], pixels: Tensor, task) -> list[float]:
    """Returns how close each student is to the teacher on those pixels.

    It is the top-1 agreement in [0, 1] with a classifier, and else the signal-to-noise ratio in dB of the output that
    is furthest off.

    Args:
        teacher: The teacher.
        students: The students, in evaluation mode.
        pixels: Images, uint8 (N, C, H, W).
        task: The task that is advanced by one for each student.
    """
    images = teacher.input_spec.normalize(pixels.to(teacher.device).float() / 255)
    wanted, found = _outputs(teacher.model, images), []
    for student in students:
        given = _outputs(student.to(teacher.device), images)
        found.append(_lowest_snr(given, wanted) if not teacher.is_classifier else _agreement(given, wanted, teacher))
        task.advance()
    return found


def _key(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().data).digest()


def _spread(pool: Sequence[Tensor], count: int) -> list[Tensor]:
    """Returns `count` images that lie evenly over the pool, so that every seed contributes."""
    return [pool[index * len(pool) // count] for index in range(count)]


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> Outputs:
    return joined([network(part) for part in images.split(COMMON_IMAGE_SETTINGS.batch_size)])


def _agreement(found: Outputs, wanted: Outputs, teacher: Teacher) -> float:
    assert isinstance(found, Tensor) and isinstance(wanted, Tensor)
    return same_answers(found, wanted, teacher.boundary)


def _lowest_snr(found: Outputs, wanted: Outputs) -> float:
    pairs = zip(as_tuple(found), as_tuple(wanted), strict=True)
    ratios = [snr_db(*(each.numpy(force=True) for each in pair)) for pair in pairs]
    return min(ratio for ratio in ratios if ratio is not None)
