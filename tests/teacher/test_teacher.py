"""The teacher: frozen, and its BatchNorm statistics measured right and fast."""

import pytest
import torch
from support.small_nets import SPEC, Residual, lived_in, plain, small_teacher
from torch import nn

from dfq.teacher.batch_norm_statistics import BatchNormStatistics, channel_moments


def images(count=32, seed=1):
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channel_moments(dtype, memory_format):
    features = (images()[:, :, :8] * 3 + 1).to(dtype).to(memory_format=memory_format)
    mean, variance = channel_moments(features)
    torch.testing.assert_close(mean, features.float().mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(variance, features.float().var((0, 2, 3), unbiased=False), atol=1e-3, rtol=1e-3)


def slow_loss(teacher, batch):
    """An independent form of L_bn with plain hooks."""
    losses = []

    def hook(layer, inputs):
        x = inputs[0]
        sigma_hat = (layer.running_var + layer.eps).sqrt()
        sigma = (x.var((0, 2, 3), unbiased=False) + layer.eps).sqrt()
        mean = (x.mean((0, 2, 3)) - layer.running_mean) / sigma_hat
        losses.append((mean.square() + (sigma / sigma_hat - 1).square()).mean())

    layers = [m for m in teacher.model.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    teacher(batch)
    for handle in handles:
        handle.remove()
    return torch.stack(losses).sum()


def test_loss_and_gradient_equal_the_slow_form():
    teacher = small_teacher()
    fast, slow = images().requires_grad_(), images().requires_grad_()
    with teacher.bn_statistics() as statistics:
        logits = teacher(fast)
        loss = statistics.loss() + logits.square().mean()
    loss.backward()
    reference = slow_loss(teacher, slow) + teacher(slow).square().mean()
    reference.backward()
    assert loss.item() == pytest.approx(reference.item(), rel=1e-4)
    torch.testing.assert_close(fast.grad, slow.grad, atol=1e-6, rtol=1e-3)


def test_context_leaves_no_hook_and_no_change():
    teacher = small_teacher()
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    with teacher.bn_statistics() as statistics:
        teacher(images())
        assert statistics.loss().isfinite()
    assert all(not m._forward_pre_hooks and not m._forward_hooks for m in teacher.model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())


def test_dead_channels_do_not_dominate():
    model = lived_in(Residual())
    model.stem_norm.running_var[3] = 1e-12
    teacher = small_teacher(None)
    teacher.model.load_state_dict(model.state_dict())
    with teacher.bn_statistics() as statistics:
        teacher(images())
        assert statistics.per_layer()[0] < 10


def test_statistics_are_lower_for_the_images_that_made_them():
    teacher = small_teacher()
    coarse = torch.randn(64, 3, 4, 4, generator=torch.Generator().manual_seed(7)) * 0.7
    own = torch.nn.functional.interpolate(coarse, SPEC.size[1:], mode="bilinear")
    with teacher.bn_statistics() as statistics:
        teacher(own)
        matching = statistics.loss().item()
        teacher(own * 4 + 2)
        assert matching < 0.1 * statistics.loss().item()


def test_teacher_is_a_frozen_copy():
    model = lived_in(Residual())
    teacher = small_teacher()
    assert not teacher.model.training and not any(p.requires_grad for p in teacher.model.parameters())
    assert teacher.num_classes == 5 and teacher.has_batch_norm
    assert all(p.requires_grad for p in model.parameters())
    assert not small_teacher(plain()).has_batch_norm
    assert not BatchNormStatistics(plain()).layers
