"""Training: it helps, stops cleanly, survives bad numbers and kills, and selects on held-out synthetic images."""

from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, small_teacher
from torch import nn

from dfq.errors import DfqError
from dfq.images.batch import Batch
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget, parse_duration
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.image_sources import FixedImages
from dfq.training.losses import knowledge_distillation
from dfq.training.objectives import KnowledgeDistillation
from dfq.training.settings import TrainSettings
from dfq.training.trainer import History, Trainer
from dfq.training.training_state import TrainingState

SETTINGS = TrainSettings(steps=40, batch_size=32, learning_rate=1e-3, evaluate_every=10)


def batches():
    images = torch.randn(160, *SPEC.size, generator=torch.Generator().manual_seed(5))
    return Batch(images).split(32)


def sources(teacher):
    training, held_out = batches()
    return FixedImages(teacher, training), held_out


def student_of(teacher, bits=2):
    return calibrate(make_student(teacher, make_scheme("deploy", bits=bits)), batches()[0].images)


def test_both_networks_see_valid_pixels_where_asked():
    teacher, seen = small_teacher(), []

    def watch(student, batch, teacher):
        seen.append(teacher.input_spec.to_pixels(batch.images) - (batch.images * 0.25 + 0.5))
        return KnowledgeDistillation()(student, batch, teacher)

    loud = Batch(3 * batches()[0].images)
    for valid in (True, False):
        settings = replace(SETTINGS, steps=1, augment=None, valid_pixels=valid)
        Trainer(teacher, student_of(teacher), watch, settings).fit(FixedImages(teacher, loud), batches()[1])
    assert seen[0].abs().max() < 1e-5 < 0.1 < seen[1].abs().max()


def test_training_lowers_the_held_out_divergence():
    teacher = small_teacher()
    student = student_of(teacher)
    history = Trainer(teacher, student, KnowledgeDistillation(), SETTINGS).fit(*sources(teacher))
    held_out = {record["step"]: record["held_out"] for record in history.records}
    chosen = held_out[history.chosen_step]
    assert chosen < 0.8 * held_out[0] and chosen <= 1.25 * min(held_out.values())
    assert [r["step"] for r in history.records] == [0, 10, 20, 30, 40]
    with torch.no_grad():
        images = batches()[1].images
        final = knowledge_distillation(student(images), teacher(images), SETTINGS.selection_temperature)
    assert final.item() == pytest.approx(chosen, rel=1e-4), "the student holds the chosen state"


def test_a_step_size_that_destroys_is_not_kept():
    teacher = small_teacher()
    student = student_of(teacher, bits=8)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    settings = TrainSettings(steps=10, batch_size=16, learning_rate=10.0, evaluate_every=5)
    history = Trainer(teacher, student, KnowledgeDistillation(), settings).fit(*sources(teacher))
    assert history.chosen_step == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_non_finite_losses_are_skipped_and_end_training():
    teacher = small_teacher()
    student = student_of(teacher)
    before = [p.detach().clone() for p in student.parameters()]

    def broken(student, batch, teacher):
        return {"broken": student(batch.images).sum() * float("nan")}

    history = Trainer(teacher, student, broken, SETTINGS).fit(*sources(teacher))
    assert history.steps < SETTINGS.steps and "not finite" in history.notes[0]
    assert all(torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_budget_ends_training_early():
    teacher = small_teacher()
    settings = TrainSettings(steps=10**6, batch_size=8)
    student = student_of(teacher)
    budget = Budget(2.0)
    history = Trainer(teacher, student, KnowledgeDistillation(), settings, stage=Stage(budget=budget)).fit(
        *sources(teacher)
    )
    assert 0 < history.steps < 10**5 and budget.elapsed() < 10


def test_same_seed_same_student():
    teacher = small_teacher()
    states = []
    for _ in range(2):
        student = student_of(teacher)
        Trainer(teacher, student, KnowledgeDistillation(), SETTINGS).fit(*sources(teacher))
        states.append(student.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_killed_run_goes_on_where_it_was(tmp_path, saves_always):
    teacher, path = small_teacher(), tmp_path / "training.ckpt"

    class Killed(Exception):
        pass

    calls = []

    def dies(student, batch, teacher):
        calls.append(1)
        if len(calls) > 25:
            raise Killed
        return KnowledgeDistillation()(student, batch, teacher)

    with pytest.raises(Killed):
        Trainer(teacher, student_of(teacher), dies, SETTINGS, stage=Stage(checkpoint=path)).fit(*sources(teacher))
    resumed = student_of(teacher)
    history = Trainer(teacher, resumed, KnowledgeDistillation(), SETTINGS, stage=Stage(checkpoint=path)).fit(
        *sources(teacher)
    )
    whole = student_of(teacher)
    Trainer(teacher, whole, KnowledgeDistillation(), SETTINGS).fit(*sources(teacher))
    assert [r["step"] for r in history.records] == [0, 10, 20, 30, 40]
    expected = whole.state_dict()
    for name, tensor in resumed.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=0, rtol=0)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "fast", "-5m", "0", "5 days", "m"])
