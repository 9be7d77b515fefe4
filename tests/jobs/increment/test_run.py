"""`dfq increment`: several sessions in a row, a killed run, the command, the Python function."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from support.command_line import fail, succeed
from support.incremental_cases import FEW, OLD, part
from support.kills import AlwaysDue, Killed, Watch, lives
from support.small_nets import SPEC, Residual, small_teacher

import dfq
from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.increment import STRATEGIES, IncrementSettings, forgetting, increment_model, increment_sessions
from dfq.jobs.increment.report import IncrementReport
from dfq.jobs.increment.strategies import total
from dfq.models.registry import DIGITS_INPUT
from dfq.teacher import Teacher


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

        monkeypatch.setattr("dfq.jobs.increment.sessions.increment_model", spy)
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

    def test_a_new_class_without_an_image_is_one_error(self):
        (images,) = self.groups(3)
        moved = Labelled(images.images, images.labels + 5)
        settings = IncrementSettings(strategy="fine-tuning", steps=1, batch_size=2)
        with pytest.raises(DfqError, match="new classes without an image: 0, 1, 2, 3, 4") as caught:
            increment_model(small_teacher(Residual()), moved, settings)
        assert "labels.min()" in caught.value.way_out

    def test_without_held_out_images_nothing_is_measured(self):
        settings = IncrementSettings(strategy="fine-tuning", steps=1, batch_size=2)
        assert increment_sessions(small_teacher(Residual()), self.groups(1), settings).to_dict()["seen"] == []
        with pytest.raises(DfqError, match="2 groups beside 2 sessions"):
            increment_sessions(
                small_teacher(Residual()), self.groups(1, 1), settings, held_out=self.groups(5, 1)
            )  # fmt: skip

    @pytest.mark.slow
    def test_digits_one_by_one(self, digits_teacher):
        held_out = [part("held-out", 0, 4), *(part("held-out", digit, digit) for digit in range(5, 8))]
        new = [part("training", digit, digit) for digit in range(5, 8)]
        forgotten = {}
        for name in ("rgal", "fine-tuning"):
            settings = IncrementSettings(strategy=name, flip=False, images=40, steps=40, batch_size=32)
            found = increment_sessions(digits_teacher, new, settings, held_out=held_out).to_dict()
            assert len(found["seen"]) == 4 and found["seen"][0] > 0.95
            forgotten[name] = found["forgetting"]
        assert forgotten["rgal"] < forgotten["fine-tuning"] - 0.3


class TestGoingOn:
    def test_a_killed_run_goes_on_to_the_same_network(self, old_file, new_file, tmp_path, monkeypatch):
        monkeypatch.setattr("dfq.jobs.increment.state.StateFile", AlwaysDue)
        expected = dfq.increment(old_file, data=new_file, out=tmp_path / "whole.pt", **FEW).model.state_dict()
        calls: list[int] = []

        def dies(terms, step):
            calls.append(1)
            if len(calls) == 7:
                raise Killed
            return total(terms, step)

        out = tmp_path / "all.pt"
        with monkeypatch.context() as patch:
            patch.setattr("dfq.jobs.increment.train.total", dies)
            with pytest.raises(Killed):
                dfq.increment(old_file, data=new_file, out=out, **FEW)
        assert (tmp_path / "all.part").exists() and not out.exists()
        with pytest.raises(DfqError, match="other settings"):
            dfq.increment(old_file, data=new_file, out=out, **FEW | {"steps": 9}, resume=True)
        with monkeypatch.context() as patch:
            patch.setattr("dfq.calibration.inversion.inversion.Inversion.sample", None)  # the old images are taken over
            result = dfq.increment(old_file, data=new_file, out=out, **FEW, resume=True)
        assert result.report["steps"] == 12 and result.report["images"]["synthetic"] == 16
        assert all(torch.equal(tensor, expected[name]) for name, tensor in result.model.state_dict().items())
        assert {path.name for path in tmp_path.iterdir()} == {"whole.pt", "whole.json", "all.pt", "all.json"}
        with monkeypatch.context() as patch:
            patch.setattr("dfq.jobs.increment.run.increment_model", None)  # a finished run does nothing again
            again = dfq.increment(old_file, data=new_file, out=out, **FEW, resume=True)
            with pytest.raises(DfqError, match="exists, and comes from a run with other settings"):
                dfq.increment(old_file, data=new_file, out=out, **FEW | {"steps": 9}, resume=True)
        assert again.report == json.loads(json.dumps(result.report))
        assert all(torch.equal(tensor, expected[name]) for name, tensor in again.model.state_dict().items())

    def test_a_run_that_was_killed_before_its_report_goes_on(self, old_file, new_file, tmp_path, monkeypatch):
        def dies(path, content):
            raise Killed

        out = tmp_path / "all.pt"
        with monkeypatch.context() as patch:
            patch.setattr("dfq.jobs.increment.run.write_json", dies)
            with pytest.raises(Killed):
                dfq.increment(old_file, data=new_file, out=out, **FEW)
        assert {path.name for path in tmp_path.iterdir()} - {"all_images.part"} == {"all.pt", "all.part"}
        dfq.increment(old_file, data=new_file, out=out, **FEW, resume=True)
        assert {path.name for path in tmp_path.iterdir()} == {"all.pt", "all.json"}

    def test_images_that_were_being_made_are_gone_on_with(
        self, old_file, new_file, tmp_path, monkeypatch, saves_always
    ):
        row = STRATEGIES["rgal"]
        monkeypatch.setitem(STRATEGIES, "rgal", replace(row, images=replace(row.images, iterations=6)))
        settings = IncrementSettings(**{**FEW, "strategy": "rgal", "steps": 2})
        teacher, new = Teacher(load_checkpoint(old_file).model, DIGITS_INPUT), part("training", OLD, 9)
        whole = increment_model(teacher, new, settings, progress=(watch := Watch())).model.state_dict()
        dying = Watch(watch.middles_and_ends())
        again, kills = lives(
            lambda: increment_model(teacher, new, settings, part=tmp_path / "all.part", progress=dying)
        )
        assert kills >= 4 and dying.steps.total() <= watch.steps.total() + kills
        assert all(torch.equal(tensor, whole[name]) for name, tensor in again.model.state_dict().items())

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
    assert list(result.report) == [field.name for field in fields(IncrementReport)]
    assert json.loads((tmp_path / "all.json").read_text()) == result.report and result.report["schema_version"] == 1
