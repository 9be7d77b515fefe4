"""The relative squared error weighs outputs and channels alike, and is what students of other networks minimise."""

import pytest
import torch
from support.output_nets import SPEC, Detector, Segmenter, trained
from support.small_nets import small_teacher

from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.training.image_sources import FixedImages
from dfq.training.losses import knowledge_distillation
from dfq.training.objectives import KnowledgeDistillation, RelationalDistillation
from dfq.training.output_losses import output_divergence, relative_squared_error
from dfq.training.settings import TrainSettings
from dfq.training.trainer import Trainer


def test_channels_and_outputs_weigh_alike():
    torch.manual_seed(0)
    maps, vector = torch.randn(8, 4, 5, 5), torch.randn(8, 3)
    scales = torch.tensor([1.0, 10.0, 30.0, 0.5]).view(1, 4, 1, 1)
    noise = 0.1 * torch.randn_like(maps)
    plain = relative_squared_error(maps + noise, maps)
    assert float(relative_squared_error((maps + noise) * scales + 7, maps * scales + 7)) == pytest.approx(
        float(plain), rel=1e-4
    )
    both = relative_squared_error((maps + noise, vector), (maps, vector))
    assert float(both) == pytest.approx(float(plain) / 2)
    whole = torch.zeros(8, dtype=torch.int64)
    assert float(relative_squared_error((maps + noise, whole), (maps, whole))) == pytest.approx(float(plain))


def test_a_channel_that_hardly_varies_does_not_count_for_all():
    maps = torch.randn(8, 4, 5, 5)
    maps[:, 0] = 3.0
    assert float(relative_squared_error(maps + 0.001, maps)) < 0.1


@pytest.mark.parametrize("shape", [(1, 4), (6,)])
def test_one_image_or_one_channel(shape):
    expected = torch.randn(shape)
    assert 0 < float(relative_squared_error(expected * 1.01, expected)) < 10


def test_classifiers_keep_their_divergence():
    teacher, logits = small_teacher(), torch.randn(4, 5)
    found = output_divergence(teacher, logits + 1, logits * 2, 4.0)
    assert float(found) == pytest.approx(float(knowledge_distillation(logits + 1, logits * 2, 4.0)))


@pytest.mark.parametrize("objective", [KnowledgeDistillation(), RelationalDistillation(map_weight=1.0)])
@pytest.mark.parametrize("network", [Segmenter, Detector])
def test_students_learn(objective, network):
    torch.manual_seed(0)
    teacher = Teacher(trained(network()), SPEC)
    student = make_student(teacher, make_scheme(bits=3, overrides={"body.second": 3}))
    images = torch.randn(32, *SPEC.size)
    calibrate(student, images)
    settings = TrainSettings(steps=40, batch_size=16, learning_rate=3e-4, evaluate_every=10)
    history = Trainer(teacher, student, objective, settings).fit(FixedImages(teacher, Batch(images)), Batch(images))
    held_out = [record["held_out"] for record in history.records]
    assert held_out[-1] < 0.8 * held_out[0]
