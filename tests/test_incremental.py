"""Class-incremental learning without old images: the head grows, old classes are replayed, the command works."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import fail, succeed
from small_nets import SPEC, Residual, plain, small_teacher
from torch import nn

import dfq
from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.demo import BATCH_SIZE, digits, normalized
from dfq.errors import DfqError
from dfq.features import Features
from dfq.incremental import (
    STRATEGIES,
    IncrementSettings,
    average_accuracy,
    forgetting,
    increment_model,
    increment_sessions,
)
from dfq.incremental.grown import grow
from dfq.incremental.strategies import (
    HeadOverAll,
    Lesson,
    NewAmongThemselves,
    OldAnswers,
    OldFeatures,
    Relations,
    total,
)
from dfq.labelled import Labelled
from dfq.models.registry import DIGITS_INPUT, build
from dfq.teacher import Teacher

OLD = 5
FEW = {"strategy": "inversion", "images": 16, "steps": 12, "batch_size": 8, "flip": False}


def part(which: str, first: int, last: int) -> Labelled:
    """Digits from `first` to `last`, numbered from 0."""
    found = digits(which)
    kept = (found.labels >= first) & (found.labels <= last)
    return Labelled(found.images[kept], found.labels[kept] - first)


def accuracy(model, which, first, last, offset=0):
    found = part(which, first, last)
    with torch.no_grad():
        answers = model(normalized(found)).argmax(1)
    return float((answers == torch.from_numpy(found.labels) + offset).float().mean())


@pytest.fixture(scope="module")
def old_file(tmp_path_factory):
    """A checkpoint that knows the digits 0 to 4."""
    torch.manual_seed(0)
    model, known = build("dfq/digits_cnn", OLD), part("training", 0, OLD - 1)
    images, labels = normalized(known), torch.from_numpy(known.labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for _ in range(150):
        index = torch.randint(len(images), (BATCH_SIZE,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()
    return save_checkpoint(tmp_path_factory.mktemp("old") / "old.pt", model.eval(), "dfq/digits_cnn", DIGITS_INPUT)


@pytest.fixture(scope="module")
def teacher(old_file):
    return Teacher(load_checkpoint(old_file).model, DIGITS_INPUT)


@pytest.fixture(scope="module")
def new_file(tmp_path_factory):
    found = part("training", OLD, 9)
    path = tmp_path_factory.mktemp("new") / "new.npz"
    np.savez(path, images=found.images, labels=found.labels)
    return path


class TestGrow:
    def test_old_logits_stay(self, teacher):
        grown, images = grow(teacher, 3), torch.randn(4, 1, 8, 8)
        logits = grown.model(images)
        assert logits.shape == (4, 8)
        torch.testing.assert_close(logits[:, :5], teacher(images))
        assert torch.equal(grown.graph(images), logits) and torch.equal(grown.old(images), logits[:, :5])
        assert all(parameter.requires_grad for parameter in grown.model.parameters())
        assert teacher(images).shape == (4, 5)

    def test_all_views_share_their_layers(self, teacher):
        grown, images = grow(teacher, 3), torch.randn(4, 1, 8, 8)
        with torch.no_grad():
            grown.head.bias.add_(1.0)
        torch.testing.assert_close(grown.old(images), teacher(images) + 1)
        assert torch.equal(grown.graph(images), grown.model(images))

    def test_new_rows_depend_on_the_seed_alone(self, teacher):
        assert torch.equal(grow(teacher, 3, seed=1).head.weight, grow(teacher, 3, seed=1).head.weight)
        assert not torch.equal(grow(teacher, 3, seed=1).head.weight, grow(teacher, 3, seed=2).head.weight)

    def test_a_head_that_cannot_grow(self):
        teacher = small_teacher(nn.Sequential(plain()[:-3], nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        with pytest.raises(DfqError, match="last linear layer"):
            grow(teacher, 2)


class TestTerms:
    def lesson(self):
        torch.manual_seed(0)
        head = nn.Linear(6, 8)
        features, old = torch.randn(10, 6, requires_grad=True), torch.randn(10, 6)
        student = Features(head(features), (), features)
        labels = torch.tensor([5, 6, 7, 5, 6, 0, 1, 1, 2, 2])
        return Lesson(student, Features(torch.randn(10, 5), (), old), labels, 5, head), features

    def test_new_images_do_not_move_old_logits(self):
        lesson, _ = self.lesson()
        (gradient,) = torch.autograd.grad(NewAmongThemselves()(lesson), lesson.student.logits)
        assert gradient[:5, 5:].any() and not gradient[:, :5].any() and not gradient[5:].any()

    def test_the_head_alone_learns_to_tell_new_from_old(self):
        lesson, features = self.lesson()
        HeadOverAll()(lesson).backward()
        assert features.grad is None and lesson.head.weight.grad.any()

    def test_relations_do_not_cross_from_new_images_to_replayed_ones(self):
        lesson, features = self.lesson()
        for part in (slice(0, 5), slice(5, 10)):
            moved = features.detach().clone()
            moved[part] = moved[part] @ torch.linalg.qr(torch.randn(6, 6)).Q  # as a whole: distances within stay
            turned = replace(lesson, student=Features(lesson.student.logits, (), moved))
            torch.manual_seed(1)
            expected = Relations()(lesson)
            torch.manual_seed(1)
            torch.testing.assert_close(Relations()(turned), expected)
        assert expected > 0

    def test_the_head_weighs_new_and_replayed_images_by_their_classes(self):
        lesson, _ = self.lesson()
        new, old = (
            nn.functional.cross_entropy(lesson.student.logits[p], lesson.labels[p]) for p in (slice(5), slice(5, 10))
        )
        torch.testing.assert_close(HeadOverAll()(lesson), 3 / 8 * new + 5 / 8 * old)

    def test_old_answers_and_features_vanish_for_a_student_that_kept_them(self):
        lesson, features = self.lesson()
        kept = Lesson(
            lesson.student, Features(lesson.student.logits[:, :5], (), features), lesson.labels, 5, lesson.head
        )
        assert OldAnswers()(kept).item() == pytest.approx(0, abs=1e-6) and OldFeatures()(kept).item() == 0
        assert OldAnswers()(lesson) > 0 and OldFeatures()(lesson) > 0 and Relations()(lesson).isfinite()


def test_metrics_against_the_definitions():
    assert average_accuracy([1.0, 0.8, 0.6]) == pytest.approx(0.8)
    assert forgetting([[0.9], [0.7, 0.8], [0.6, 0.85, 0.9]]) == pytest.approx(((0.9 - 0.6) + (0.8 - 0.85)) / 2)


def test_replay_keeps_what_fine_tuning_forgets(teacher):
    new = part("training", OLD, 9)
    kept, learned = {}, {}
    for name in ("rgal", "fine-tuning"):
        settings = IncrementSettings(strategy=name, flip=False, images=64, steps=120, batch_size=32)
        model = increment_model(teacher, new, settings).model
        kept[name] = accuracy(model, "held-out", 0, OLD - 1)
        learned[name] = accuracy(model, "held-out", OLD, 9, offset=OLD)
    assert learned["fine-tuning"] > 0.8 and kept["fine-tuning"] < 0.3
    assert kept["rgal"] > kept["fine-tuning"] + 0.3 and learned["rgal"] > 0.3  # in 120 steps on 64 synthetic images


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_does_the_whole_job(name):
    teacher = small_teacher(Residual())
    before = {key: tensor.clone() for key, tensor in teacher.model.state_dict().items()}
    pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    settings = IncrementSettings(strategy=name, images=8, steps=3, batch_size=4, budget=60.0)
    result = increment_model(teacher, Labelled(pixels, np.arange(20) % 2), settings)
    assert result.model(torch.zeros(2, *SPEC.size)).shape == (2, 7)
    assert result.report["steps"] == 3 and result.report["images"]["synthetic"] in (0, 8)
    assert all(torch.equal(before[key], tensor) for key, tensor in teacher.model.state_dict().items())


class TestSessions:
    def groups(self, *classes: int) -> list[Labelled]:
        random = np.random.default_rng(0)
        return [
            Labelled(random.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8), np.arange(12) % count)
            for count in classes
        ]

    def test_each_session_starts_from_what_the_last_one_left(self, monkeypatch):
        seen: list[int] = []

        def spy(network, images, settings, **options):
            seen.append(network.num_classes)
            return increment_model(network, images, settings, **options)

        monkeypatch.setattr("dfq.incremental.sessions.increment_model", spy)
        teacher, held_out = small_teacher(Residual()), self.groups(5, 1, 2)
        settings = IncrementSettings(strategy="fine-tuning", steps=2, batch_size=4)
        found = increment_sessions(teacher, self.groups(1, 2), settings, held_out=held_out)
        assert seen == [5, 6] and found.model(torch.zeros(1, *SPEC.size)).shape == (1, 8)
        assert [len(groups) for groups in found.by_group] == [1, 2, 3]
        assert found.seen[2] == pytest.approx(sum(found.by_group[2]) / 3), "groups of one size"
        images = SPEC.normalize(torch.from_numpy(held_out[2].images).permute(0, 3, 1, 2).float() / 255)
        right = found.model(images).argmax(1) == torch.from_numpy(held_out[2].labels) + 6
        assert found.by_group[2][2] == pytest.approx(float(right.float().mean()))
        figures = found.to_dict()
        assert figures["average_accuracy"] == pytest.approx(sum(found.seen) / 3)
        assert figures["forgetting"] == pytest.approx(forgetting(found.by_group))

    def test_without_held_out_images_nothing_is_measured(self):
        settings = IncrementSettings(strategy="fine-tuning", steps=1, batch_size=2)
        assert increment_sessions(small_teacher(Residual()), self.groups(1), settings).to_dict()["seen"] == []
        with pytest.raises(DfqError, match="2 groups beside 2 sessions"):
            increment_sessions(
                small_teacher(Residual()), self.groups(1, 1), settings, held_out=self.groups(5, 1)
            )  # fmt: skip

    @pytest.mark.slow
    def test_digits_one_by_one(self, teacher):
        held_out = [part("held-out", 0, 4), *(part("held-out", digit, digit) for digit in range(5, 10))]
        new = [part("training", digit, digit) for digit in range(5, 10)]
        forgotten = {}
        for name in ("rgal", "fine-tuning"):
            settings = IncrementSettings(strategy=name, flip=False, images=40, steps=40, batch_size=32)
            found = increment_sessions(teacher, new, settings, held_out=held_out).to_dict()
            assert len(found["seen"]) == 6 and found["seen"][0] > 0.95
            forgotten[name] = found["forgetting"]
        assert forgotten["rgal"] < forgotten["fine-tuning"] - 0.3


class TestGoingOn:
    def test_a_killed_run_goes_on_to_the_same_network(self, old_file, new_file, tmp_path, monkeypatch):
        monkeypatch.setattr("dfq.incremental.state.SAVE_EVERY_SECONDS", 0.0)
        expected = dfq.increment(old_file, data=new_file, out=tmp_path / "whole.pt", **FEW).model.state_dict()
        calls: list[int] = []

        class Killed(Exception):
            pass

        def dies(terms, lesson):
            calls.append(1)
            if len(calls) == 7:
                raise Killed
            return total(terms, lesson)

        out = tmp_path / "all.pt"
        with monkeypatch.context() as patch:
            patch.setattr("dfq.incremental.learn.total", dies)
            with pytest.raises(Killed):
                dfq.increment(old_file, data=new_file, out=out, **FEW)
        assert (tmp_path / "all.part").exists() and not out.exists()
        with pytest.raises(DfqError, match="other settings"):
            dfq.increment(old_file, data=new_file, out=out, **FEW | {"steps": 9}, resume=True)
        with monkeypatch.context() as patch:
            patch.setattr("dfq.calibration.inversion.Inversion.sample", None)  # the old images are taken over
            result = dfq.increment(old_file, data=new_file, out=out, **FEW, resume=True)
        assert result.report["steps"] == 12 and result.report["images"]["synthetic"] == 16
        assert all(torch.equal(tensor, expected[name]) for name, tensor in result.model.state_dict().items())
        assert {path.name for path in tmp_path.iterdir()} == {"whole.pt", "whole.json", "all.pt", "all.json"}

    def test_a_damaged_part_is_told(self, old_file, new_file, tmp_path):
        (tmp_path / "all.part").write_bytes(b"half a file")
        message = fail("increment", old_file, "--data", new_file, "--out", tmp_path / "all.pt", "--resume", "--no-flip")
        assert "all.part" in message and "start afresh" in message
        assert [path.name for path in tmp_path.iterdir()] == ["all.part"]


class TestCommand:
    def test_writes_a_checkpoint_that_loads(self, old_file, new_file, tmp_path):
        out = tmp_path / "all.pt"
        text = succeed("increment", old_file, "--data", new_file, "--out", out, "--no-flip", "--strategy", "lwf",
                       "--steps", 3)  # fmt: skip
        assert "5 old, 5 new" in text and "all.pt" in text and "all.json" in text
        loaded = load_checkpoint(out)
        assert loaded.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10) and loaded.arch == "dfq/digits_cnn"
        assert json.loads((tmp_path / "all.json").read_text())["settings"]["strategy"] == "lwf"
        assert "exists" in fail("increment", old_file, "--data", new_file, "--out", out)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--strategy", "rgl"], "rgal"),
            (["--images", "1"], "at least 2"),
            (["--data", "nothing.npz"], "nothing.npz"),
        ],
    )
    def test_one_clear_error(self, options, message, old_file, new_file, tmp_path):
        assert message in fail("increment", old_file, "--data", new_file, "--out", tmp_path / "all.pt", *options)
        assert not list(tmp_path.iterdir())


def test_the_python_function(old_file, new_file, tmp_path):
    result = dfq.increment(old_file, data=new_file, out=tmp_path / "all.pt", strategy="fine-tuning", steps=2)
    assert result.report["classes"] == {"old": 5, "new": 5}
