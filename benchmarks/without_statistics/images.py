"""The arms: where the images of a network without BatchNorm statistics come from, by name."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from dfq.calibration import recipes
from dfq.calibration.inner_terms import AttentionPrior, Excitation, HeadSimilarity, PatchEntropy
from dfq.calibration.inversion import psaq
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.parametrizations import FreePixels, LeafPixels
from dfq.calibration.inversion.without_statistics import LEAVES, SMOOTH
from dfq.calibration.inversion_terms import LabelCrossEntropy
from dfq.images.augment import Augment
from dfq.images.batch import Batch
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.system.stage import Stage
from dfq.teacher import Teacher

STATISTICS = "statistics"  # The network keeps its BatchNorm layers, and images are made from their statistics.
REAL = "real"  # Real images, which measure the ceiling.


class NoisePixels(LeafPixels):
    """As `LeafPixels`, but pixels start from N(½, ¼) each."""

    def __init__(self, count: int, size: tuple[int, int, int], generator: torch.Generator, device: torch.device):
        nn.Module.__init__(self)
        self.values = nn.Parameter(FreePixels(count, size, generator, device).values.detach() / 4 + 0.5)


STARTS = {"noise": NoisePixels, "leaves": LeafPixels}
CE = LabelCrossEntropy(1.0)
TV = SMOOTH
TERMS = {
    "": (),
    "ce": (CE,),
    "ce tv": (CE, TV),
    "ce tv excite": (CE, TV, Excitation(0.3)),
    "ce tv prior": (CE, TV, AttentionPrior(1.0)),
    "ce tv patches": (CE, TV, PatchEntropy(0.3)),
    "ce tv heads": (CE, TV, HeadSimilarity(1.0)),
}
RANDOM_SKETCHES = replace(recipes.IMPROVED, iterations=recipes.SKETCHES.iterations)
KINDS = {
    "default": LEAVES,
    "psaq 8": replace(psaq.AS_PUBLISHED, iterations=8),  # These take the time of the default.
    "psaq 100": replace(psaq.AS_PUBLISHED, iterations=100),
    "psaq": psaq.AS_PUBLISHED,
    # Networks that keep their statistics: what the start is worth there.
    "statistics random": RANDOM_SKETCHES,
    "statistics leaves": recipes.SKETCHES,
    "statistics leaves 50": replace(recipes.SKETCHES, iterations=50),
}
# Half of the images match the statistics (from random grids, or in fewer steps from leaves), and half do without them.
HALVES, SHORT_HALVES = "statistics and leaves", "statistics sketches and leaves"
HALVED = {HALVES: recipes.QUICK, SHORT_HALVES: recipes.SKETCHES}


def arm(name: str) -> Callable[[Teacher, int, int], Batch]:
    """Returns what makes images for an arm: a function of the network without statistics, their number, and a seed."""
    if name == "fractals":
        return lambda teacher, count, seed: _batch(teacher, fractals(count, teacher.input_spec.size, seed))
    if name in HALVED:
        return partial(_halves, HALVED[name])
    if name in KINDS:
        return partial(_inverted, KINDS[name])
    start, _, terms = name.partition(" ")
    config = replace(LEAVES, parametrization=STARTS[start], terms=TERMS[terms])
    return partial(_inverted, config if terms else replace(config, iterations=0))


def _halves(matching: InversionConfig, teacher: Teacher, count: int, seed: int) -> Batch:
    """Returns the images of both kinds in random order, so that the held-out ones are of both kinds, too."""
    both = _inverted(matching, teacher, count // 2, seed).joined(_inverted(LEAVES, teacher, count // 2, seed))
    return both.pick(torch.randperm(len(both), generator=torch.Generator().manual_seed(seed)))


def _inverted(config: InversionConfig, teacher: Teacher, count: int, seed: int) -> Batch:
    spec = teacher.input_spec
    batch_size = QUANTIZE_DEFAULTS.synthesis_batch_of(spec, on_gpu=False)
    augment = Augment(shift=spec.size[1] // QUANTIZE_DEFAULTS.synthesis_shift)
    return Inversion(config, teacher, Stage(seed=seed), batch_size=batch_size, augment=augment).sample(count)


def _batch(teacher: Teacher, pixels: Tensor) -> Batch:
    images = teacher.input_spec.normalize((pixels * 255).round() / 255)
    return Batch(images.contiguous(memory_format=torch.channels_last))


def fractals(count: int, size: tuple[int, int, int], seed: int, *, maps: int = 4, points: int = 60_000) -> Tensor:
    """Returns pixels (count, C, H, W) of iterated function systems (Kataoka et al., ACCV 2020), in random colours."""
    random, images = np.random.default_rng(seed), []
    _, height, width = size
    while len(images) < count:
        matrices, offsets = random.uniform(-1, 1, (maps, 2, 2)), random.uniform(-1, 1, (maps, 2))
        matrices *= (0.8 / np.linalg.norm(matrices, 2, axis=(1, 2)))[:, None, None]  # All maps contract.
        place, found = np.zeros((200, 2)), []
        for _ in range(points // 200):
            chosen = random.integers(0, maps, 200)
            place = np.einsum("nij,nj->ni", matrices[chosen], place) + offsets[chosen]
            found.append(place)
        places = np.concatenate(found[20:])
        low, high = places.min(0), places.max(0)
        rows, columns = (((places - low) / (high - low + 1e-6)) * (height - 1, width - 1)).astype(int).T
        density = np.zeros((height, width))
        np.add.at(density, (rows, columns), 1)
        density = np.log1p(density) / np.log1p(density.max())
        first, second = random.uniform(0, 1, (2, size[0], 1, 1))
        images.append(first + (second - first) * density)
    return torch.from_numpy(np.stack(images)).float()
