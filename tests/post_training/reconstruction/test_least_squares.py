"""Compensation: what quantized inputs do to a block is taken back by its weights and biases."""

import copy

import pytest
import torch
from support.reconstruction_cases import images, pair
from support.small_nets import SPEC, PreActivation, Residual, canonical, plain
from torch import nn

from dfq.post_training.reconstruction.block_data import store_outputs
from dfq.post_training.reconstruction.blocks import cut_into_blocks
from dfq.post_training.reconstruction.least_squares import _fit, fit_least_squares, input_rows, output_rows
from dfq.post_training.reconstruction.settings import LeastSquaresSettings
from dfq.student.set_ranges import quantizers_in_mode


def shifting(make=Residual):
    """A student whose first block gets inputs that are shifted and shrunk."""
    teacher, student = pair(make, bits=4)
    block = cut_into_blocks(student, canonical(teacher.model, SPEC))[1]
    stem = cut_into_blocks(student, canonical(teacher.model, SPEC))[0]
    exact = store_outputs(stem.teacher, images(64)).float()
    return block, 0.8 * exact + 0.1, exact


@pytest.mark.parametrize("make", [Residual, PreActivation, plain])
@torch.no_grad()
def test_compensation_takes_shifts_of_the_input_back(make):
    block, shifted, exact = shifting(make)
    target = block.teacher(exact)
    with quantizers_in_mode(block.student, "off"):
        before = (block.student(shifted) - target).square().mean()
        fit_least_squares(block, shifted, exact)
        after = (block.student(shifted) - target).square().mean()
    assert after < 0.5 * before


@torch.no_grad()
def test_compensation_leaves_what_is_right():
    block, _, exact = shifting()
    with quantizers_in_mode(block.student, "off"):
        fit_least_squares(block, exact, exact)
        torch.testing.assert_close(block.student(exact), block.teacher(exact), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_fewer_examples_than_inputs_move_the_bias_alone():
    """Of a classifier's noisy features, few examples fit themselves: on others, the layer as it was errs less."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    layer, exact = nn.Linear(64, 10), torch.randn(400, 64, generator=generator)
    wanted = layer(exact)
    noisy = exact + 0.5 * torch.randn(exact.shape, generator=generator) + 0.3
    errors = {}
    for count in (32, 200):
        fitted = copy.deepcopy(layer)
        _fit(fitted, noisy[None, :count], wanted[None, :count], LeastSquaresSettings().ridge)
        errors[count] = (fitted(noisy[200:]) - wanted[200:]).square().mean()
        assert torch.equal(fitted.weight, layer.weight) == (count < 64)
    assert errors[32] < 0.9 * (layer(noisy[200:]) - wanted[200:]).square().mean()
    assert errors[200] < errors[32]


LAYERS = {
    "strided": nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "grouped": nn.Conv2d(6, 8, 3, groups=2, dilation=2),
    "depthwise": nn.Conv2d(6, 6, (3, 1), padding=(2, 0), groups=6, bias=False),
    "same": nn.Conv2d(6, 4, 3, padding="same", padding_mode="reflect"),
    "tokens": nn.Linear(9, 4),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_rows_multiplied_by_the_weight_are_the_layers_outputs(name):
    layer, values = LAYERS[name], torch.randn(5, 6, 11, 9, generator=torch.Generator().manual_seed(0))
    inputs, outputs = input_rows(values, layer, seed=3), output_rows(layer(values), layer, seed=3)
    weight = layer.weight.view(inputs.shape[0], -1, inputs.shape[2])
    bias = 0 if layer.bias is None else layer.bias.view(inputs.shape[0], 1, -1)
    torch.testing.assert_close(inputs @ weight.mT + bias, outputs, atol=1e-4, rtol=1e-4)
