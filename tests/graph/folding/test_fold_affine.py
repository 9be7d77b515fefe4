"""Factors and offsets of channels disappear into the layer before them, or become a layer of their own: exactly."""

import pytest
import torch
from support.capture_cases import SPEC, images
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.graph.capture.capture import capture
from dfq.graph.folding.canonical import folded
from dfq.graph.folding.fold_batch_norm import OUTPUT_MOMENTS
from dfq.graph.layer_outputs import matrix_calls


class Scaled(nn.Module):
    """`change` is applied to the output of `place`: "conv", "relu", "cat", "linear", "tokens" or "sum"."""

    def __init__(self, place: str, change):
        super().__init__()
        self.place, self.change = place, change
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1, bias=False)
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("factor", torch.linspace(-2, 2, 8))
        self.register_buffer("offset", torch.randn(8))

    def at(self, place: str, x: Tensor) -> Tensor:
        if place != self.place:
            return x
        shape = (-1, 1, 1) if x.dim() == 4 else (-1,)
        return self.change(x, self.factor.view(shape), self.offset.view(shape))

    def forward(self, images: Tensor) -> Tensor:
        x = self.at("conv", self.conv(images))
        x = self.at("relu", F.relu(x))
        x = self.at("cat", torch.cat([x[:, 4:], x[:, :4]], 1))
        x = self.at("sum", self.last(x) + x)
        tokens = self.at("tokens", self.mix(x.flatten(2).transpose(1, 2)))
        return self.head(self.at("linear", self.mix(tokens.mean(1))) if self.place == "linear" else tokens.mean(1))


CHANGES = {
    "half": lambda x, factor, offset: x * 0.5,
    "negative": lambda x, factor, offset: -x,
    "plus one": lambda x, factor, offset: 1.0 + x,
    "minus": lambda x, factor, offset: x - 0.3,
    "quotient": lambda x, factor, offset: x / (factor.abs() + 1),
    "affine": lambda x, factor, offset: factor * x + offset,
    "chain": lambda x, factor, offset: (x - offset) * factor / 3 + offset,
    "alpha": lambda x, factor, offset: torch.add(x, offset, alpha=2),
}


def canonical(model: nn.Module):
    torch.manual_seed(0)
    network = folded(capture(model.eval(), SPEC), SPEC)
    with torch.no_grad():
        torch.testing.assert_close(network(images(3)), model(images(3)), atol=1e-5, rtol=1e-4)
    return network


def arithmetic(network) -> list[str]:
    """Operators with a constant that are left."""
    names = {"mul", "truediv", "add", "sub"}
    nodes = [n for n in network.graph.nodes if getattr(n.target, "__name__", "") in names]
    return [n.name for n in nodes if len([a for a in n.args if getattr(a, "op", "get_attr") != "get_attr"]) < 2]


@pytest.mark.parametrize("change", CHANGES)
def test_behind_a_convolution_nothing_is_left_of_it(change):
    network = canonical(Scaled("conv", CHANGES[change]))
    assert list(matrix_calls(network)) == ["conv", "last", "mix", "head"] and arithmetic(network) == []


@pytest.mark.parametrize("change", ["half", "affine", "chain"])
def test_behind_a_linear_layer_nothing_is_left_of_it(change):
    network = canonical(Scaled("tokens", CHANGES[change]))
    assert list(matrix_calls(network)) == ["conv", "last", "mix", "head"] and arithmetic(network) == []


@pytest.mark.parametrize("place", ["relu", "cat", "sum"])
@pytest.mark.parametrize("change", ["half", "affine"])
def test_behind_another_map_it_is_a_depthwise_convolution(place, change):
    """One, whatever the number of operators."""
    network = canonical(Scaled(place, CHANGES[change]))
    (added,) = set(matrix_calls(network)) - {"conv", "last", "mix", "head"}
    layer = network.get_submodule(added)
    assert (layer.groups, layer.kernel_size, arithmetic(network)) == (8, (1, 1), [])


class Moved(nn.Module):
    """A factor and an offset of each channel stand behind a layer whose output is permuted; `read` reads it, too."""

    def __init__(self, layer: str, *, read: bool = False):
        super().__init__()
        self.layer, self.read = layer, read
        self.conv, self.mix, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("factor", torch.linspace(-2, 2, 8))
        self.register_buffer("offset", torch.randn(8))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images).permute(0, 2, 3, 1)
        if self.layer == "conv":
            y = x * self.factor + self.offset
            return self.head((y + x if self.read else y).mean((1, 2)))
        x = self.mix(x).transpose(1, 2).permute(0, 3, 2, 1)
        y = x * self.factor.view(8, 1, 1) + self.offset.view(8, 1, 1)
        return self.head((y + x if self.read else y).mean((2, 3)))


