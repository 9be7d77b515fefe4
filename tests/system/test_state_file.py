"""What a stage keeps for a killed run is written by the clock, and read with one clear error where it is damaged."""

import pytest
import torch

from dfq.errors import DfqError
from dfq.system.state_file import StateFile, part_of

CPU = torch.device("cpu")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_it_is_due_after_twenty_seconds(tmp_path, clock):
    file, saved = StateFile(tmp_path / "state.ckpt", clock=clock), []
    for clock.now in range(61):
        file.save_if_due(lambda: saved.append(clock.now) or {"step": clock.now})
    assert saved == [20, 40, 60] and file.load(CPU) == {"step": 60}
    assert [path.name for path in tmp_path.iterdir()] == ["state.ckpt"]


def test_writing_takes_a_fiftieth_of_the_time_at_most(tmp_path, clock, monkeypatch):
    def takes_a_second(state, path):
        path.write_bytes(b"")
        clock.now += 1.0

    monkeypatch.setattr("dfq.system.state_file.torch.save", takes_a_second)
    file = StateFile(tmp_path / "state.ckpt", clock=clock)
    file.save({})
    clock.now += 49.0
    assert not file.is_due()
    clock.now += 1.0
    assert file.is_due()


def test_without_a_path_nothing_is_kept(clock):
    file = StateFile(None, clock=clock)
    clock.now = 1000.0
    file.save_if_due(pytest.fail)
    file.save({})
    assert file.load(CPU) is None


def test_what_is_no_state_is_refused(tmp_path):
    file = StateFile(tmp_path / "training.ckpt")
    assert file.load(CPU) is None
    file.save({"student": {"weight": torch.tensor([1.0, float("nan")])}})
    with pytest.raises(DfqError, match=r"training.ckpt.*student.weight.*NaN"):
        file.load(CPU)
    file.save({"mask": torch.tensor([float("-inf")]), "history": [float("nan")]})
    assert set(file.load(CPU)) == {"mask", "history"}, "masks of attention and figures of a record may be such"
    file.path.write_bytes(b"half a file")
    with pytest.raises(DfqError, match="cannot be read"):
        file.load(CPU)


def test_a_part_lies_beside_the_rest(tmp_path):
    assert part_of(tmp_path / "a.ckpt", "block") == tmp_path / "a_block.ckpt"
