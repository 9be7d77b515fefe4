"""What cannot be captured as it is, is refused with its reason; a wrong rewriting is noticed."""

import pytest
import torch
from support.capture_cases import SPEC
from support.forward_cases import Plain
from support.small_nets import SPEC as LARGER
from torch import nn
from torch.nn import functional as F

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.folding import canonical
from dfq.graph.rewriting import rewrite
from dfq.graph.rewriting.aten_layers import ATEN
from dfq.graph.same_outputs import same_outputs


def refusal(model: nn.Module, spec=SPEC) -> DfqError:
    torch.manual_seed(0)
    with pytest.raises(DfqError) as raised:
        capture(model, spec)
    return raised.value


class Random(Plain):
    def maps(self, images):
        return super().maps(images) + torch.rand(8, 1, 1)


class AlwaysDropping(Plain):
    def maps(self, images):
        return F.dropout(super().maps(images), 0.5, training=True)


class Counting(Plain):
    """Answers depend on how often it was called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def maps(self, images):
        self.calls += 1
        return super().maps(images) * self.calls


class Centered(Plain):
    """The mean over the batch is taken away."""

    def maps(self, images):
        x = super().maps(images)
        return x - x.mean(0, keepdim=True)


class Leading(Plain):
    """All images are compared with the first."""

    def maps(self, images):
        return super().maps(images) * images[0].mean()


class Branching(Plain):
    def maps(self, images):
        return super().maps(images if images.sum() > 0 else -images)


@pytest.mark.parametrize("make", [Random, AlwaysDropping, Counting])
def test_a_forward_pass_that_is_random_or_keeps_state(make):
    error = refusal(make())
    assert make.__name__ in error.found and "other outputs" in error.found and "random or keep state" in error.way_out


def test_a_count_of_calls_is_left_as_it_was():
    model = Counting()
    with pytest.raises(DfqError):
        capture(model, SPEC)
    assert model.calls == 0


@pytest.mark.parametrize("make", [Centered, Leading])
def test_answers_that_depend_on_the_other_images(make):
    error = refusal(make())
    assert "together with others than alone" in error.found and "across images" in error.way_out


def test_batch_norm_without_running_statistics_is_named():
    model = Plain()
    model.second = nn.Sequential(model.second, nn.BatchNorm2d(8, track_running_stats=False))
    error = refusal(model)
    assert "'second.1' normalises by the statistics of the batch" in error.found
    assert "track_running_stats" in error.way_out


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(2, 8)])
def test_normalization_within_each_image_is_taken(norm):
    model = Plain()
    model.second = nn.Sequential(model.second, norm, nn.ReLU())
    images = torch.randn(3, *SPEC.size)
    torch.testing.assert_close(capture(model, SPEC)(images), model(images), atol=1e-5, rtol=1e-4)


def test_a_branch_on_values_shows_its_line():
    error = refusal(Branching())
    assert "torch.export does not take Branching" in error.found
    assert "if images.sum() > 0" in error.found and __file__ in error.found


def test_an_input_size_that_does_not_fit():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    assert capture(model, SPEC)(torch.zeros(3, *SPEC.size)).shape == (3, 5)
    assert "Sequential" in refusal(model, LARGER).found


def test_a_number_of_images_that_is_computed_with():
    class Divided(Plain):
        def forward(self, images):
            return super().forward(images) / len(images)

    error = refusal(Divided())
    assert "Divided takes one number of images only" in error.found and error.exit_code == 1


@pytest.mark.parametrize(
    ("table", "operator", "wrong"),
    [
        ("FUNCTIONS", ATEN.relu.default, lambda a: (torch.sigmoid, (a["self"],), {})),
        ("FUNCTIONS", ATEN.relu.default, lambda a: (F.max_pool2d, (a["self"], 2), {})),
        ("LAYERS", ATEN.conv2d.default, None),
    ],
    ids=["another function", "another shape", "another layer"],
)
def test_a_wrong_rewriting_is_noticed(monkeypatch, table, operator, wrong):
    rows = dict(getattr(rewrite, table))
    if wrong is None:  # convolutions that are not padded
        right = rows[operator].make
        wrong = type(rows[operator])(lambda a: right({**a, "padding": [0]}))
    monkeypatch.setattr(rewrite, table, {**rows, operator: wrong})
    error = refusal(Plain())
    assert "Plain gives other outputs" in error.found and "captured as a graph" in error.found


def test_a_wrong_simplification_is_noticed(monkeypatch):
    def spoil(network):
        network.get_submodule("head").bias.data.add_(1)

    monkeypatch.setattr(canonical, "merge_branches", spoil)
    network = capture(Plain(), SPEC)
    before = network.get_submodule("head").bias.clone()
    with pytest.raises(DfqError, match="once it is simplified"):
        canonical.folded(network, SPEC)
    assert torch.equal(network.get_submodule("head").bias, before)


def test_rounding_is_no_wrong_simplification(monkeypatch):
    compared = []

    def only_in_float64(found, expected, *, settings):
        compared.append(found.dtype)
        return found.dtype == torch.float64 and same_outputs(found, expected, settings=settings)

    monkeypatch.setattr(canonical, "same_outputs", only_in_float64)
    network = canonical.folded(capture(Plain(), SPEC), SPEC)
    assert compared == [torch.float32, torch.float64] and network.get_submodule("head").weight.dtype == torch.float32
