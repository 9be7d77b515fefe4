"""Evidence without real images, and the estimate that is drawn from it."""

import copy
import json
from pathlib import Path

import pytest
import torch
from support.small_nets import SPEC, small_teacher

from dfq.evaluation.drop_estimate import (
    FITTED,
    Estimate,
    Evidence,
    HeldOutEvidence,
    drop_interval,
    fit_estimate,
    measure_evidence,
    predicted_drop,
)


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


def agreeing(share: float) -> Evidence:
    return Evidence(divergence=0.0, mixed_agreement=1.0, mixed_divergence=0.0, far_agreement=share)


def test_the_fit_finds_a_known_relation():
    truth = Estimate(offset=-0.5, power=1.5, error=0.0)
    students = [(evidence, truth.drop(evidence)) for evidence in map(agreeing, (0.5, 0.7, 0.9, 0.95, 0.99))]
    found = fit_estimate(students)
    assert found.power == pytest.approx(1.5, abs=0.03) and found.error < 0.002
    for evidence, drop in students:
        assert found.drop(evidence) == pytest.approx(drop, abs=0.005)


def test_an_estimate_stays_a_fraction():
    wild = Estimate(offset=5.0, power=1.0, error=0.0)
    assert wild.drop(agreeing(0.0)) == 1.0
    assert 0 <= Estimate(offset=0.0, power=2.0, error=0.0).drop(agreeing(1.0)) < 1e-5


def test_nothing_is_predicted_from_images_unlike_the_training_data():
    evidence = agreeing(0.9)
    assert predicted_drop(evidence, (0.01, 0.05)) == FITTED.drop(evidence) > 0
    assert predicted_drop(evidence, (0.01, 0.5)) is None and predicted_drop(evidence, None) is None


def test_the_interval_of_a_drop():
    assert drop_interval(0.0) == (0.0, 0.01) and drop_interval(0.8) == (0.39, 1.0)
    assert drop_interval(0.1) == pytest.approx((0.04, 0.21))


def test_nearly_all_measured_students_lie_within_the_interval():
    """Each network is predicted by a fit over the others."""
    rows = json.loads((Path(__file__).parents[2] / "benchmarks/results/estimate.json").read_text())["rows"]
    drops = [(Evidence(**row["evidence"]), row["drop"] / row["teacher_accuracy"], row["net"]) for row in rows]
    inside = 0
    for evidence, drop, net in drops:
        fitted = fit_estimate([(other, known) for other, known, of_net in drops if of_net != net])
        low, high = drop_interval(fitted.drop(evidence))
        inside += low <= max(drop, 0.0) <= high
    assert (inside, len(drops)) == (63, 64)
