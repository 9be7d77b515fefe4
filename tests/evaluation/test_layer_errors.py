"""How far each layer of a student is from its teacher's."""

from math import inf, log10, nan

import pytest
import torch
from support.small_nets import SPEC, small_teacher
from torch import fx

from dfq.evaluation.layer_errors import layer_errors
from dfq.evaluation.settings import LayerErrorSettings
from dfq.evaluation.signal_to_noise import MOST_DB, ratio_in_db
from dfq.graph.layer_outputs import LayerSteps, LayerVisitor
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate


def images(count: int = 10) -> torch.Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(2))


def outputs_of(network: fx.GraphModule) -> dict[str, torch.Tensor]:
    found = {}

    def keep(name, output):
        found[name] = output.clone()
        return output

    with torch.no_grad():
        LayerVisitor(network, keep).run(images())
    return found


@pytest.fixture(scope="module")
def pair():
    teacher = small_teacher()
    student = make_student(teacher, make_scheme("deploy", bits=4))
    calibrate(student, images(), ranges="minmax")
    return student.eval(), teacher.traced


def test_ratios_are_those_of_whole_tensors_whatever_the_batch(pair):
    student, teacher = pair
    found, expected = outputs_of(student), outputs_of(teacher)
    for batch_size in (10, 3):
        ratios = layer_errors(student, teacher, images(), settings=LayerErrorSettings(batch_size=batch_size))
        assert list(ratios) == list(expected)
        for name, right in expected.items():
            noise = (found[name] - right).double().square().sum()
            assert ratios[name] == pytest.approx(10 * log10(right.double().square().sum() / noise), abs=1e-3), name


def test_no_more_images_than_asked_for_are_looked_at(pair):
    few = LayerErrorSettings(images=4)
    assert layer_errors(*pair, images(), settings=few) == layer_errors(*pair, images(4))


def test_a_network_is_equal_to_itself(pair):
    assert set(layer_errors(pair[1], pair[1], images()).values()) == {MOST_DB}


def test_outputs_are_handed_out_before_anything_changes_them_in_place():
    class InPlace(torch.nn.Sequential):
        def forward(self, images):
            return torch.relu_(self[0](images))

    network = fx.symbolic_trace(InPlace(torch.nn.Conv2d(3, 4, 3)))
    with torch.no_grad():
        ((name, output),) = ((name, output.clone()) for name, output in LayerSteps(network).outputs(images()))
        assert name == "0" and torch.equal(output, network.get_submodule("0")(images()))


@pytest.mark.parametrize(
    ("signal", "noise", "ratio"),
    [(100, 1, 20), (1, 0, MOST_DB), (0, 0, MOST_DB), (0, 1, -MOST_DB), (1, nan, -MOST_DB), (1, inf, -MOST_DB)],
)
def test_a_ratio_in_decibels(signal, noise, ratio):
    assert ratio_in_db(signal, noise) == pytest.approx(ratio)
