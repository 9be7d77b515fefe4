"""Terms on what a network computes inside: each moves what it is meant to move, and leaves others alone."""

import pytest
import torch

from dfq.calibration.inner_terms import AttentionPrior, Excitation, HeadSimilarity, PatchEntropy, grid_side
from dfq.calibration.inversion_terms import SynthesisStep
from dfq.graph.attention import Attention
from dfq.graph.inner_tensors import InnerTensors

TOKENS, HEADS = 17, 3


def step(inner: InnerTensors, seed: int = 0) -> SynthesisStep:
    nothing = torch.zeros(2, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    return SynthesisStep(
        pixel_logits=nothing, pixels=nothing, images=nothing, labels=None, logits=None, student=None,
        standardized=True, generator=generator, inner=inner, seed=seed,
    )  # fmt: skip


def inner(*, attention=(), layers=(), channels=()) -> InnerTensors:
    return InnerTensors(None, tuple(attention), tuple(layers), tuple(channels))


def attends(logits: torch.Tensor, values: torch.Tensor | None = None) -> Attention:
    values = torch.randn(2, HEADS, TOKENS, 4, generator=torch.Generator().manual_seed(1)) if values is None else values
    return Attention(logits.softmax(-1), values)


def descend(term, parameter: torch.Tensor, network, rate: float = 0.1, steps: int = 60) -> tuple[float, float]:
    """Follows the gradient of the term; returns its first and its last value."""
    optimizer = torch.optim.Adam([parameter], rate)
    values = []
    for _ in range(steps):
        loss = term(step(network(parameter)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values[0], values[-1]


def test_excitation_pulls_up_the_largest_values_of_deep_layers_only():
    maps = [torch.randn(2, 4, 3, 3, requires_grad=True), torch.randn(2, 9, 4, requires_grad=True)]
    loss = Excitation(2.0)(step(inner(layers=maps, channels=(1, -1))))
    loss.backward()
    assert maps[0].grad is None, "the first half of the layers is not deep"
    assert (maps[1].grad != 0).sum() == 4, "one value of each channel is the largest"
    torch.testing.assert_close(loss, -2 * maps[1].detach().abs().amax((0, 1)).log().mean(), atol=1e-4, rtol=1e-4)
    assert Excitation(1.0)(step(inner())) is None


def test_patches_come_to_differ():
    values = torch.randn(2, HEADS, TOKENS, 4, generator=torch.Generator().manual_seed(2)) * 0.05 + 1
    values.requires_grad_()
    even = torch.zeros(2, HEADS, TOKENS, TOKENS) + 20 * torch.eye(TOKENS)

    def spread() -> float:
        unit = torch.nn.functional.normalize(values.detach().mean(1)[:, 1:], dim=2)
        return float((unit @ unit.transpose(1, 2)).std())

    before = spread()
    first, last = descend(PatchEntropy(1.0), values, lambda found: inner(attention=[attends(even, found)]))
    assert last < first and spread() > 3 * before


def test_heads_come_to_look_at_the_same_places():
    logits = torch.randn(2, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(3), requires_grad=True)

    def apart() -> float:
        found = logits.detach().softmax(-1)
        return float((found[:, 0] - found[:, 1]).abs().sum(-1).mean())

    before = apart()
    first, last = descend(HeadSimilarity(1.0), logits, lambda found: inner(attention=[attends(found)]))
    assert 0.7 < first <= 1 and last < 0.3 and apart() < 0.8 * before


def test_heads_look_where_the_prior_says():
    logits = torch.zeros(2, HEADS, TOKENS, TOKENS, requires_grad=True)
    term = AttentionPrior(1.0)
    first, last = descend(term, logits, lambda found: inner(attention=[attends(found)]))
    assert last < 0.3 * first
    assert term(step(inner(attention=[attends(logits)]), seed=1)).item() > 3 * last, "another batch has another prior"
    looks = logits.detach().softmax(-1)
    assert looks[:, :, 0].std() > 3 * looks[:, :, 1:].std(), "the class token alone is asked"


def test_without_a_class_token_the_mean_over_queries_is_asked():
    logits = torch.zeros(2, HEADS, 16, 16, requires_grad=True)
    values = torch.randn(2, HEADS, 16, 4)
    AttentionPrior(1.0)(step(inner(attention=[attends(logits, values)]))).backward()
    assert (logits.grad.abs().amax((0, 1, 3)) > 0).all()


@pytest.mark.parametrize("term", [PatchEntropy(1.0), HeadSimilarity(1.0), AttentionPrior(1.0)])
def test_without_attention_they_do_not_apply(term):
    assert term(step(inner())) is None


def test_grid_of_patches():
    assert [grid_side(tokens) for tokens in (16, 17, 18, 197, 49)] == [4, 4, 4, 14, 7]
