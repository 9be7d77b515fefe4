"""Blocks of networks in which several tensors pass a cut: skip tensors, levels of a pyramid, several outputs."""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from support.block_nets import BRANCHED, Twice
from support.reconstruction_cases import Killed, KillsAtBlock, images, pair, run_in_turn
from torch import fx, nn

from dfq.graph.outputs import as_tuple, output_nodes
from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.reconstruction.activations import Activations
from dfq.post_training.reconstruction.block_data import BlockData, store_outputs
from dfq.post_training.reconstruction.blocks import Block, cut_into_blocks
from dfq.post_training.reconstruction.fit_block import _error
from dfq.post_training.reconstruction.qdrop import Dropping
from dfq.post_training.reconstruction.settings import StoreSettings
from dfq.student.convert import activation_quantizers, weight_quantizers
from dfq.system.stage import Stage
from dfq.teacher import Teacher


@cache
def cut(name: str, scheme: str = "deploy") -> tuple[Teacher, fx.GraphModule, list[Block]]:
    teacher, student = pair(BRANCHED[name], bits=4, scheme=scheme)
    return teacher, student, cut_into_blocks(student, teacher.traced)


NAMES = {
    "u-net": ["fine", "middle", "coarse", "to_middle", "to_fine", "head"],
    "two heads": ["trunk.0", "trunk.1", "first", "logits", "second", "map"],
    "early output": ["stem", "body", "more.0", "more.1", "head"],
}


@pytest.mark.parametrize("name", NAMES)
def test_skip_tensors_and_outputs_do_not_join_blocks(name):
    assert [block.name for block in cut(name)[2]] == NAMES[name]


@pytest.mark.parametrize("scheme", ["deploy", "paper-ptq"])
@pytest.mark.parametrize("name", BRANCHED)
def test_blocks_in_turn_give_exactly_what_the_networks_do(name, scheme):
    teacher, student, blocks = cut(name, scheme)
    for part, network in (("student", student), ("teacher", teacher.traced)):
        values = run_in_turn(blocks, images(4), part)
        for node, output in zip(output_nodes(student), as_tuple(network(images(4))), strict=True):
            assert torch.equal(values[node.name], output) if output.is_floating_point() else node.name not in values


@pytest.mark.parametrize("name", BRANCHED)
def test_every_layer_and_every_quantizer_belongs_to_one_block(name):
    """A quantizer that others need, too, stays what it was fitted to be."""
    _, student, blocks = cut(name)
    assert sorted(layer for block in blocks for layer in block.layers) == sorted(weight_quantizers(student))
    quantizers = [quantizer.rpartition(".")[2] for block in blocks for quantizer in block.quantizers]
    assert len(set(quantizers)) == len(quantizers) and {*activation_quantizers(student)} <= {*quantizers}


def test_a_layer_stays_together_with_all_its_calls():
    _, student, blocks = cut("pyramid")
    of_heads = {block.layers: block for block in blocks[-2:]}
    assert list(of_heads) == [("classes.0", "classes.2"), ("boxes.0", "boxes.2")]
    assert all(len(block.inputs) == len(block.outputs) == 3 for block in blocks[-2:])
    assert max(len(block.layers) for block in blocks) < len(weight_quantizers(student)) / 2


def test_a_second_grid_is_made_anew_by_each_block_that_reads_it():
    _, _, blocks = cut("pyramid")
    calls = [{str(n.target) for n in b.student.graph.nodes if str(n.target).endswith("_narrow")} for b in blocks]
    again = [called - {*block.quantizers} for called, block in zip(calls, blocks, strict=True)]
    assert any(again) and not any("narrow" in name for block in blocks for name in block.inputs)


class PooledFirst(nn.Module):
    """The first head reads the trunk on its wide grid, and the second one on its narrow grid."""

    def __init__(self):
        super().__init__()
        self.trunk, self.first = Twice(3, 8, 2), nn.Linear(8, 5)
        self.again, self.second = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 2, 3, 1, 1)

    def forward(self, images):
        x = self.trunk(images)
        return self.first(x.mean((2, 3))), self.second(torch.relu(self.again(torch.relu(self.again(x)))))


def test_a_second_grid_is_fitted_where_it_is_first_read():
    """And a layer that is called twice in one block is fitted once."""
    teacher, student = pair(PooledFirst, bits=4)
    blocks = cut_into_blocks(student, teacher.traced)
    assert [block.layers for block in blocks] == [("trunk.0", "trunk.3"), ("first",), ("again",), ("second",)]
    narrow = [name for name in blocks[2].quantizers if name.endswith("_narrow")]
    assert narrow and not {*narrow} & {*blocks[0].quantizers, *blocks[1].quantizers}
    assert len(reconstruct(student, teacher, images(), FitSettings(iterations=5)).blocks) == 4


