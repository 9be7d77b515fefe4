"""How much runs on integers: shares and reasons of networks whose numbers are computed by hand."""

import pytest
import torch
from support.capture_cases import SPEC
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.coverage import (
    COMPUTED_WEIGHT,
    MATRIX_PER_POSITION,
    NO_KERNEL,
    NOT_QUANTIZED,
    NOT_RECOGNISED,
    NOT_WRITTEN,
    Coverage,
    LayerCoverage,
    measure_coverage,
)
from dfq.student.placement_graph import FEW_PRODUCTS
from dfq.teacher import Teacher


def coverage_of(model: nn.Module, **scheme) -> Coverage:
    torch.manual_seed(0)
    return measure_coverage(make_student(Teacher(model, SPEC), make_scheme(**{"bits": 8, **scheme})))


def network(*middle: nn.Module) -> nn.Sequential:
    """Layers "0" to "…" on images (3, 8, 8), pooling, a linear layer of 4 outputs on 6 channels."""
    return nn.Sequential(*middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


class Maps(nn.Module):
    """A module of a function and parameters by name."""

    def __init__(self, function, **shapes):
        super().__init__()
        self.function = function
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **dict(self.named_parameters()))


def test_a_network_of_relu_layers_is_whole():
    coverage = coverage_of(network(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=2)))
    assert coverage.layers == (
        LayerCoverage("0", "Conv2d", 6 * 36 * 27, 6 * 27, None),
        LayerCoverage("3", "Conv2d", 6 * 16 * 27, 6 * 27, None),
        LayerCoverage("6", "Linear", 24, 24, None),
    )
    assert (coverage.share_of_macs, coverage.share_of_weights, coverage.float_shares()) == (1.0, 1.0, {})
    assert coverage.not_recognised == [] and coverage.attention_macs == 0


def test_a_transposed_convolution_has_no_integer_kernel():
    """2×2 kernels with stride 2: every input value meets 6 · 4 weights."""
    layer = nn.ConvTranspose2d(6, 6, 2, 2)
    coverage = coverage_of(network(nn.Conv2d(3, 6, 1), nn.ReLU(), layer, nn.ReLU()))
    rows = {row.name: row for row in coverage.layers}
    macs, first = 6 * 64 * 6 * 4, 6 * 64 * 3
    assert rows["2.weight"] == LayerCoverage("2.weight", "conv_transpose2d", macs, 6 * 6 * 4, NO_KERNEL)
    assert coverage.not_recognised == []
    floats = macs + (first if rows["0"].reason else 0)
    assert coverage.share_of_macs == pytest.approx(1 - floats / (macs + first + 24))
    assert coverage.float_shares()[NO_KERNEL] == pytest.approx(macs / (macs + first + 24))


def test_silu_behind_few_products_is_a_choice():
    model = network(nn.Conv2d(3, 6, 1), nn.SiLU(), nn.Conv2d(6, 6, 1), nn.ReLU())
    coverage = coverage_of(model)
    assert [row.reason for row in coverage.layers] == [FEW_PRODUCTS, None, None]
    assert coverage.share_of_macs == pytest.approx((36 * 64 + 24) / (18 * 64 + 36 * 64 + 24))
    assert coverage.share_of_weights == pytest.approx((36 + 24) / (18 + 36 + 24))
    assert coverage_of(model, target="openvino").share_of_macs == 1.0
    assert coverage_of(model, overrides={"0": 8}).share_of_macs == 1.0


def test_a_layer_that_is_called_twice_does_its_work_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 4)

        def forward(self, images):
            return self.head(F.relu(self.conv(F.relu(self.conv(images)))).mean((2, 3)))

    conv, _ = coverage_of(Twice()).layers
    assert (conv.macs, conv.weights) == (2 * 3 * 64 * 27, 81)


def test_a_scheme_that_does_not_quantize_what_a_layer_reads():
    coverage = coverage_of(network(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1)), name="paper-qat")
    assert [row.reason for row in coverage.layers] == [NOT_QUANTIZED, NOT_WRITTEN, NOT_QUANTIZED]


