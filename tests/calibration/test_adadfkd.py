"""AdaDFKD: the window over the negatives moves from easy to hard, the memory is bounded, easy samples weigh more."""

from copy import deepcopy
from math import exp, log

import pytest
import torch
from support.small_nets import SPEC, plain, small_teacher
from torch.nn.functional import cosine_similarity

from dfq.calibration.generators.adadfkd import AdaDFKD, AdaDFKDConfig, RingWindow
from dfq.calibration.generators.image_memory import Fifo
from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.stage import Stage
from dfq.training.contrastive_loss import directions, info_nce
from dfq.training.image_sources import ScheduledImages
from dfq.training.losses import class_balance, one_hot
from dfq.training.self_paced_objective import SelfPacedDistillation

SMALL = AdaDFKDConfig(latent=16, width=16, warm_up=2, queue=20, student_steps=2)


def images(count=12):
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def teacher():
    return small_teacher()


def student_of(teacher):
    return calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), images())


class TestRingWindow:
    def test_moves_from_the_easiest_to_the_hardest_negatives(self):
        window, similarities = RingWindow(share=0.5, start=0.2, end=0.8), torch.rand(3, 100)
        picked = [window.pick(similarities, done) for done in (0.0, 0.2, 0.5, 0.8, 1.0)]
        ranked = similarities.sort(1).values
        assert torch.equal(picked[0], ranked[:, :50]) and torch.equal(picked[1], ranked[:, :50])
        assert torch.equal(picked[2], ranked[:, 25:75])
        assert torch.equal(picked[3], ranked[:, 50:]) and torch.equal(picked[4], ranked[:, 50:])

    def test_has_its_size_however_few_negatives_there_are(self):
        for count, size in ((1, 1), (2, 2), (5, 4), (4096, 3277)):
            for done in (0.0, 0.5, 1.0):
                assert RingWindow(share=0.8).pick(torch.rand(2, count), done).shape == (2, size)

    def test_never_moves_back(self):
        offsets = [RingWindow().offset(step / 50) for step in range(51)]
        assert offsets == sorted(offsets) and offsets[0] == 0 and offsets[-1] == pytest.approx(0.2)


class TestFifo:
    def test_is_bounded_and_forgets_the_oldest_first(self):
        memory = Fifo(5)
        assert len(memory) == 0
        for start in (0, 3, 6):  # the capacity is no multiple of a push
            memory.push(torch.arange(start, start + 3.0))
            assert len(memory) <= 5
        assert memory.rows.tolist() == [4, 5, 6, 7, 8]
        memory.push(torch.arange(20.0))
        assert memory.rows.tolist() == [15, 16, 17, 18, 19]
        assert memory.rows.untyped_storage().nbytes() == 5 * 4, "the forgotten rows are freed"

    def test_keeps_no_graph_and_restores(self):
        memory, again = Fifo(4), Fifo(4)
        memory.push(torch.ones(3, 2, requires_grad=True) * 2)
        again.load_state_dict(memory.state_dict())
        assert not memory.rows.requires_grad and torch.equal(again.rows, memory.rows)
        drawn = again.draw(9, torch.Generator().manual_seed(0))
        assert drawn.shape == (9, 2)


def test_info_nce_against_the_definition():
    query, positive, negatives = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8]), torch.tensor([[0.0, 1], [-1, 0]])
    similarities = torch.cat([query @ positive[:, None], negatives @ query])[None]
    expected = -log(exp(0.6 / 0.07) / (exp(0.6 / 0.07) + 1 + exp(-1 / 0.07)))
    torch.testing.assert_close(
        info_nce(similarities, torch.tensor([0])), torch.tensor([expected]), atol=1e-6, rtol=1e-4
    )


def test_directions_of_another_width_are_always_projected_alike():
    features = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(directions(features, 200), directions(features, 200))
    torch.testing.assert_close(directions(features, 200).norm(dim=1), torch.ones(6))
    torch.testing.assert_close(directions(features, 40), features / features.norm(dim=1, keepdim=True))
    before = cosine_similarity(features[:3], features[3:])
    assert (
        cosine_similarity(directions(features, 4000)[:3], directions(features, 4000)[3:]) - before
    ).abs().max() < 0.1


def test_balance_and_certainty_against_the_definitions():
    assert class_balance(torch.zeros(4, 5)).item() == pytest.approx(-log(5))
    sure = torch.eye(5) * 100
    assert class_balance(sure).item() == pytest.approx(-log(5), abs=1e-5)
    assert class_balance(sure[:1].expand(4, 5)).item() == pytest.approx(0, abs=1e-5)
    assert one_hot(sure).item() == pytest.approx(0, abs=1e-5)
    assert one_hot(torch.zeros(4, 5)).item() == pytest.approx(log(5))
    logits = (sure[:1] * 10).requires_grad_()
    class_balance(logits).backward()
    assert logits.grad.isfinite().all()