@pytest.mark.parametrize("layer", ["conv", "mix"])
def test_behind_a_permutation_nothing_is_left_of_it(layer):
    network = canonical(Moved(layer))
    assert set(matrix_calls(network)) == {"conv", "head"} | {layer} and arithmetic(network) == []


@pytest.mark.parametrize("layer", ["conv", "mix"])
def test_a_permutation_that_something_else_reads_keeps_it(layer):
    assert arithmetic(canonical(Moved(layer, read=True)))


def test_a_layer_that_is_called_twice_keeps_its_weight():
    model = Scaled("linear", CHANGES["affine"])
    network = canonical(model)
    assert len(arithmetic(network)) == 2
    assert torch.equal(network.get_submodule("mix").weight, model.mix.weight)


def test_constants_that_are_not_of_channels_stay():
    """As many pixels, or tokens, as there are channels."""

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mix, self.head = nn.Conv2d(3, 8, 1), nn.Linear(64, 8), nn.Linear(8, 4)
            self.rows, self.columns = nn.Parameter(torch.randn(8, 1)), nn.Parameter(torch.randn(8))
            self.tokens = nn.Parameter(torch.randn(8, 1))

        def forward(self, images):
            x = (self.conv(images) * self.rows + self.columns).flatten(2)
            return self.head((self.mix(x) * self.tokens).mean(1))

    network = canonical(Positions())
    assert list(matrix_calls(network)) == ["conv", "mix", "head"] and len(arithmetic(network)) == 3


def test_a_constant_that_adds_a_dimension_stays():
    class Stacked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 4)
            self.gain = nn.Parameter(torch.full((1, 1, 1), 2.0))

        def forward(self, images):
            return (self.head(self.conv(images).mean((2, 3))) * self.gain)[0]

    assert len(arithmetic(canonical(Stacked()))) == 1


def test_what_another_reads_is_not_changed_for_it():
    class Read(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 4)

        def forward(self, images):
            x = self.conv(images)
            return self.head((F.max_pool2d(x * 0.25, 2) - F.max_pool2d(x, 2)).mean((2, 3)))

    network = canonical(Read())
    assert len(matrix_calls(network)) == 3 and arithmetic(network) == []


def test_the_hard_sigmoid_of_squeeze_and_excitation_becomes_a_relu6():
    class Excited(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.squeeze, self.excite = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
            self.head = nn.Linear(8, 4)
            nn.init.normal_(self.excite.weight, std=8)  # so that both ends clip

        def forward(self, images):
            x = F.relu(self.conv(images))
            gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
            return self.head((x * gate).mean((2, 3)))

    model = Excited()
    network = canonical(model)
    targets = [node.target for node in network.graph.nodes]
    assert F.hardsigmoid not in targets and targets.count(F.relu6) == 1 and arithmetic(network) == []
    torch.testing.assert_close(network.get_submodule("excite").bias, model.excite.bias + 3)


def test_moments_follow_factor_and_offset():
    """Of a layer with BatchNorm: mean β·f + o, deviation |γ·f|."""

    class Gained(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 4)
            nn.init.uniform_(self.norm.weight, 0.5, 1.5)
            nn.init.normal_(self.norm.bias)

        def forward(self, images):
            return self.head(F.relu(self.norm(self.conv(images)) * -2 + 0.5).mean((2, 3)))

    model = Gained()
    mean, deviation = matrix_calls(canonical(model))["conv"].meta[OUTPUT_MOMENTS]
    torch.testing.assert_close(mean, model.norm.bias.detach() * -2 + 0.5)
    torch.testing.assert_close(deviation, model.norm.weight.detach().abs() * 2, rtol=1e-4, atol=1e-5)


def test_arithmetic_on_sizes_is_left_alone():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.token, self.head = nn.Conv2d(3, 8, 1), nn.Parameter(torch.randn(1, 8)), nn.Linear(8, 4)

        def forward(self, images):
            halves = torch.cat(self.conv(images).mean((2,)).split(4, 2), 0).mean(2)
            halves = halves + self.token.expand(images.size(0) * 2, -1)
            return self.head(halves[: images.size(0)] + halves[images.size(0) :])

    canonical(Windows())
