"""Retain-while-Acquiring: the meta-gradient is the true one, the memory is bounded, batches are half remembered."""

from copy import deepcopy
from math import log

import pytest
import torch
from support.small_nets import SPEC, Residual, lived_in, small_teacher, trainable
from torch.func import functional_call

from dfq.calibration.generators.retain import Retain, RetainConfig
from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.training.losses import jensen_shannon
from dfq.training.retain_objective import RetainingDistillation

SMALL = RetainConfig(latent=16, width=16, warm_up=2, student_steps=3, memory_batches=1, push_every=1, push_share=2)


def images(count=8):
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


def total(objective, student, teacher, batch):
    return torch.stack(list(objective(student, batch, teacher).values())).sum()


@pytest.fixture(scope="module")
def teacher():
    return small_teacher()


class TestObjective:
    def test_the_meta_gradient_equals_finite_differences(self, teacher):
        """In float64 and on a smooth student, so that no kink lies between the two points."""
        torch.manual_seed(2)
        student = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(196, 5)
        ).double()
        batch, objective = Batch(images().double()), RetainingDistillation(inner_multiple=0.5)
        double = small_teacher()
        double.model.double()  # not the fixture, which other tests share
        parameters = list(student.parameters())
        losses = objective(student, batch, double)
        gradients = torch.autograd.grad(losses["retention_after"], parameters)
        generator = torch.Generator().manual_seed(0)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            direction /= direction.norm()
            slopes = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.add_(sign * 1e-6 * direction)
                slopes.append(objective(student, batch, double)["retention_after"].item())
                with torch.no_grad():
                    parameter.sub_(sign * 1e-6 * direction)
            numeric = (slopes[0] - slopes[1]) / 2e-6
            assert numeric == pytest.approx((gradient * direction).sum().item(), rel=1e-4, abs=1e-7)

    def test_a_cut_gradient_would_be_another_one(self, teacher):
        student = trainable(lived_in(Residual(), seed=5), SPEC)
        batch, objective = Batch(images()), RetainingDistillation(inner_multiple=0.9)
        loss = objective(student.eval(), batch, teacher)["retention_after"]
        found = torch.autograd.grad(loss, list(student.parameters()), allow_unused=True)
        acquisition = RetainingDistillation(replay_only=True)(student, batch, teacher)["acquisition"]
        gradients = torch.autograd.grad(acquisition, list(student.parameters()))
        moved = {n: (p - 0.9 * g).detach().requires_grad_() for (n, p), g in
                 zip(student.named_parameters(), gradients, strict=True)}  # fmt: skip
        new = functional_call(student, moved, (batch.images[4:],))
        cut = torch.autograd.grad((new - teacher(batch.images[4:])).abs().mean(), list(moved.values()))
        difference = sum((a - b).square().sum() for a, b in zip(found, cut, strict=True))
        assert difference > 1e-6 and (new - teacher(batch.images[4:])).abs().mean().item() == pytest.approx(loss.item())

    def test_differentiates_twice_through_fake_quantizers(self, teacher):
        student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), images()).train()
        batch = Batch(images())
        total(RetainingDistillation(inner_multiple=1e-3), student, teacher, batch).backward()
        whole = {name: parameter.grad.clone() for name, parameter in student.named_parameters()}
        student.zero_grad()
        total(RetainingDistillation(replay_only=True), student, teacher, batch).backward()
        replay = {name: parameter.grad for name, parameter in student.named_parameters()}
        assert all(gradient.isfinite().all() for gradient in whole.values())
        assert any(name.endswith("scale") and gradient.any() for name, gradient in whole.items())
        assert any(not torch.allclose(whole[name], 2 * replay[name]) for name in whole)

    def test_statistics_learn_from_the_two_half_batches_alone(self, teacher):
        student = trainable(lived_in(Residual(), seed=5), SPEC).train()
        norm = student.get_submodule("stem_norm")
        before = int(norm.num_batches_tracked)
        RetainingDistillation()(student, Batch(images()), teacher)
        assert int(norm.num_batches_tracked) == before + 2

    def test_the_inner_step_follows_the_learning_rate(self, teacher):
        student = trainable(lived_in(Residual(), seed=5), SPEC).eval()
        found = [
            RetainingDistillation(inner_multiple=multiple)(student, Batch(images(), learning_rate=rate), teacher)
            for multiple, rate in ((10.0, 0.01), (1.0, 0.1), (1.0, 0.01))
        ]
        after = [losses["retention_after"].item() for losses in found]
        assert after[0] == after[1] != after[2]

    def test_a_broken_look_ahead_is_said(self):
        objective = RetainingDistillation()
        fine = [{"held_out": 1.0}, {"retention": 0.2, "retention_after": 0.3}]
        assert objective.doubts(fine) == [] == RetainingDistillation(replay_only=True).doubts([{"retention": 1.0}])
        (said,) = objective.doubts([*fine, {"retention": 0.14, "retention_after": 2.26}])
        assert "16.1 times" in said

    def test_names_and_the_released_program(self, teacher):
        student = trainable(lived_in(Residual(), seed=5), SPEC).eval()
        losses = RetainingDistillation()(student, Batch(images()), teacher)
        assert set(losses) == {"acquisition", "retention", "retention_after"}
        expected = (student(images()[4:]) - teacher(images()[4:])).abs().mean()
        torch.testing.assert_close(losses["retention"], expected)
        assert set(RetainingDistillation(replay_only=True)(student, Batch(images()), teacher)) == {
            "acquisition", "retention"
        }  # fmt: skip


class TestSynthesizer:
    def test_half_of_a_batch_is_remembered_and_the_memory_is_bounded(self, teacher):
        synthesizer = Retain(SMALL, teacher, batch_size=8)
        student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), images())
        seen = []
        for step in range(5):
            synthesizer.update(student)
            seen.append(synthesizer.fresh().images[:4])
            assert len(synthesizer.memory) == min(4 * (step + 1), 8)
        assert torch.equal(synthesizer.memory.rows, torch.cat(seen[-2:])), "first in, first out"
        remembered = synthesizer.fresh().images[4:]
        assert all(any(torch.equal(image, kept) for kept in synthesizer.memory.rows) for image in remembered)

    def test_restores(self, teacher):
        student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), images())
        first, second = (Retain(SMALL, teacher, batch_size=8, stage=Stage(seed=seed)) for seed in (0, 1))
        first.update(student)
        second.load_state_dict(deepcopy(first.state_dict()))
        for synthesizer in (first, second):
            synthesizer.update(student)
        assert torch.equal(first.fresh().images, second.fresh().images)


def test_jensen_shannon_against_the_definition():
    sure = torch.tensor([[50.0, 0.0]])
    assert jensen_shannon(sure, sure.flip(1)).item() == pytest.approx(log(2), abs=1e-5)
    assert jensen_shannon(sure, sure).item() == pytest.approx(0, abs=1e-6)
    p, q = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])
    middle = (p + q) / 2
    expected = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    torch.testing.assert_close(jensen_shannon(p.log()[None], q.log()[None]), expected)
