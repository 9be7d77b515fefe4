"""Attention is found in captured networks, fused or not, and computes what the network computed."""

import math

import pytest
import torch
from support.class_token_nets import HEADS, TOKENS, attending
from support.small_nets import SPEC
from torch import nn

from dfq.graph.attention import find_attention
from dfq.graph.inner_tensors import inner_reader_of
from dfq.teacher import Teacher


@pytest.mark.parametrize("form", ["products", "fused", "masked"])
def test_it_is_what_the_network_computed(form):
    network, teacher = attending(form)
    images = torch.randn(3, *SPEC.size)
    inner = inner_reader_of(teacher.model)(images)
    assert torch.equal(inner.outputs, teacher(images))
    (attention,) = inner.attention
    assert attention.probabilities.shape == (3, HEADS, TOKENS, TOKENS)
    torch.testing.assert_close(attention.probabilities.sum(-1), torch.ones(3, HEADS, TOKENS))
    given = (attention.probabilities @ attention.values).transpose(1, 2).reshape(3, TOKENS, 8)
    torch.testing.assert_close(network.head(given[:, 0]), inner.outputs)


def test_a_network_without_attention_has_none():
    teacher = Teacher(nn.Sequential(nn.Conv2d(SPEC.size[0], 4, 3), nn.ReLU(), nn.Flatten(1), nn.Softmax(1)), SPEC)
    assert find_attention(teacher.model) == []


def test_it_names_the_layers_and_is_differentiable():
    _, teacher = attending()
    images = torch.randn(2, *SPEC.size, requires_grad=True)
    inner = inner_reader_of(teacher.model)(images)
    assert [tuple(layer.shape) for layer in inner.layers] == [(2, 8, 4, 4), (2, TOKENS, 24), (2, 5)]
    assert inner.channels == (1, -1, -1)
    (gradient,) = torch.autograd.grad(inner.attention[0].probabilities.square().sum(), images)
    assert gradient.abs().sum() > 0 and math.isfinite(float(gradient.sum()))