class TestGenerator:
    def test_learns_once_for_several_steps_of_the_student(self, teacher):
        synthesizer, student = AdaDFKD(SMALL, teacher, batch_size=8), student_of(teacher).train()
        before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        figures = [synthesizer.update(student) for _ in range(4)]
        assert figures[0] == figures[1] != figures[2]
        names = ("balance", "one_hot", "deviation", "disagreement", "relation")
        assert set(figures[0]) == {f"generator_{name}" for name in names}
        assert student.training and all(parameter.requires_grad for parameter in student.parameters())
        assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
        assert len(synthesizer.queue) == 16 and synthesizer.fresh().images.shape == (8, *SPEC.size)
        for _ in range(4):
            synthesizer.update(student)
        assert len(synthesizer.queue) == 20

    def test_the_relation_reaches_the_generator_through_the_teacher_alone(self, teacher):
        synthesizer = AdaDFKD(SMALL, teacher, batch_size=8)
        synthesizer.queue.push(directions(torch.randn(20, 8), 8))
        queries = torch.randn(8, 8, requires_grad=True)
        keys = directions(torch.randn(8, 8), 8)
        synthesizer._relation(queries / queries.norm(dim=1, keepdim=True), keys).backward()
        assert queries.grad.any() and queries.grad.isfinite().all()

    def test_harder_negatives_cost_more(self, teacher):
        synthesizer = AdaDFKD(SMALL, teacher, batch_size=8)
        synthesizer.queue.push(directions(torch.randn(20, 8, generator=torch.Generator().manual_seed(2)), 8))
        queries, keys = directions(torch.randn(4, 8), 8), directions(torch.randn(4, 8), 8)
        losses = []
        for synthesizer.done in (0.0, 0.45, 1.0):
            losses.append(synthesizer._relation(queries, keys).item())
        assert losses[0] < losses[1] < losses[2]

    def test_the_source_tells_how_far_training_is_and_restores(self, teacher):
        synthesizer, student = AdaDFKD(SMALL, teacher, batch_size=8), student_of(teacher)
        source = ScheduledImages(teacher, synthesizer.sample(8), synthesizer)
        source.batch(student, 8, 0.7, torch.Generator())
        assert synthesizer.done == 0.7
        other = AdaDFKD(SMALL, teacher, batch_size=8, stage=Stage(seed=9))
        restored = ScheduledImages(teacher, other.sample(8), other)
        restored.load_state_dict(deepcopy(source.state_dict()))  # Adam takes tensors over by reference
        for done in (0.8, 0.9):
            expected, _ = source.batch(student, 8, done, torch.Generator())
            got, _ = restored.batch(student, 8, done, torch.Generator())
            assert torch.equal(got.images, expected.images)

    def test_without_batch_norm(self):
        teacher = small_teacher(plain())
        synthesizer = AdaDFKD(SMALL, teacher, batch_size=8)
        assert synthesizer.sample(4).images.isfinite().all()
        assert synthesizer.update(student_of(teacher))["generator_deviation"] >= 0


class TestSelfPaced:
    def test_easy_samples_weigh_more_and_hard_ones_more_later(self):
        objective, losses = SelfPacedDistillation(start=1.5, growth=1e-2), torch.tensor([0.0, 0.5, 1.5, 10.0])
        early, late = objective.weight(losses, 0), objective.weight(losses, 300)
        expected = [(1 + exp(-1.5)) / (1 + exp(loss - 1.5)) for loss in losses.tolist()]
        torch.testing.assert_close(early, torch.tensor(expected))
        assert early[0].item() == pytest.approx(1) and torch.equal(early, early.sort(descending=True).values)
        assert (late[1:] > early[1:]).all()

    def test_the_released_code_has_one_weight_for_the_batch(self):
        losses = torch.tensor([0.1, 4.0])
        assert SelfPacedDistillation(per_sample=False).weight(losses, 0).shape == ()
        assert SelfPacedDistillation().weight(losses, 0).shape == (2,)

    def test_the_weight_carries_no_gradient(self, teacher):
        objective, student, batch = SelfPacedDistillation(contrast_weight=0.0), student_of(teacher), Batch(images())
        found = torch.autograd.grad(objective(student, batch, teacher)["kd"], student.get_submodule("head").weight)
        with torch.no_grad():
            target = teacher.features(batch.images).logits
        each = torch.nn.functional.kl_div(
            (student(batch.images) / 3).log_softmax(1), (target / 3).softmax(1), reduction="none"
        ).sum(1)
        weighted = (objective.weight(each.detach(), 0) * each).mean() * 9
        expected = torch.autograd.grad(weighted, student.get_submodule("head").weight)
        torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-4)
