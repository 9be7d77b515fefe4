"""`ChannelReLU6` takes the place of ReLU6 in a teacher whose channels were rescaled."""

import torch
from torch import Tensor, nn

RELU6_LIMIT = 6.0


class ChannelReLU6(nn.ReLU6):
    """ReLU6 of maps (N, C, H, W) whose channels were divided by `factors` (C,): min(max(x, 0), 6 / factor)."""

    def __init__(self, factors: Tensor):
        super().__init__()
        self.register_buffer("ceiling", (RELU6_LIMIT / factors).view(-1, 1, 1), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return torch.minimum(input.clamp(min=0), self.get_buffer("ceiling").to(input.dtype))