class Dense(nn.Module):
    """A dense block and a residual block, one after the other, without modules of their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.join = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(32, 4, 1)
        self.dense = nn.ModuleList(nn.Conv2d(4 * number, 4, 3, 1, 1) for number in range(1, 8))
        self.first, self.second, self.head = nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 5)

    def forward(self, images):
        seen = [torch.relu(self.stem(images))]
        for layer in self.dense:
            seen.append(torch.relu(layer(torch.cat(seen, 1))))
        x = torch.relu(self.join(torch.cat(seen, 1)))
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


def test_what_recombines_soon_stays_whole():
    teacher, student = pair(Dense)
    blocks = cut_into_blocks(student, teacher.traced)
    assert [block.name for block in blocks] == ["stem", "dense.0", "join", "first", "head"]
    assert all(len(block.inputs) == len(block.outputs) == 1 for block in blocks)


def test_a_store_is_freed_behind_its_last_reader():
    _, _, blocks = cut("u-net")
    activations, alive = Activations(blocks, images(4), StoreSettings()), []
    for block in blocks:
        activations.go_on(block, activations.around(block))
        assert activations.quantized.keys() == activations.exact.keys()
        alive.append(len(activations.exact))
    assert alive == [1, 2, 2, 2, 1, 0]


@torch.no_grad()
def test_mapped_files_hold_the_same_outputs():
    block = next(block for block in cut("pyramid")[2] if len(block.outputs) > 1)
    inputs = tuple(torch.randn(10, 6, 8, 8) for _ in block.inputs)
    stores = [store_outputs(block.teacher, inputs, StoreSettings(batch_size=4, memory_limit=m)) for m in (0, 2**20)]
    for mapped, in_memory, output in zip(*stores, block.teacher(*inputs), strict=True):
        assert torch.equal(mapped, in_memory)
        torch.testing.assert_close(mapped.float(), output, atol=2e-3, rtol=2e-3)


@torch.no_grad()
def test_outputs_weigh_alike_whatever_their_size():
    blocks = cut("pyramid")[2]
    block, activations = blocks[-1], Activations(blocks, images(8), StoreSettings())
    inputs = tuple(torch.randn(8, 6, 2 * side, 2 * side) for side in range(1, 1 + len(block.inputs)))
    exact = block.teacher(*inputs)
    noise = [torch.randn_like(target) * target.std() for target in exact]
    errors = []
    for size in (1.0, 1000.0):
        block.student.forward = lambda *_, size=size: (size * (exact[0] + noise[0]), *exact[1:])
        data = BlockData(inputs, inputs, (size * exact[0], *exact[1:]))
        errors.append(float(_error(block, data, torch.arange(8), Dropping(0.0))[0]))
        assert activations.error(block, data) == pytest.approx(1 / 3, rel=0.2)
    del block.student.forward
    assert errors == pytest.approx([1.0, 1.0], rel=0.2)


@torch.no_grad()
def errors_of_outputs(teacher: Teacher, student: fx.GraphModule) -> list[float]:
    fresh = images(256)[128:]
    pairs = zip(as_tuple(student(fresh)), as_tuple(teacher.traced(fresh)), strict=True)
    return [float((s - t).square().mean()) for s, t in pairs if t.is_floating_point()]


@pytest.mark.parametrize("name", ["u-net", "pyramid", "two heads"])
def test_reconstruction_brings_all_outputs_closer_to_the_teachers(name):
    teacher, student, _ = copy.deepcopy(cut(name))
    before = errors_of_outputs(teacher, student)
    history = reconstruct(student, teacher, images(128), FitSettings(iterations=60, batch_size=8))
    assert [block.name for block in history.blocks] == [block.name for block in cut(name)[2]]
    ratios = [after / first for after, first in zip(errors_of_outputs(teacher, student), before, strict=True)]
    assert max(ratios) < 1 and sum(ratios) / len(ratios) < 0.9


def test_a_killed_run_goes_on_with_its_skip_tensors(tmp_path):
    few, stage = FitSettings(iterations=5), Stage(checkpoint=tmp_path / "unfinished.pt")
    teacher, *_ = cut("u-net")
    whole, killed, resumed = (copy.deepcopy(cut("u-net")[1]) for _ in range(3))
    reconstruct(whole, teacher, images(), few)
    with pytest.raises(Killed):
        reconstruct(killed, teacher, images(), few, replace(stage, progress=KillsAtBlock(5)))
    reconstruct(resumed, teacher, images(), few, stage)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor)
