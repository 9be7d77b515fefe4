"""The verdict: the first lines of every answer, and what --strict refuses."""

import copy
import json

import pytest
import torch
from support.command_line import SMALL, fail, succeed
from support.small_nets import SPEC, Residual, small_teacher
from torch import nn

import dfq
from dfq.errors import DfqError
from dfq.export import compare_float_file, export_float_onnx, export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.quantizers.scheme import make_scheme
from dfq.results.run_folder import RunFolder
from dfq.results.verdict import SHORT, WAYS_OUT, check_strict, verdict
from dfq.student.convert import make_student
from dfq.student.coverage import NO_KERNEL, NOT_RECOGNISED, NOT_WRITTEN, Coverage, LayerCoverage, measure_coverage
from dfq.student.placement_graph import FEW_PRODUCTS, ONE_POSITION
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher

NET = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""


def coverage(in_float: dict[str, int], on_integers: int = 100, attention: int = 0) -> dict:
    layers = [LayerCoverage("good", "Conv2d", on_integers, on_integers, None)]
    layers += [LayerCoverage(f"bad{i}", "x", macs, macs, why) for i, (why, macs) in enumerate(in_float.items())]
    return Coverage(tuple(layers), attention).to_dict()


def texts(*arguments) -> list[str]:
    return [sentence.text for sentence in verdict(*arguments)]


@pytest.fixture(scope="module")
def mostly_float(tmp_path_factory):
    """Options that name a network most of whose work is in a transposed convolution."""
    folder = tmp_path_factory.mktemp("float")
    code, weights = folder / "net.py", folder / "net.pt"
    code.write_text(NET)
    scope: dict = {}
    exec(NET, scope)
    torch.manual_seed(0)
    torch.save(scope["make"]().state_dict(), weights)
    return weights, "--arch", f"{code}:make", "--input-size", "3x16x16", "--mean", "0.5,0.5,0.5", "--std", ".5,.5,.5"


def test_a_good_network_has_one_quiet_line():
    said = verdict(coverage({}))
    assert [(s.text, s.is_loud) for s in said] == [
        ("100.0 % of the multiply–accumulates and 100.0 % of the weights are on integers.", False)
    ]
    with_attention = texts(coverage({}, attention=4))
    assert with_attention[0].endswith("; 4.0 % more are products of two activations, in floating point.")


def test_below_nine_tenths_the_first_line_says_so_and_reasons_follow():
    said = verdict(coverage({FEW_PRODUCTS: 60, ONE_POSITION: 10, NO_KERNEL: 30}))
    assert said[0].is_loud and said[0].text.startswith("Only 50.0 % of the multiply–accumulates and 50.0 % of the we")
    few, kernel, position = (sentence.text for sentence in said[1:])
    assert few.startswith("30.0 %") and FEW_PRODUCTS in few and "--layer-bits NAME=8" in few and "--target" in few
    assert kernel.startswith("15.0 %") and NO_KERNEL in kernel and "another kind" in kernel
    assert position.startswith("5.0 %") and "--layer-bits" not in position and "likewise" in position


def test_what_is_just_below_the_limit_does_not_read_as_if_it_met_it():
    assert texts(coverage({NO_KERNEL: 10_004}, 90_000))[0].startswith("Only 89.9 %")
    assert not verdict(coverage({NO_KERNEL: 10_000}, 90_000))[0].is_loud


def test_layers_that_were_not_recognised_are_named_even_where_they_are_few():
    said = verdict(coverage({NOT_RECOGNISED: 1}))
    assert not said[0].is_loud and said[1].is_loud and "bad0" in said[1].text
    assert "(bad0)" in texts(coverage({NOT_RECOGNISED: 100}))[1]


def test_every_reason_has_a_way_out_and_a_short_form():
    assert SHORT.keys() == WAYS_OUT.keys()
    assert max(map(len, SHORT.values())) <= 15


@pytest.mark.parametrize("in_float", [{NO_KERNEL: 100}, {NOT_RECOGNISED: 1}])
def test_strict_refuses(in_float):
    with pytest.raises(DfqError) as caught:
        check_strict(coverage(in_float))
    error = caught.value
    assert error.exit_code == 1 and "90 %" in error.needed and "--strict" in error.way_out
    assert ("bad0" in error.found) == (NOT_RECOGNISED in in_float)
    check_strict(coverage({NO_KERNEL: 5}))


