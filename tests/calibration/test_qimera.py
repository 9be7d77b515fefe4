"""Qimera: mixtures of class embeddings lie between classes; the generator learns from single classes alone."""

import pytest
import torch
from support.small_nets import SPEC, plain, small_teacher
from torch import nn

from dfq.calibration.generators.qimera import Qimera, QimeraConfig
from dfq.system.stage import Stage

SMALL = QimeraConfig(latent=16, width=16, warm_up=200)


@pytest.fixture(scope="module")
def warm():
    """(teacher, its synthesizer after some steps of the generator)."""
    teacher = small_teacher()
    synthesizer = Qimera(SMALL, teacher, batch_size=32, stage=Stage(seed=1))
    synthesizer.sample(8)
    return teacher, synthesizer


def test_a_mixture_has_as_many_classes_as_it_should(warm):
    shares = warm[1].generator.mixtures(50)
    assert shares.shape == (50, 5) and torch.allclose(shares.sum(1), torch.ones(50))
    assert ((shares > 0).sum(1) == 2).all()
    assert len({tuple(row) for row in (shares > 0).tolist()}) > 5, "not always the same pair"


def test_images_belong_to_the_classes_they_were_painted_for(warm):
    teacher, synthesizer = warm
    generator = synthesizer.generator
    with torch.no_grad():
        single, labels = generator.of_one_class(256)
        assert (teacher(single).argmax(1) == labels).float().mean() > 0.4  # chance: 0.2
        shares = generator.mixtures(256)
        answers = teacher(generator.paint(shares)).argmax(1, keepdim=True)
        assert (shares.gather(1, answers) > 0).float().mean() > 0.55  # one of two: chance 0.4


def test_the_student_sees_both_and_the_mapping_learns(warm):
    synthesizer = warm[1]
    before = synthesizer.generator.mapping.weight.detach().clone()
    figures = synthesizer.update(None)
    assert figures.keys() == {"generator_class", "generator_deviation"}
    assert not torch.equal(synthesizer.generator.mapping.weight, before)
    assert synthesizer.fresh().images.shape == (32, *SPEC.size)


def test_a_resumed_synthesizer_makes_the_same_images(warm):
    teacher, synthesizer = warm
    other = Qimera(SMALL, teacher, batch_size=32, stage=Stage(seed=2))
    other.load_state_dict(synthesizer.state_dict())
    assert torch.equal(other.sample(8).images, synthesizer.sample(8).images)


def test_a_classifier_that_is_a_convolution():
    model = nn.Sequential(*list(plain(normalize=True))[:-3], nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    batch = Qimera(SMALL, small_teacher(model), batch_size=16).sample(6)
    assert batch.images.shape == (6, *SPEC.size) and len(batch.labels) == 6
