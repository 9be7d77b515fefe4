"""Blocks, names and bits follow the network, however it is written and however it reaches dfq."""

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from support.small_nets import SPEC, lived_in
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.checkpoint import load_checkpoint
from dfq.post_training.reconstruction.blocks import Block, cut_into_blocks
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Flattening(nn.Module):
    """Stem, two residual blocks, a linear layer that reads all pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8)
        self.body, self.head = nn.Sequential(Residual(8), Residual(8)), nn.Linear(8 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(self.body(F.relu(self.norm(self.stem(images)))), 1))


class Viewing(Flattening):
    """The same, with the number of images asked for at the beginning."""

    def forward(self, images: Tensor) -> Tensor:
        batch = images.size(0)
        x = self.body(F.relu(self.norm(self.stem(images))))
        return self.head(x.view(batch, -1))


class Encoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm1(tokens)
        tokens = tokens + self.attention(x, x, x, need_weights=False)[0]
        return tokens + self.narrow(F.gelu(self.wide(self.norm2(tokens))))


class Transformer(nn.Module):
    """A class token, expanded to the number of images, and positions."""

    def __init__(self, depth: int = 2, width: int = 8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 17, width) * 0.1)
        self.layers = nn.ModuleList(Encoder(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.norm(tokens)[:, 0])


NETWORKS = {"flattening": Flattening, "viewing": Viewing, "transformer": Transformer}


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
    lines = [f"from test_blocks import {', '.join(c.__name__ for c in NETWORKS.values())}"]
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