PRODUCTS = {
    # maps (6, 6, 6), six channels of 36 values; name: (function, its parameters, products of one image, weights)
    "matrix on the left": (lambda x, w: (w @ x.flatten(2)).unsqueeze(-1), {"w": (6, 6)}, 6 * 36 * 6, 36),
    "einsum": (lambda x, w: torch.einsum("nchw,cd->ndhw", x, w), {"w": (6, 6)}, 6 * 36 * 6, 36),
    "einsum, any dimensions": (lambda x, w: torch.einsum("n...w,wv->n...v", x, w), {"w": (6, 5)}, 6 * 6 * 6 * 5, 30),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_matrices_that_no_table_knows_are_named(name):
    function, parameters, macs, weights = PRODUCTS[name]
    coverage = coverage_of(network(nn.Conv2d(3, 6, 3), nn.ReLU(), Maps(function, **parameters)))
    (unknown,) = [row for row in coverage.layers if row.reason == NOT_RECOGNISED]
    assert coverage.not_recognised == [unknown.name] and unknown.name.endswith("2.w")
    assert (unknown.macs, unknown.weights, coverage.attention_macs) == (macs, weights, 0)


PER_POSITION = {
    "product": (lambda x, w: x @ w, 6 * 6 * 5 * 6),
    "einsum, as of relative positions": (lambda x, w: torch.einsum("bchw,cwk->bchk", x, w), 6 * 6 * 5 * 6),
}


@pytest.mark.parametrize("name", PER_POSITION)
def test_a_matrix_for_each_position_is_no_layer_that_was_overlooked(name):
    function, macs = PER_POSITION[name]
    coverage = coverage_of(network(nn.Conv2d(3, 6, 3), nn.ReLU(), Maps(function, w=(6, 6, 5))))
    (row,) = [row for row in coverage.layers if row.reason == MATRIX_PER_POSITION]
    assert (row.macs, row.weights, coverage.not_recognised) == (macs, 180, [])


def test_a_recurrent_layer_multiplies_both_its_matrices_at_every_step():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.cells, self.head = nn.Conv2d(3, 6, 3, 3), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 4)

        def forward(self, images):
            return self.head(self.cells(self.conv(images).flatten(2).transpose(1, 2))[0][:, -1])

    rows = {row.type: row for row in coverage_of(Recurrent()).layers}
    assert (rows["gru"].macs, rows["gru"].weights) == (4 * 15 * (6 + 5), 15 * (6 + 5))
    assert rows["gru"].reason == NO_KERNEL


def test_a_weight_that_is_computed_from_the_images():
    """Dynamic convolution: one image's kernel for all channels is computed from its mean."""

    def dynamic(x: Tensor) -> Tensor:
        kernels = x.mean((2, 3)).flatten()[:, None, None, None]  # (N · 6, 1, 1, 1)
        return F.conv2d(x.flatten(0, 1)[None], kernels, groups=kernels.shape[0]).view_as(x)

    coverage = coverage_of(network(nn.Conv2d(3, 6, 3), nn.ReLU(), Maps(dynamic)))
    (row,) = [row for row in coverage.layers if row.reason == COMPUTED_WEIGHT]
    assert (row.macs, row.weights, coverage.not_recognised) == (6 * 36, 0, [])


ATTENTION = {
    # tokens (36, 6): queries · keys and weights · values
    "attention": (lambda t: F.scaled_dot_product_attention(t, t, t), 2 * 36 * 36 * 6),
    "attention, fewer keys": (lambda t: F.scaled_dot_product_attention(t, t[:, :9], t[:, :9]), 2 * 36 * 9 * 6),
    "two products": (lambda t: (t @ t.transpose(1, 2)).softmax(-1) @ t, 2 * 36 * 36 * 6),
    "a square": (lambda t: t[:, :6] @ t[:, :6], 6 * 6 * 6),
    "with itself": (lambda t: torch.bmm(s := t[:, :6], s), 6 * 6 * 6),
    "einsum": (lambda t: torch.einsum("nqc,nkc->nqk", t, t), 36 * 36 * 6),
}
ON_INTEGERS = ("attention", "two products")  # the others have few keys, or no softmax


@pytest.mark.parametrize("name", ATTENTION)
def test_products_of_two_activations_are_counted_apart(name):
    function, macs = ATTENTION[name]

    def attend(x: Tensor) -> Tensor:
        return x + function(x.flatten(2).transpose(1, 2)).mean((1, 2))[:, None, None, None]

    coverage = coverage_of(network(nn.Conv2d(3, 6, 3), nn.ReLU(), Maps(attend)))
    expected = (0, macs) if name in ON_INTEGERS else (macs, 0)
    assert (coverage.attention_macs, coverage.integer_attention_macs) == expected
    assert [row.name for row in coverage.layers] == ["0", "5"] and coverage.not_recognised == []


def test_the_report_has_all_of_it():
    coverage = coverage_of(network(nn.Conv2d(3, 6, 1), nn.SiLU()))
    found = coverage.to_dict()
    assert found["share_of_macs"] == coverage.share_of_macs == pytest.approx(24 / (18 * 64 + 24))
    assert found["float_shares"] == {FEW_PRODUCTS: pytest.approx(18 * 64 / (18 * 64 + 24))}
    assert found["layers"][0] == {"name": "0", "type": "Conv2d", "macs": 1152, "weights": 18, "reason": FEW_PRODUCTS}
