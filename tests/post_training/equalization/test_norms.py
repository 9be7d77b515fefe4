"""Rescaled norms: the network computes the same, loud channels cost little, and what cannot be undone is left alone."""

import pytest
import torch
from support.norm_nets import Groups, Merging, PostNorm, SpelledOut, Tokens, norm_teacher, spread_images
from torch import nn

from dfq.graph.layer_outputs import matrix_calls
from dfq.post_training.equalization.norm_changes import Changes, even
from dfq.post_training.equalization.norm_outputs import find_norm_outputs
from dfq.post_training.equalization.norms import rescale_norms
from dfq.post_training.equalization.settings import NormSettings
from dfq.post_training.steps_before_ranges import RescaleNorms, difference, prepare
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, quantizers_in_mode


def found(model: type[nn.Module]):
    return find_norm_outputs(norm_teacher(model).traced, spread_images(1))


@torch.no_grad()
def error(student, teacher):
    images = spread_images(seed=7)
    wanted = teacher(images)
    return float((student(images) - wanted).square().mean() / wanted.var())


@pytest.mark.parametrize(
    ("model", "readers", "can_move"),
    [
        (Tokens, [{"query", "key", "value"}, {"up"}, {"head"}], [True, True, True]),
        (Merging, [{"reduction"}], [False]),
        (Groups, [{"padded"}, {"bare"}], [False, True]),
        (SpelledOut, [{"inner"}, {"head"}], [True, False]),
        (PostNorm, [], []),
    ],
)
def test_norms_that_matrix_layers_alone_read_are_found(model, readers, can_move):
    norms = found(model)
    assert [set(norm.readers) for norm in norms] == readers
    assert [norm.can_move for norm in norms] == can_move


def test_each_feature_knows_its_channel():
    (norm,) = found(Merging)
    assert norm.readers["reduction"].columns.tolist() == [*range(12)] * 4


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("model", [Tokens, Merging, Groups, SpelledOut])
def test_the_network_computes_the_same_and_the_student_follows(model, bits):
    teacher, images = norm_teacher(model), spread_images()
    student = make_student(teacher, make_scheme(bits=bits, target="tensorrt" if bits == 8 else "onnx-generic"))
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    other, notes = prepare(student, teacher, images, (RescaleNorms(),))
    assert notes == [] and other is not teacher
    assert difference(other, teacher, images) < 1e-5
    with torch.no_grad(), quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(images), teacher(images), rtol=1e-4, atol=1e-4)
    after = student.state_dict()
    changed = {name.rpartition(".")[0] for name in before if not after[name].equal(before[name])}
    assert set().union(*(norm.readers for norm in found(model))) <= changed


@pytest.mark.parametrize("model", [Tokens, SpelledOut])
def test_loud_channels_cost_less(model):
    teacher, images = norm_teacher(model), spread_images()
    errors = []
    for preparations in ((), (RescaleNorms(),)):
        student = make_student(teacher, make_scheme(weight_bits=8, activation_bits=4))
        prepare(student, teacher, images, preparations)
        errors.append(error(calibrate(student, images).eval(), teacher))
    assert errors[1] < 0.6 * errors[0]


def test_nothing_happens_where_little_is_gained():
    teacher, images = norm_teacher(Tokens), spread_images()
    student = make_student(teacher, make_scheme(bits=4))
    assert rescale_norms(student, teacher, images, settings=NormSettings(worth=0.0)) is teacher


def test_a_norm_in_front_of_floating_point_is_left_alone():
    teacher = norm_teacher(Tokens)
    student = make_student(teacher, make_scheme("paper-qat", bits=4))
    assert rescale_norms(student, teacher, spread_images()) is teacher


def test_a_channel_that_images_do_not_move_keeps_its_room():
    teacher, images = norm_teacher(Tokens), spread_images()
    student = make_student(teacher, make_scheme(bits=4))
    norm = find_norm_outputs(teacher.traced, images[:1])[0]

    class Still:
        def rows(self, source):
            return torch.zeros(8, 24)

    low, high = Changes(norm, student, Still(), NormSettings(deviations=2.0)).ends()
    layer = teacher.model.get_submodule("norm1")
    torch.testing.assert_close(high, torch.maximum(layer.bias + 2 * layer.weight.abs(), torch.zeros(24)))
    torch.testing.assert_close(low, torch.minimum(layer.bias - 2 * layer.weight.abs(), torch.zeros(24)))


def test_dead_channels_are_left_out_of_the_mean():
    torch.testing.assert_close(even(torch.tensor([4.0, 1.0, 0.0])), torch.tensor([2.0, 0.5, 1.0]))


def test_the_search_leaves_the_graph_alone():
    teacher = norm_teacher(Tokens)
    nodes = [node.name for node in teacher.traced.graph.nodes]
    find_norm_outputs(teacher.traced, spread_images(1))
    assert [node.name for node in teacher.traced.graph.nodes] == nodes and matrix_calls(teacher.traced)
