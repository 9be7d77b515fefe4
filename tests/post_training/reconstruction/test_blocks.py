"""Blocks, names and bits follow the network, however it is written and however it reaches dfq."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from support.block_nets import NETWORKS
from support.small_nets import SPEC, lived_in
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.checkpoint import load_checkpoint
from dfq.post_training.reconstruction.blocks import Block, cut_into_blocks
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


def images(count: int = 8) -> Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


@cache
def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return lived_in(NETWORKS[name]())


@cache
def cut(name: str) -> tuple[Teacher, list[Block]]:
    teacher = Teacher(made(name), SPEC)
    student = make_student(teacher, make_scheme("deploy", bits=8))
    calibrate(student, images(), ranges="minmax")
    return teacher, cut_into_blocks(student, teacher.traced)


def test_flattening_by_hand_cuts_no_block_away():
    flattening, viewing = ([block.name for block in cut(name)[1]] for name in ("flattening", "viewing"))
    assert flattening == viewing == ["stem", "body.0", "body.1", "head"]


def test_a_block_for_each_encoder_layer():
    assert [block.name for block in cut("transformer")[1]] == ["patches", "layers.0", "layers.1", "head"]


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("count", [1, 3])
def test_blocks_one_after_the_other_are_the_network(name, count):
    """For any number of images; every layer is in one block."""
    teacher, blocks = cut(name)
    x = images(count)
    for block in blocks:
        x = block.teacher(x)
    torch.testing.assert_close(x, made(name)(images(count)), atol=1e-5, rtol=1e-4)
    layers = [layer for block in blocks for layer in block.layers]
    assert sorted(layers) == sorted(weight_quantizers(make_student(teacher, make_scheme("deploy", bits=8))))


@pytest.fixture(scope="module")
def factory(tmp_path_factory) -> Path:
    """A file whose `make` builds any of the networks, and is told which by its name."""
    folder = tmp_path_factory.mktemp("factory")
    lines = [f"from support.block_nets import {', '.join(c.__name__ for c in NETWORKS.values())}"]
    lines += [f"def {name}():\n    return {kind.__name__}()" for name, kind in NETWORKS.items()]
    (folder / "nets.py").write_text("\n".join(lines))
    return folder / "nets.py"


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_one_whichever_way_it_comes(name, factory, tmp_path):
    """As a module, as an exported program, as weights with a factory: the same blocks, keys and quantized logits."""
    model = made(name)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(model, (images(2),), dynamic_shapes=shapes), tmp_path / "net.pt2")
    torch.save(model.state_dict(), tmp_path / "net.pt")
    flags = {"input_size": SPEC.size, "mean": SPEC.mean, "std": SPEC.std}
    program = load_checkpoint(tmp_path / "net.pt2", mean=SPEC.mean, std=SPEC.std).model
    rebuilt = load_checkpoint(tmp_path / "net.pt", arch=f"{factory}:{name}", **flags).model
    found = []
    for each in (model, program, rebuilt):
        teacher = Teacher(copy.deepcopy(each), SPEC)
        student = calibrate(make_student(teacher, make_scheme("deploy", bits=4)), images(), ranges="minmax").eval()
        blocks = [(block.name, block.layers) for block in cut_into_blocks(student, teacher.traced)]
        found.append((blocks, sorted(student.state_dict()), student(images())))
    for blocks, keys, logits in found[1:]:
        assert blocks == found[0][0] and keys == found[0][1]
        torch.testing.assert_close(logits, found[0][2], atol=1e-4, rtol=1e-4)


class Heads(nn.Module):
    """Two readers of the images, two heads, one output; BatchNorm in front of everything."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3, dilation=1, stride=1, bias=False)
        self.middle = nn.Conv2d(16, 8, 3)
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(images)
        x = F.relu(self.middle(torch.cat([F.relu(self.left(x)), torch.sigmoid(self.right(x))], 1))).mean((2, 3))
        return torch.cat([self.first(x), self.second(x)], 1)


def test_every_layer_that_reads_images_or_writes_an_output_has_the_bits_of_the_ends():
    student = make_student(Teacher(lived_in(Heads()), SPEC), make_scheme("deploy", bits=4))
    bits = {name: quantizer.spec.bits for name, quantizer in weight_quantizers(student).items()}
    assert bits == {"norm": 8, "left": 8, "right": 8, "middle": 4, "first": 8, "second": 8}
