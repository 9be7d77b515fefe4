"""Weights of synthesis terms as ratios of gradients."""

from dataclasses import dataclass

import pytest
import torch
from support.small_nets import Residual, small_teacher

from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.gradient_weights import AtRatio, WeightedTerms
from dfq.calibration.inversion_terms import Saturation, SynthesisRelations, SynthesisStep


@dataclass(frozen=True)
class Pull:
    """A term with a gradient of a known length."""

    strength: float

    def __call__(self, step):
        return self.strength * step.pixels.sum()


@dataclass(frozen=True)
class Silent:
    def __call__(self, step):
        return None


def step_of(values):
    return SynthesisStep(
        pixel_logits=values, pixels=values, images=values, labels=None, logits=None, student=None, standardized=False,
        generator=torch.Generator(),
    )  # fmt: skip


def length(loss, values):
    return torch.autograd.grad(loss, values, retain_graph=True)[0].norm().item()


@pytest.mark.parametrize("strength", [1e-3, 1.0, 50.0])
def test_a_term_pulls_as_hard_as_asked_for_whatever_its_own_scale(strength):
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    base = values.square().sum()
    terms = WeightedTerms((Saturation(2.0), AtRatio(Pull(strength), 0.3), Silent()))
    losses = terms.losses(base, step_of(values))
    assert set(losses) == {"saturation", "pull"}
    rest = length(base + losses["saturation"], values)
    assert length(losses["pull"], values) == pytest.approx(0.3 * rest, rel=1e-4)


def test_weights_are_measured_from_time_to_time_and_kept_in_between():
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    terms = WeightedTerms((AtRatio(Pull(1.0), 1.0),), every=3)
    found = []
    for scale in (1.0, 2.0, 3.0, 4.0):
        terms.losses(scale * values.square().sum(), step_of(values))
        found.append(terms.weights[0])
    assert found[0] == found[1] == found[2] and found[3] == pytest.approx(4 * found[0])
    again = WeightedTerms((AtRatio(Pull(1.0), 1.0),), every=3)
    again.load_state_dict(terms.state_dict())
    assert (again.steps, again.weights) == (4, terms.weights)


def test_terms_of_one_class_are_added_up():
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = WeightedTerms((Pull(1.0), Pull(2.0))).losses(values.sum(), step_of(values))
    torch.testing.assert_close(losses["pull"], 3 * values.sum())


def test_a_term_that_applies_later_is_weighed_at_once():
    """Terms against a student begin at any step, not only at those at which weights are measured."""

    class Later:
        def __call__(self, step):
            return None if terms.steps < 4 else Pull(50.0)(step)

    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    terms = WeightedTerms((AtRatio(Later(), 0.3),))
    base = values.square().sum()
    for _ in range(4):
        assert terms.losses(base, step_of(values)) == {}
    (loss,) = terms.losses(base, step_of(values)).values()
    assert length(loss, values) == pytest.approx(0.3 * length(base, values), rel=1e-4)


def test_a_term_without_a_gradient_gets_no_weight():
    values = torch.randn(2, 3, 4, 4, requires_grad=True)
    losses = WeightedTerms((AtRatio(Pull(0.0), 1.0),)).losses(values.square().sum(), step_of(values))
    assert losses["pull"].item() == 0 and torch.isfinite(losses["pull"])


def test_what_a_term_needs_is_asked_of_the_term_inside():
    term = AtRatio(SynthesisRelations(1.0), 0.1)
    assert term.needs_student and term.needs_pairs and not term.needs_inner
    assert not AtRatio(Saturation(1.0), 0.1).needs_student


def test_a_generator_whose_images_are_compared_draws_several_of_each_class():
    """Of a thousand classes, a batch of 64 would have no pair in most draws."""
    teacher = small_teacher(Residual(classes=1000))
    for terms, most in (((), 2), ((SynthesisRelations(1.0),), 4)):
        generator = GDFQ(GDFQConfig(width=16, terms=terms), teacher, batch_size=64).generator
        _, labels = generator.images(64)
        assert torch.bincount(labels).max() <= most
        if terms:
            assert (torch.bincount(labels)[labels] == 4).all()
