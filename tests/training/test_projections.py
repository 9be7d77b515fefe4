"""Pooled features of different width are compared behind a map that is learned along, and that a killed run keeps."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, Residual, lived_in, small_teacher, trainable
from torch import nn

from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.system.stage import Stage
from dfq.training.image_sources import FixedImages
from dfq.training.objectives import RelationalDistillation
from dfq.training.settings import TrainSettings
from dfq.training.trainer import Trainer

POOLED = RelationalDistillation(pooled_weight=1.0)
STEPS = TrainSettings(steps=100, batch_size=8, learning_rate=3e-3)


class Narrow(Residual):
    """The teacher's resolutions at another width: six channels instead of eight."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.norm1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)


def narrow() -> torch.fx.GraphModule:
    torch.manual_seed(1)
    return trainable(lived_in(Narrow()), SPEC)


def images(count: int = 32) -> Batch:
    return Batch(torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(0)))


def test_stages_of_another_width_are_projected_and_others_are_not():
    teacher, student = small_teacher(), narrow()
    bound = POOLED.bound(teacher, student, seed=0)
    shapes = {key: tuple(layer.weight.shape) for key, layer in bound.projections.maps.items()}
    assert shapes and set(shapes.values()) == {(8, 6)}
    copy = trainable(Residual(), SPEC)
    assert POOLED.bound(teacher, copy, seed=0) is POOLED
    assert RelationalDistillation().bound(teacher, student, seed=0).projections is None


def test_a_projection_and_pooling_may_change_places():
    """The published form is a convolution of 1×1 in front of the pooling."""
    teacher, student = small_teacher(), narrow()
    bound = POOLED.bound(teacher, student, seed=0)
    loss = bound(student, images(), teacher)["pooled"]
    own, other, wanted = features_of(student)(images().images), teacher.features(images().images), 0.0
    for stage, target in zip(own.stages, other.stages, strict=True):
        weight = bound.projections.maps["x".join(map(str, stage.shape[2:]))].weight
        projected = torch.conv2d(stage, weight[:, :, None, None])
        wanted = wanted + (projected.mean((2, 3)) - target.mean((2, 3))).square().mean()
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_projections_learn_along_and_outlive_a_kill(optimizer, tmp_path, saves_always):
    teacher, settings = small_teacher(), replace(STEPS, optimizer=optimizer)
    stage = Stage(checkpoint=tmp_path / "training.ckpt", seed=3)

    def trainer(objective, stage=stage) -> Trainer:
        return Trainer(teacher, narrow(), objective, settings, stage)

    whole = trainer(POOLED, Stage(seed=3))
    before = [p.detach().clone() for p in whole.projections.parameters()]
    whole.fit(FixedImages(teacher, images()), images(8))
    after = list(whole.projections.parameters())
    assert before and not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))

    dying = trainer(POOLED)
    objective, calls = dying.objective, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) > 70:
            raise Killed
        return objective(*arguments)

    dying.objective = dies
    with pytest.raises(Killed):
        dying.fit(FixedImages(teacher, images()), images(8))
    resumed = trainer(POOLED)
    resumed.fit(FixedImages(teacher, images()), images(8))
    for a, b in zip(resumed.projections.parameters(), after, strict=True):
        torch.testing.assert_close(a, b)