def test_bad_durations(text):
    with pytest.raises(DfqError, match="positive time"):
        parse_duration(text)


def test_knowledge_distillation_against_the_definition():
    student = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 0.2]])
    teacher = torch.tensor([[2.0, 1.0, 0.0], [0.3, 0.1, 0.9]])
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p, q = torch.softmax(t / 4, 0), torch.softmax(s / 4, 0)
        total += float((p * (p / q).log()).sum())
    assert knowledge_distillation(student, teacher, 4.0).item() == pytest.approx(16 * total / 2, rel=1e-5)
    assert knowledge_distillation(teacher, teacher, 4.0).item() == pytest.approx(0, abs=1e-6)


def moved_on():
    """(state of a training whose best loss was 1 at step 0 and that is at step 10 now, student, its weight then)."""
    student, history = nn.Linear(2, 2), History()
    state = TrainingState(None, student, None, torch.Generator(), history, None)
    before = student.weight.detach().clone()
    state.keep_if_best(1.0)
    history.steps = 10
    with torch.no_grad():
        student.weight.add_(1)
    return state, student, before


def test_training_that_did_not_help_is_undone():
    state, student, before = moved_on()
    assert state.choose(last_loss=1.1, first_loss=2.0) == 10 and not torch.equal(student.weight, before)
    assert state.choose(last_loss=1.1, first_loss=1.0) == 0 and torch.equal(student.weight, before)


@pytest.mark.parametrize("last_again, chosen", [(1.2, 10), (1.3, 0)])
def test_what_later_images_deny_is_not_undone(last_again, chosen):
    state, student, before = moved_on()
    after = student.weight.detach().clone()

    def on_more_images() -> float:
        return 1.0 if torch.equal(student.weight, before) else last_again

    assert state.choose(last_loss=1.5, first_loss=2.0, measure=on_more_images) == chosen
    assert torch.equal(student.weight, after if chosen else before)


class MovesAway(FixedImages):
    """Trains on what it also gives as the images of its end, or claims that nothing moved."""

    def __init__(self, teacher, images, later):
        super().__init__(teacher, images)
        self.later = later

    def unseen_at_the_end(self):
        return self.later


def means_of_channels() -> nn.Sequential:
    """Logits that are linear in the mean of each channel, so that images of one channel train its weights alone."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5, bias=False))


def test_a_generator_that_moved_away_from_the_held_out_images_keeps_its_last_student():
    teacher = Teacher(means_of_channels(), SPEC)
    now, stale = (Batch(torch.zeros(160, *SPEC.size)) for _ in range(2))
    now.images[:, 0], stale.images[:, 1] = 3, 3
    divergence = KnowledgeDistillation()

    def moves(student, batch, teacher):
        here, there = divergence(student, batch, teacher), divergence(student, stale, teacher)
        return {name: here[name] - there[name] for name in here}

    def train(later):
        student = means_of_channels()
        with torch.no_grad():
            student[2].weight.add_(torch.tensor([1.0, 0.1, 0.0]) * torch.randn(5, 1))
        return Trainer(teacher, student, moves, replace(SETTINGS, learning_rate=1e-2)).fit(
            MovesAway(teacher, now, later), stale
        )

    assert train(None).chosen_step == 0, "the case under test: stale images speak against the last state"
    assert train(now).chosen_step == 40


def test_accuracy_over_time_is_recorded_and_chooses_nothing():
    seen: list[bool] = []

    def worse_and_worse(network: nn.Module) -> float:
        seen.append(network.training)
        return 1 / len(seen)

    teacher = small_teacher()
    students = [student_of(teacher), student_of(teacher)]
    plain, watched = (
        Trainer(teacher, student, KnowledgeDistillation(), SETTINGS, accuracy=accuracy).fit(*sources(teacher))
        for student, accuracy in zip(students, (None, worse_and_worse), strict=True)
    )
    assert [record["accuracy"] for record in watched.records] == [1 / n for n in range(1, 6)] and not any(seen)
    assert "accuracy" not in plain.records[0] and plain.chosen_step == watched.chosen_step == 40
    weights = zip(students[0].parameters(), students[1].parameters(), strict=True)
    assert all(torch.equal(first, second) for first, second in weights)
