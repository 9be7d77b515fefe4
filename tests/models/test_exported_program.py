"""A .pt2 file becomes the network that it was exported from, and nothing in it is executed."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from support.checkpoint_cases import refused
from support.command_line import SMALL, succeed
from support.export_cases import NETWORKS, images
from support.small_nets import SPEC, Residual, lived_in, small_teacher
from torch import nn

from dfq.checkpoint import load_checkpoint
from dfq.models import resnet20
from dfq.models.exported_program import read_exported
from dfq.post_training.reconstruction.blocks import cut_into_blocks
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import normalization_layers

NORMALISATION = {"mean": SPEC.mean, "std": SPEC.std}
ANY_BATCH = ({0: torch.export.Dim.DYNAMIC},)


def save(model: nn.Module, path: Path, count: int = 2, any_batch: bool = True) -> Path:
    example = (torch.zeros(count, *SPEC.size),)
    program = torch.export.export(model, example, dynamic_shapes=ANY_BATCH if any_batch else None)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return save(lived_in(Residual()), tmp_path_factory.mktemp("pt2") / "model.pt2")


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_network_comes_back_with_its_layers(tmp_path, name):
    """The same logits, and the same students: every layer and tensor gets its quantizer."""
    torch.manual_seed(0)
    teacher = small_teacher(NETWORKS[name]())
    loaded = load_checkpoint(save(teacher.model, tmp_path / "model.pt2"), **NORMALISATION)
    assert torch.allclose(loaded.model(images()), teacher(images()), atol=1e-5)
    assert loaded.input_spec == SPEC and loaded.arch == str(tmp_path / "model.pt2")
    students = [make_student(each, make_scheme("deploy", bits=4)) for each in (teacher, Teacher(loaded.model, SPEC))]
    for student in students:
        calibrate(student, images(), ranges="minmax")
    counts = [(len(weight_quantizers(s)), len(activation_quantizers(s))) for s in students]
    assert counts[0] == counts[1]
    assert torch.allclose(students[0](images()), students[1](images()), atol=1e-4)


def test_layers_keep_their_names(file):
    network = read_exported(file)
    assert set(network.state_dict()) == set(Residual().state_dict())
    assert isinstance(network.stem_norm, nn.BatchNorm2d) and network.image_size == SPEC.size


def test_static_batch_of_a_network_that_flattens_is_taken(tmp_path):
    network = read_exported(save(lived_in(Residual()), tmp_path / "one.pt2", count=1, any_batch=False))
    assert network(images(7)).shape == (7, 5)


class Viewing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 14 * 14, 5)

    def forward(self, images):
        return self.head(self.conv(images).view(images.size(0), -1))


def test_batch_that_is_built_in_is_refused(tmp_path):
    error = refused(save(Viewing(), tmp_path / "model.pt2", any_batch=False))
    assert "exactly 2 images" in error.found and "DYNAMIC" in error.way_out
    assert read_exported(save(Viewing(), tmp_path / "any.pt2"))(images(5)).shape == (5, 5)


def test_training_mode_is_refused(tmp_path):
    save(Residual().train(), tmp_path / "train.pt2")
    assert "training mode" in refused(tmp_path / "train.pt2").found


def test_decomposed_program_gets_its_layers_back(tmp_path):
    network = lived_in(Residual())
    batch = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(network, (torch.zeros(2, *SPEC.size),), dynamic_shapes=batch).run_decompositions()
    torch.export.save(program, tmp_path / "core.pt2")
    read = read_exported(tmp_path / "core.pt2")
    layers = [name for name, module in read.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert layers == ["stem", "conv1", "conv2", "head"]
    assert len(normalization_layers(read)) == 3


def test_blocks_have_the_modules_of_the_network(tmp_path):
    network = lived_in(resnet20())
    read = read_exported(save(network, tmp_path / "net.pt2"))
    names = []
    for teacher in (Teacher(network, SPEC), Teacher(read, SPEC)):
        student = make_student(teacher, make_scheme("deploy", bits=4))
        names.append([block.name for block in cut_into_blocks(student, teacher.traced)])
    assert names[0] == names[1] and "layer2.1" in names[0]


def test_unnamed_normalisation_is_asked_for(file):
    error = refused(file)
    assert "mean" in error.found and "input size" not in error.found


class Touch:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def edited(file: Path, to: Path, member: str, change) -> Path:
    """A copy of the file with one member changed: `change` gets and gives bytes."""
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(to, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, change(content) if name.endswith(member) else content)
    return to


def in_graph(old: str, new: str):
    return lambda content: content.decode().replace(old, new).encode()


def first_weight_is_pickled(content: bytes) -> bytes:
    table = json.loads(content)
    table["config"]["stem.weight"]["use_pickle"] = True
    return json.dumps(table).encode()


SPEC_OF_INPUTS = '\\"type\\": \\"builtins.tuple\\"'
ATTACKS = {
    "pickled weight": ("model_weights_config.json", first_weight_is_pickled),
    "evaluated size": ("model.json", in_graph("Symbol('s", "__import__('os').system('s")),
    "any function": ("model.json", in_graph("torch.ops.aten.conv2d.default", "torch.serialization.load")),
    "another library": ("model.json", in_graph("torch.ops.aten.relu.default", "torch.ops.evil.relu.default")),
    "imported module": ("model.json", in_graph(SPEC_OF_INPUTS, '\\"type\\": \\"collections.defaultdict\\"')),
    "call of an operator": ("model.json", in_graph("torch.ops.aten.add.Tensor", "_operator.call")),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_could_run_code_is_refused(file, tmp_path, attack):
    path = edited(file, tmp_path / "evil.pt2", *ATTACKS[attack])
    assert path.read_bytes() != file.read_bytes()
    error = refused(path)
    assert "torch.export program that holds" in error.found and "without running code" in error.needed


def test_example_inputs_are_not_read(file, tmp_path):
    """torch itself falls back to unpickling them fully."""
    marker = tmp_path / "marker"
    path = edited(file, tmp_path / "evil.pt2", "sample_inputs/model.pt", lambda _: pickle.dumps(Touch(marker)))
    assert read_exported(path)(images(2)).shape == (2, 5) and not marker.exists()


@pytest.mark.parametrize("member", ["model.json", "model_weights_config.json", "weight_0"])
def test_damage(file, tmp_path, member):
    refused(edited(file, tmp_path / "half.pt2", member, lambda content: content[: len(content) // 2]))
    path = tmp_path / "short.pt2"
    path.write_bytes(file.read_bytes()[:-500])
    refused(path)


def test_commands(file, tmp_path):
    run = tmp_path / "run"
    flags = ("--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25")
    succeed("quantize", file, *SMALL, *flags, "--method", "zeroq", "--out", run)
    succeed("export", run, "--out", tmp_path / "again.onnx")  # rebuilds the network from the .pt2
    assert (tmp_path / "again.onnx").read_bytes() == (run / "model.onnx").read_bytes()
