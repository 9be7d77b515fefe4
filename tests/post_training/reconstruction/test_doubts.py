"""A reconstruction says which block is too large to be fitted well, and which block hardly follows the teacher."""

import pytest
import torch
from support.reconstruction_cases import images, pair
from support.small_nets import Residual
from torch import nn
from torch.nn import functional as F

from dfq.post_training.reconstruction import BlockRecord, FitSettings, reconstruct
from dfq.post_training.reconstruction.blocks import cut_into_blocks
from dfq.post_training.reconstruction.doubts import hardly_following, multiplications
from dfq.system.progress import Silent
from dfq.system.stage import Stage


class Uncut(nn.Module):
    """Ten layers, each of which all later ones read: no place carries a single tensor."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(9))
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        seen = []
        for layer in self.layers:
            x = F.relu(layer(images if not seen else sum(seen[1:], seen[0])))
            seen.append(x)
        return self.head(sum(seen[1:], seen[0]).mean((2, 3)))


class Notes(Silent):
    def __init__(self):
        self.said: list[str] = []

    def note(self, message):
        self.said.append(message)


FEW = FitSettings(iterations=5, batch_size=8)


def test_a_block_that_is_most_of_the_network_is_said():
    teacher, student = pair(Uncut)
    notes = Notes()
    history = reconstruct(student, teacher, images(), FEW, stage=Stage(progress=notes))
    assert any("of the 10 layers" in note and "could not be cut" in note for note in history.notes)
    assert set(history.notes) <= set(notes.said) and history.to_dict()["notes"] == history.notes


def test_a_network_that_is_cut_well_says_nothing():
    teacher, student = pair(Residual)
    assert reconstruct(student, teacher, images(), FEW).notes == []


@torch.no_grad()
def test_multiplications_are_those_of_the_layers():
    teacher, student = pair(Residual)
    found = {block.name: multiplications(block) for block in cut_into_blocks(student, teacher.traced)}
    assert sum(found.values()) == 16 * 16 * 8 * 27 + 2 * 8 * 8 * 8 * 72 + 5 * 8


@pytest.mark.parametrize("resumed", [False, True])
def test_a_killed_run_says_the_same_when_it_is_over(resumed, tmp_path):
    path = tmp_path / "unfinished.pt"
    notes = []
    for _ in range(2 if resumed else 1):
        teacher, student = pair(Uncut)
        notes.append(reconstruct(student, teacher, images(), FEW, stage=Stage(checkpoint=path)).notes)
    assert notes[0] and notes[-1] == notes[0]


def record(name: str, before: float, after: float) -> BlockRecord:
    return BlockRecord(name, before, after, 10, 1.0, kept=after < before)


def test_a_block_that_is_no_better_than_a_constant_is_said():
    assert hardly_following([record("a", 0.5, 0.1), record("b", 0.6, 1.2)]) == []
    (said,) = hardly_following([record("a", 0.5, 0.1), record("b", 1.0, 0.996)])
    assert "1 of 2 blocks" in said and "'b' (0.996)" in said
    (said,) = hardly_following([record(name, 2.0, float("nan")) for name in "abcde"])
    assert "5 of 5" in said and "and 2 more" in said and "'d'" not in said
