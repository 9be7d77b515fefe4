"""RDSKD: the exponential reference restarts per epoch, diversity is what mode seeking rewards, the generator stops."""

from dataclasses import replace
from math import e

import pytest
import torch
from support.small_nets import SPEC, small_teacher

from dfq.calibration.generators.rdskd import RDSKD, ExponentialReferences, RDSKDConfig
from dfq.training.losses import mode_seeking

SMALL = RDSKDConfig(latent=16, width=16, warm_up=4, epoch=3)


def losses(value):
    return {"loss": torch.tensor(value)}


class TestExponentialReferences:
    def test_restart_at_each_epoch(self):
        references = ExponentialReferences(epoch=3)
        values = [references(losses(value))["loss"].item() for value in (1.0, 2.0, 1.0, 3.0, 4.0, 2.0, 5.0, 5.0)]
        assert values == pytest.approx([e, e**2, e, 1.0, e, 1 / e, 1.0, 1.0])

    def test_a_loss_that_has_risen_weighs_exponentially_more(self):
        references = ExponentialReferences(epoch=1)
        references(losses(0.0))
        references.epoch = 100
        references.values = {"loss": 1.0}
        gradients = []
        for value in (0.0, 1.0, 3.0):
            loss = torch.tensor(value, requires_grad=True)
            references({"loss": loss})["loss"].backward()
            gradients.append(loss.grad.item())
        assert gradients == pytest.approx([1 / e, 1.0, e**2])

    def test_computes_in_float32_and_the_reference_carries_no_gradient(self):
        references = ExponentialReferences(epoch=1)
        references(losses(1.0))
        loss = torch.tensor(1.0, dtype=torch.bfloat16, requires_grad=True)
        scaled = references({"loss": loss})["loss"]
        scaled.backward()
        assert scaled.dtype == torch.float32 and loss.grad.item() == 1.0


def test_mode_seeking_against_the_definition():
    logits = torch.tensor([[20.0, 0.0], [20.0, 0.0], [0.0, 20.0], [20.0, 0.0]])
    images = torch.zeros(4, 1, 2, 2)
    images[2:] = 1.0
    assert mode_seeking(logits, images).item() == pytest.approx((2**0.5 / 2 + 0) / 2, abs=1e-6)
    assert mode_seeking(logits, images * 3).item() == pytest.approx(2**0.5 / 12, abs=1e-6)
    assert mode_seeking(logits[:3], images[:3]).isfinite()


def test_the_generator_learns_before_the_student_and_stands_still_after():
    teacher = small_teacher()
    synthesizer = RDSKD(SMALL, teacher, batch_size=8)
    start = [parameter.clone() for parameter in synthesizer.generator.network.parameters()]
    assert synthesizer.sample(8).images.shape == (8, *SPEC.size)
    warm = [parameter.clone() for parameter in synthesizer.generator.network.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(start, warm, strict=True) if a.any())
    assert synthesizer.references.steps == 4 and synthesizer.references.values.keys() == {"one_hot", "balance"}
    first = synthesizer.update(torch.nn.Identity()), synthesizer.fresh()
    second = synthesizer.update(torch.nn.Identity()), synthesizer.fresh()
    assert first[0] == second[0] == {} and not torch.equal(first[1].images, second[1].images)
    after = synthesizer.generator.network.parameters()
    assert all(torch.equal(a, b) for a, b in zip(warm, after, strict=True))


def test_a_resumed_run_that_lost_its_generator_makes_it_again():
    synthesizer = RDSKD(SMALL, small_teacher(), batch_size=8)
    synthesizer.update(torch.nn.Identity())  # images were taken over, so nobody asked for a sample
    assert synthesizer.is_warm and synthesizer.references.steps == 4


@pytest.mark.parametrize("weight", (0.0, 1.0))
def test_statistics_count_where_they_have_a_weight(weight):
    synthesizer = RDSKD(replace(SMALL, statistics_weight=weight), small_teacher(), batch_size=8)
    names = {"generator_one_hot", "generator_balance", "generator_modes"}
    assert synthesizer.learn(None).keys() == names | ({"generator_deviation"} if weight else set())


def test_their_weight_draws_the_images_to_the_statistics():
    teacher, deviations = small_teacher(), []
    for weight in (0.0, 10.0):
        config = replace(SMALL, warm_up=60, statistics_weight=weight)
        images = RDSKD(config, teacher, batch_size=32).sample(64).images
        with teacher.bn_statistics() as statistics:
            teacher(images)
            deviations.append(statistics.mean_squared_loss().item())
    assert deviations[1] < 0.8 * deviations[0]
