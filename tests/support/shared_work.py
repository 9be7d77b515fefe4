"""Work that processes share, small; as a program, it runs in each of several processes and the first one stores it."""

import sys
from pathlib import Path
from unittest.mock import patch

import torch
from support.reconstruction_cases import images, pair
from support.small_nets import SPEC, Residual, plain, small_teacher

from dfq.calibration import METHODS
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.without_statistics import LEAVES
from dfq.images.batch import Batch
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system import processes
from dfq.system.exchange import gathered, number_of_first, of_first, share_of
from dfq.system.stage import Stage
from dfq.training.image_sources import FixedImages
from dfq.training.objectives import KnowledgeDistillation
from dfq.training.settings import TrainSettings
from dfq.training.trainer import Trainer


def synthesized() -> torch.Tensor:
    """Five batches of two kinds, the last one smaller; (68, 3, 16, 16)."""
    kinds = (*METHODS["zeroq-kd"].synthesizer.args, LEAVES)
    return Inversion(kinds, small_teacher(), Stage(seed=3), batch_size=16).sample(68).images


def reconstructed() -> dict:
    """The errors of each block of a residual network at 3 bits, and its roundings."""
    teacher, student = pair(Residual)
    settings = FitSettings(iterations=60, batch_size=7)
    history = reconstruct(student, teacher, images(68), settings, Stage(seed=1))
    return {"errors": [block.after for block in history.blocks], "kept": [block.kept for block in history.blocks]}


def trained(name: str = "kd") -> list[float]:
    """The held-out divergence at each look, and the training loss behind it."""
    teacher = small_teacher(plain(normalize=True))
    pool = torch.randn(96, *SPEC.size, generator=torch.Generator().manual_seed(5))
    training, held_out = Batch(pool).split(32)
    student = calibrate(make_student(teacher, make_scheme("deploy", bits=3)), training.images)
    objective = {"kd": KnowledgeDistillation(), "reconstruct": METHODS["reconstruct"].objective}[name]
    settings = TrainSettings(steps=20, batch_size=15, learning_rate=1e-3, evaluate_every=10)
    records = Trainer(teacher, student, objective, settings, Stage(seed=2)).fit(
        FixedImages(teacher, training), held_out
    )
    return [record["held_out"] for record in records.records]


def exchanged() -> dict:
    rank = processes.processes().rank
    return {
        "shares": gathered([share_of(size).indices(size)[:2] for size in (1, 5, 8)]),
        "first": of_first(lambda: {"tensor": torch.full((2,), float(rank))}),
        "number": number_of_first(rank + 0.5),
    }


@patch("dfq.system.compute_dtype.has_fast_bfloat16", lambda device: False)
def all_work() -> dict:
    """All of it in float32, because sums of other shares round in bfloat16 by more than losses may differ."""
    return {
        "images": synthesized(),
        "reconstructed": reconstructed(),
        "trained": {name: trained(name) for name in ("kd", "reconstruct")},
    }


if __name__ == "__main__":
    processes.join()
    torch.set_num_threads(1)
    found = {**all_work(), "exchanged": exchanged()}
    if processes.is_first():
        torch.save(found, Path(sys.argv[1]))
    processes.leave()
