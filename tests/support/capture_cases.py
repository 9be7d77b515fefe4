"""An input, images and BatchNorm statistics for the tests of captured graphs."""

import torch
from torch import Tensor, nn

from dfq.images.input_spec import InputSpec

SPEC = InputSpec(size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def images(count: int) -> Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(count))


def lively(model: nn.Module) -> nn.Module:
    """BatchNorm statistics, factors and offsets that are not the initial ones; training mode."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            for tensor in (module.running_mean, module.bias.data):
                nn.init.normal_(tensor)
            for tensor in (module.running_var, module.weight.data):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model
