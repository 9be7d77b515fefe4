"""Any way to write a network: the captured graph computes the same, knows every layer, and leaves the module alone."""

from functools import cache

import pytest
import torch
from support.capture_cases import SPEC, images, lively
from support.forward_cases import FORWARDS, FROZEN, Normalized, Plain, torchvision_norm
from support.weight_cases import WEIGHTS
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.graph.capture.capture import capture
from dfq.graph.folding.fold_batch_norm import WAS_NORM
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.coverage import measure_coverage
from dfq.teacher import Teacher, evaluating
from dfq.teacher.batch_norm_statistics import normalization_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
CASES = WEIGHTS | FORWARDS


def contents(model: nn.Module) -> list:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    modes = [(name, module.training) for name, module in model.named_modules()]
    return [*[(name, tensor.detach().clone(), tensor.requires_grad) for name, tensor in tensors], *modes]


@cache
def captured(name: str):
    """(the module, its contents before and after, its teacher, its student of 8 bits)."""
    torch.manual_seed(0)
    model = lively(CASES[name].make())
    next(model.parameters()).requires_grad_(False)
    before = contents(model)
    teacher = Teacher(model, SPEC)
    return model, before, contents(model), teacher, make_student(teacher, make_scheme("deploy", bits=8))


@torch.no_grad()
def test_a_plain_number_of_images_is_open_again():
    class Attention(Plain):
        """Sizes are made of `len(images)`, once of twice as many."""

        def __init__(self):
            super().__init__()
            self.token, self.queries = nn.Parameter(torch.randn(1, 1, 8)), nn.Linear(8, 16)

        def forward(self, images):
            count = len(images)
            x = self.maps(images)[:, :, ::2, ::2].reshape(count, 8, 16).transpose(1, 2)
            x = torch.cat([self.token.expand(count, -1, -1), x], 1)
            keys, values = (
                self.queries(x).reshape(count, 17, 2, 2, 4).permute(2, 0, 3, 1, 4).reshape(2, count * 2, 17, 4)
            )
            x = (keys @ keys.mT).softmax(-1) @ values + torch.zeros(count * 2, 1, 1)
            return self.head(x.reshape(count, 2, 17, 4).transpose(1, 2).reshape(count, 17, 8).mean(1))

    model = Attention()
    for trains in (False, True):
        network = capture(model, SPEC, trains=trains)
        for count in (1, 3, 200):
            torch.testing.assert_close(network(images(count)), model(images(count)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_graph_gives_the_logits_of_the_module(name):
    model, _, _, teacher, _ = captured(name)
    for count in (1, 2, 5):
        with evaluating(model):
            expected = model(images(count))
        assert expected.std() > 0.01
        for network in (teacher.model, teacher.traced):
            torch.testing.assert_close(network(images(count)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_every_layer_has_the_name_of_its_module_and_runs_on_integers(name):
    *_, student = captured(name)
    layers = [n for n in weight_quantizers(student) if not getattr(student.get_submodule(n), WAS_NORM, False)]
    assert tuple(layers) == CASES[name].layers
    coverage = measure_coverage(student)
    assert coverage.not_recognised == [] and len(coverage.layers) >= len(layers)
    assert all(layer.reason is None or layer.reason.startswith("by choice") for layer in coverage.layers)


@pytest.mark.parametrize("name", CASES)
def test_the_module_is_left_as_it_was(name):
    model, before, after, *_ = captured(name)
    assert model.training and len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        same = torch.equal(old[1], new[1]) if isinstance(old[1], Tensor) else old[1] == new[1]
        assert same and (old[0], old[-1]) == (new[0], new[-1])


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_norms_are_batch_norm_with_their_statistics(name):
    model, _, _, teacher, _ = captured(name)
    (norm,) = normalization_layers(teacher.model)
    assert norm is teacher.model.get_submodule("norm")
    torch.testing.assert_close(norm.running_mean, model.norm.running_mean)
    torch.testing.assert_close(norm.running_var, model.norm.running_var)


def test_batch_norm_as_a_function_has_statistics():
    *_, teacher, _ = captured("functions")
    assert len(normalization_layers(teacher.model)) == 1


def test_a_frozen_norm_that_is_called_twice_is_one_batch_norm():
    class Twice(Normalized):
        def maps(self, images):
            return self.norm(self.second(F.relu(self.norm(self.first(images)))))

    model = Twice(torchvision_norm())
    teacher = Teacher(model, SPEC)
    assert len(normalization_layers(teacher.model)) == 1
    torch.testing.assert_close(teacher.traced(images(3)), model(images(3)), atol=1e-4, rtol=1e-4)


def test_tied_layers_share_their_parameter_until_they_are_quantized():
    *_, teacher, student = captured("tied")
    pairs = [[net.get_submodule(f"middle.{name}") for name in ("first", "second")] for net in (teacher.model, student)]
    assert pairs[0][0].weight is pairs[0][1].weight and pairs[0][0].bias is not pairs[0][1].bias
    assert torch.equal(pairs[1][0].weight, pairs[1][1].weight)
    assert pairs[1][0].weight.data_ptr() != pairs[1][1].weight.data_ptr()


def test_a_module_that_trains_keeps_its_parameters_and_its_dropout():
    """Each kind of dropout, under the name of its module; parameters are the module's own."""

    class Dropping(Plain):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout2d(0.2)

        def maps(self, images):
            return F.dropout(self.drop(super().maps(images)), 0.3, self.training)

    model = Dropping()
    network = capture(model, SPEC, trains=True)
    assert network.get_submodule("first").weight is model.first.weight
    kinds = [(type(m), m.p) for m in network.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d))]
    assert kinds == [(nn.Dropout2d, 0.2), (nn.Dropout, 0.3)] and isinstance(network.drop, nn.Dropout2d)
    assert not [m for m in Teacher(model, SPEC).model.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d))]


def test_buffers_are_not_written_to_when_a_module_trains():
    model = FORWARDS["writes to its copy"].make()
    scale = model.scale.clone()
    network = capture(model, SPEC, trains=True)
    assert torch.equal(model.scale, scale)
    torch.testing.assert_close(network(images(3)), model(images(3)))
