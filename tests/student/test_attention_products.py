"""Which products of attention are quantized, and on which grids."""

from dataclasses import replace

import pytest
import torch
from support.attention_nets import NETWORKS, Attending, attending_teacher, calibrated, images

from dfq.quantizers.quantized_attention import QuantizedAverage
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import TARGETS
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.coverage import measure_coverage
from dfq.student.set_ranges import quantizers_in_mode

PARTS = ("query", "key", "probabilities", "value")
KEYS, WIDTH = 64, 16


def parts_of(student) -> dict:
    quantizers = activation_quantizers(student)
    return {part: [q for name, q in quantizers.items() if name.endswith(f"_{part}")] for part in PARTS}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_factor_has_a_grid_of_eight_bits(name, bits):
    student, _ = calibrated(NETWORKS[name](), bits)
    found = parts_of(student)
    assert {part: len(each) for part, each in found.items()} == dict.fromkeys(PARTS, 1)
    for part, (quantizer,) in found.items():
        second = part in ("key", "value")
        assert (quantizer.spec.bits, quantizer.spec.signed, quantizer.spec.symmetric) == (8, second, second)
    assert found["probabilities"][0].zero_point == 0


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_without_rounding_the_student_is_its_teacher(name):
    student, teacher = calibrated(NETWORKS[name]())
    with quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(images()), teacher(images()), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_probabilities_lie_on_their_grid():
    student, _ = calibrated(Attending())
    (attention,) = [module for module in student.modules() if isinstance(module, QuantizedAverage)]
    (quantizer,) = parts_of(student)["probabilities"]
    assert attention.probabilities is quantizer
    before = student(images())
    quantizer.scale.mul_(20)
    assert not torch.allclose(student(images()), before, atol=1e-3)


@torch.no_grad()
def test_spread_attention_survives_rounding():
    """Probabilities of 1/200 beside a row with one of 1: a grid for all of them would round them to half or to zero."""
    chances = torch.full((2, 200), 1 / 200)
    chances[1] = torch.eye(200)[0]
    student, _ = calibrated(Attending())
    average = next(module for module in student.modules() if isinstance(module, QuantizedAverage))
    average.probabilities.scale.fill_(1 / 255)
    values = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    found = average.average(chances, values, average.probabilities)
    torch.testing.assert_close(found, chances @ values, atol=1e-5, rtol=1e-4)


def test_gradients_reach_every_scale():
    student, _ = calibrated(Attending())
    student(images()).square().sum().backward()
    for part, (quantizer,) in parts_of(student).items():
        assert quantizer.scale.grad is not None and quantizer.scale.grad != 0, part


@pytest.mark.parametrize(("least", "expected"), [(0, 0), (KEYS, 1), (KEYS + 1, 0)])
def test_few_keys_stay_in_floating_point(least, expected):
    teacher = attending_teacher(Attending())
    target = replace(TARGETS["ort-cpu"], min_keys=least)
    student = make_student(teacher, make_scheme("deploy", target=target))
    assert len(parts_of(student)["query"]) == expected
    coverage = measure_coverage(student)
    products = 2 * KEYS * KEYS * WIDTH
    assert (coverage.integer_attention_macs, coverage.attention_macs) == (
        expected * products,
        (1 - expected) * products,
    )


@pytest.mark.parametrize("scheme", ["paper-ptq", "paper-qat"])
def test_protocols_of_papers_leave_attention_alone(scheme):
    student = make_student(attending_teacher(Attending()), make_scheme(scheme))
    assert not parts_of(student)["query"]


def test_other_targets_leave_attention_alone():
    for name, target in TARGETS.items():
        student = make_student(attending_teacher(Attending()), make_scheme("deploy", target=target))
        assert bool(parts_of(student)["query"]) == (name == "ort-cpu")


def test_nodes_keep_the_names_of_the_teacher_s():
    student, teacher = calibrated(Attending())
    names = {node.name for node in teacher.traced.graph.nodes}
    own = [node for node in student.graph.nodes if not str(node.target).startswith("activation_quantizers")]
    assert {node.name for node in own} <= names