def test_a_float_file_that_computes_something_else_is_said_second():
    assert len(verdict(coverage({}), {"relative_error": 9e-4, "images": 8})) == 1
    for error, words in ((0.031, "up to 3.1 %"), (None, "not finite")):
        said = verdict(coverage({}), {"relative_error": error, "images": 8})
        assert said[1].is_loud and words in said[1].text and "8 images" in said[1].text


def test_the_float_file_is_compared_with_the_network(tmp_path):
    teacher, images = small_teacher(), torch.randn(70, *SPEC.size)
    path = export_float_onnx(teacher.model, tmp_path / "float.onnx", SPEC)
    found = compare_float_file(path, teacher, images)
    assert found["relative_error"] < 1e-5 and found["images"] == 70
    other = Teacher(copy.deepcopy(teacher.original), SPEC)
    with torch.no_grad():
        other.original.head.bias[0] += 1
        largest = float(other.original(images).abs().max())
    assert compare_float_file(path, other, images)["relative_error"] == pytest.approx(1 / largest, rel=1e-3)
    with torch.no_grad():
        other.original.head.bias[0] = torch.nan
    assert compare_float_file(path, other, images)["relative_error"] is None


def test_convolutions_that_write_floats_are_not_on_integers(tmp_path):
    teacher = small_teacher()
    student = make_student(teacher, make_scheme("paper-ptq"))
    found = {layer.name: layer.reason for layer in measure_coverage(student).layers}
    # The second convolution of the block is added to something in floating point; the first one's ReLU is quantized.
    assert found["conv2"] == NOT_WRITTEN and found["head"] is None
    student = calibrate(student, torch.randn(8, *SPEC.size)).eval()
    kernels = count_nodes(export_onnx(student, tmp_path / "model.onnx", SPEC))["integer"].get("QLinearConv", 0)
    assert kernels == sum(reason is None for name, reason in found.items() if name != "head")


def test_inspect_begins_with_the_verdict_and_lists_every_layer(mostly_float, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = succeed("inspect", *mostly_float).splitlines()
    assert lines[0].startswith("Only ") and "no integer kernel" in lines[2]
    row = next(line for line in lines if line.split()[:1] == ["2.weight"])
    assert "8×8×4×4" in row and "no kernel" in row and max(map(len, lines)) <= 80
    assert "3 with weights: 2 on integers, 1 in floating point" in "\n".join(lines)


@pytest.mark.parametrize("command", ["inspect", "quantize"])
def test_strict_on_the_command_line_fails_before_any_work(mostly_float, tmp_path, command):
    out = tmp_path / "run"
    more = ("--out", out) if command == "quantize" else ()
    assert "no integer kernel" in fail(command, *mostly_float, "--strict", *more, exit_code=1)
    assert not out.exists()


def test_strict_from_python(tmp_path):
    teacher_like = small_teacher(Residual()).original
    spec = {"input_size": SPEC.size, "mean": SPEC.mean, "std": SPEC.std}
    with pytest.raises(DfqError, match="--strict"):
        dfq.quantize(teacher_like, out=tmp_path / "run", scheme="paper-qat", strict=True, **spec)
    assert not (tmp_path / "run").exists()


def test_a_run_begins_with_the_verdict_everywhere(mostly_float, tmp_path):
    text = succeed("quantize", *mostly_float, *SMALL, "--out", tmp_path / "run")
    first = text.partition("ONNX file")[0]
    assert (
        text.strip().startswith("Check it ") and "\nOnly " in first and "no integer kernel" in " ".join(first.split())
    )
    run = RunFolder(tmp_path / "run")
    report = json.loads(run.report.read_text())
    assert list(report)[:4] == ["decision", "verdict", "coverage", "float_file"]
    assert report["verdict"][0].startswith("Only ") and report["coverage"]["share_of_macs"] < 0.9
    assert report["float_file"]["relative_error"] < 1e-4 and report["float_file"]["images"] > 0
    body = run.page.read_text().partition("</h1>")[2]
    head = body.partition("<h2>")[0]
    assert body.strip().startswith('<p class="decision check"') and '<p class="loud">Only ' in head
    assert NO_KERNEL in head
    succeed("quantize", *mostly_float, *SMALL, "--out", tmp_path / "run", "--resume")


def test_a_report_from_before_there_was_a_verdict_has_none():
    assert verdict(None) == []


def test_a_module_in_training_mode_is_compared_as_it_answers(tmp_path):
    network = small_teacher().original
    path = export_float_onnx(network, tmp_path / "float.onnx", SPEC)
    teacher = Teacher(network, SPEC)
    network.train()
    assert compare_float_file(path, teacher, torch.randn(4, *SPEC.size))["relative_error"] < 1e-5
    assert network.training and isinstance(network, nn.Module)
