"""Conversion: what is folded, where quantizers go, and that nothing else changes."""

import pytest
import torch
from support.small_nets import SPEC, PreActivation, Residual, canonical, lived_in, plain, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.errors import DfqError
from dfq.quantizers.scheme import SCHEMES, make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.student.set_ranges import calibrate, input_quantizer, quantizers_in_mode, round_biases_to_kernel_grid
from dfq.teacher import Teacher


def images(count=16):
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


def calibrated(teacher, bits=8, scheme="deploy", **settings):
    return calibrate(make_student(teacher, make_scheme(scheme, bits=bits, **settings)), images())


@pytest.mark.parametrize("net", [Residual, PreActivation, lambda: plain(True)])
def test_folding_keeps_the_function_and_leaves_no_batch_norm(net):
    torch.manual_seed(0)
    model = lived_in(net())
    traced = canonical(model, SPEC)
    assert not [m for m in traced.modules() if isinstance(m, (nn.BatchNorm2d, nn.Dropout))]
    torch.testing.assert_close(traced(images()), model(images()), atol=1e-5, rtol=1e-4)


def test_a_layer_called_twice_is_not_folded_into():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 5)

        def forward(self, x):
            return self.head(self.norm(self.conv(self.conv(x))).mean((2, 3)))

    model = lived_in(Shared())
    torch.testing.assert_close(canonical(model, SPEC)(images()), model(images()), atol=1e-5, rtol=1e-4)


def test_deploy_places_quantizers_on_every_edge_but_the_logits():
    student = make_student(small_teacher(), make_scheme("deploy", bits=4))
    bits = {name: q.spec.bits for name, q in activation_quantizers(student).items()}
    # image, stem, block's first ReLU, branch, sum, pooled features
    assert list(bits.values()) == [8, 8, 4, 8, 8, 8]
    weights = {name: q.spec.bits for name, q in weight_quantizers(student).items()}
    assert weights == {"stem": 8, "conv1": 4, "conv2": 4, "head": 8}


def test_paper_qat_touches_relu_outputs_and_all_weights():
    student = make_student(small_teacher(), make_scheme("paper-qat", bits=3))
    assert [q.spec.bits for q in activation_quantizers(student).values()] == [3, 3, 3]
    assert {q.spec.bits for q in weight_quantizers(student).values()} == {3}
    assert not any(q.spec.symmetric for q in weight_quantizers(student).values())


def test_paper_ptq_touches_inputs_of_matrix_layers():
    student = make_student(small_teacher(), make_scheme("paper-ptq", bits=4))
    modules = dict(student.named_modules())
    matrix = [n for n in student.graph.nodes if n.op == "call_module" and n.target in weight_quantizers(student)]
    assert all(input_quantizer(node, modules) is not None for node in matrix)
    assert len(activation_quantizers(student)) == 4


def readers(student, bits):
    """The modules that read an activation quantizer of that width, and the functions."""
    widths = {f"activation_quantizers.{name}": q.spec.bits for name, q in activation_quantizers(student).items()}
    calls = [node for node in student.graph.nodes if node.op == "call_module" and widths.get(node.target) == bits]
    return [str(getattr(user.target, "__name__", user.target)) for call in calls for user in call.users]


