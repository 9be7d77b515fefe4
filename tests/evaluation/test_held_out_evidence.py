"""Evidence on a student without real images."""

import copy

import pytest
import torch
from support.small_nets import SPEC, small_teacher

from dfq.evaluation.held_out_evidence import HeldOutEvidence, measure_evidence


def held_out() -> torch.Tensor:
    return torch.randn(24, *SPEC.size, generator=torch.Generator().manual_seed(2))


def disturbed(teacher, amount: float):
    """A copy of the teacher's network with noise on its weights."""
    network, generator = copy.deepcopy(teacher.model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(amount * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator))
    return network


def test_evidence_grows_with_the_damage():
    teacher = small_teacher()
    same = measure_evidence(teacher.model, teacher, held_out())
    assert same.mixed_agreement == same.far_agreement == 1 and same.divergence == pytest.approx(0, abs=1e-6)
    little, much = (measure_evidence(disturbed(teacher, amount), teacher, held_out()) for amount in (0.1, 1.0))
    assert 0 < little.divergence < much.divergence and 0 < little.mixed_divergence < much.mixed_divergence
    assert 1 >= little.mixed_agreement > much.mixed_agreement
    assert 1 >= little.far_agreement > much.far_agreement
    assert measure_evidence(disturbed(teacher, 0.1), teacher, held_out()) == little, "the same draws every time"


def test_evidence_is_measured_on_as_many_mixtures_as_it_was_asked_for():
    teacher, student = small_teacher(), disturbed(small_teacher(), 0.3)
    held_out_evidence = HeldOutEvidence(teacher, held_out(), mixtures=50)
    assert len(held_out_evidence.mixtures) == len(held_out_evidence.far) == 72, "whole rounds of the 24 images"
    evidence = held_out_evidence.measure(student)
    for images, found in (
        (held_out_evidence.mixtures, evidence.mixed_agreement),
        (held_out_evidence.far, evidence.far_agreement),
    ):
        same = sum(int((student(image[None]).argmax(1) == teacher(image[None]).argmax(1)).item()) for image in images)
        assert found == pytest.approx(same / 72)
    assert HeldOutEvidence(teacher, held_out()).measure(student) == measure_evidence(student, teacher, held_out())