class Stream(nn.Module):
    """Two inverted residual blocks: additions, and then convolutions, read what no activation stands behind."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.wide, self.narrow = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1)
        self.wide2, self.narrow2 = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        x = self.stem(images)
        x = x + self.narrow(torch.relu(self.wide(x)))
        x = x + self.narrow2(torch.relu(self.wide2(x)))
        return self.head(x.mean((2, 3)))


def test_bits_are_set_separately_and_per_layer():
    scheme = make_scheme("deploy", weight_bits=3, activation_bits=6, overrides={"narrow2": 5})
    student = make_student(small_teacher(Stream()), scheme)
    assert {n: q.spec.bits for n, q in weight_quantizers(student).items()} == {
        "stem": 8, "wide": 3, "narrow": 3, "wide2": 3, "narrow2": 5, "head": 8
    }  # fmt: skip
    assert readers(student, 6) == ["narrow", "wide2"]
    assert readers(student, 5) == ["narrow2"]


def test_additions_read_8_bits_where_convolutions_read_fewer():
    student = make_student(small_teacher(Stream()), make_scheme("deploy", bits=3))
    assert readers(student, 3) == ["narrow", "wide2", "narrow2"]
    assert readers(student, 8).count("add") == 4
    assert [name for name in activation_quantizers(student) if name.endswith("_narrow")] == ["add_narrow"]


@pytest.mark.parametrize(("scheme", "bits"), [("deploy", 8), ("paper-qat", 3), ("paper-ptq", 3)])
def test_one_grid_for_all_readers(scheme, bits):
    student = make_student(small_teacher(Stream()), make_scheme(scheme, bits=bits))
    assert not [name for name in activation_quantizers(student) if name.endswith("_narrow")]


def test_the_narrow_grid_rounds_what_the_wide_one_gives():
    torch.manual_seed(0)
    student = calibrated(small_teacher(Stream()), 3)
    seen = {}
    for name in ("add", "add_narrow"):
        quantizer = student.get_submodule(f"activation_quantizers.{name}")
        quantizer.register_forward_hook(lambda _, given, out, name=name: seen.update({name: (given[0], out)}))
    student(images())
    assert seen["add_narrow"][0] is seen["add"][1]
    assert len(seen["add_narrow"][1].unique()) <= 8 < len(seen["add"][1].unique())


@pytest.mark.parametrize("activation", [torch.relu, F.hardswish, lambda x: F.max_pool2d(torch.relu(x), 2)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_the_first_layer_puts_out_has_its_bits(scheme, activation):
    class Two(Stream):
        def forward(self, images):
            x = activation(self.stem(images))
            return self.head(torch.relu(self.narrow(torch.relu(self.wide(x)))).mean((2, 3)))

    student = make_student(small_teacher(Two()), make_scheme(scheme, bits=4))
    assert "narrow" in readers(student, 4)
    read = next(node for node in student.graph.nodes if node.target == "wide")
    quantizer = input_quantizer(read, dict(student.named_modules()))
    if scheme != "paper-qat":
        assert quantizer.spec.bits == 8
    elif activation is not F.hardswish:
        assert quantizer.spec.bits == 4


def test_a_first_layer_of_few_bits_puts_out_few():
    student = make_student(small_teacher(), make_scheme("deploy", bits=4, overrides={"stem": 4}))
    assert "conv1" in readers(student, 4)


def test_unknown_layer_in_overrides():
    with pytest.raises(DfqError, match="conv9"):
        make_student(small_teacher(), make_scheme("deploy", overrides={"conv9": 8}))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("net", [Residual, PreActivation, plain])
def test_more_bits_are_closer_to_the_teacher(scheme, net):
    torch.manual_seed(0)
    teacher = small_teacher(net())
    target = teacher(images())
    error = {b: (calibrated(teacher, b, scheme)(images()) - target).norm().item() for b in (2, 4, 8)}
    assert error[8] < error[4] < error[2]
    assert error[8] < 0.05 * target.norm()


def test_off_mode_is_the_folded_teacher():
    teacher = small_teacher()
    student = calibrated(teacher, 2)
    with quantizers_in_mode(student, "off"):
        torch.testing.assert_close(student(images()), teacher(images()), atol=1e-5, rtol=1e-4)
    assert {q.mode for q in activation_quantizers(student).values()} == {"quantize"}


def test_conversion_leaves_the_teacher_alone():
    teacher = small_teacher()
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    calibrated(teacher, 4)
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())


def test_relu6_bounds_the_grid_behind_it():
    student = make_student(small_teacher(plain()), make_scheme("deploy", bits=4))
    limits = [q.scale_limit for q in activation_quantizers(student).values()]
    assert limits[1:3] == [pytest.approx(6 / 255)] * 2  # what the first layer writes and the last one reads: 8 bits


def test_snapped_biases_lie_on_the_integer_grid():
    student = calibrated(small_teacher(), 4)
    round_biases_to_kernel_grid(student)
    modules = dict(student.named_modules())
    for node in student.graph.nodes:
        if node.op == "call_module" and node.target in weight_quantizers(student):
            layer, source = modules[node.target], input_quantizer(node, modules)
            quantizer = layer.weight_quantizer
            steps = layer.bias / (source.qparams()[0] * quantizer.qparams()[0] / quantizer.spec.refinement)
            torch.testing.assert_close(steps, steps.round(), atol=2e-2, rtol=1e-5)


def test_gradients_reach_images_weights_and_scales():
    student = calibrated(small_teacher(), 4)
    inputs = images(4).requires_grad_()
    student(inputs).square().sum().backward()
    assert inputs.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


def test_untraceable_network_names_the_line():
    class Branches(nn.Module):
        def forward(self, x):
            if x.sum() > 0:
                return x.mean((2, 3))
            return x.amax((2, 3))

    with pytest.raises(DfqError) as caught:
        make_student(Teacher(Branches(), SPEC), make_scheme("deploy"))
    assert "if x.sum() > 0" in caught.value.found and caught.value.way_out


def test_network_without_layers():
    class Nothing(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(DfqError, match="without convolution"):
        make_student(Teacher(Nothing(), SPEC), make_scheme("deploy"))


def test_unknown_range_rule():
    with pytest.raises(DfqError, match="one of minmax"):
        calibrate(make_student(small_teacher(), make_scheme()), images(), ranges="magic")


def test_layers_may_be_called_like_methods_of_containers():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("keys", "values", "items", "update"):
                setattr(self, name, nn.Conv2d(3, 3, 3, padding=1))
            self.head = nn.Linear(3, 5)

        def forward(self, x):
            for layer in (self.keys, self.values, self.items, self.update):
                x = x + torch.sigmoid(layer(x))
            return self.head(x.mean((2, 3)))

    student = calibrated(small_teacher(Named()), bits=4)
    assert {"keys", "values", "items", "update"} <= {*weight_quantizers(student)}
    assert torch.isfinite(student(images())).all()
