"""Global average pooling as one operation, so that export can name the operator that has an integer kernel."""

import torch
from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """Mean over height and width: (N, C, H, W) → (N, C, 1, 1), or (N, C) without `keep_dims`.

    In "export" mode it emits ONNX GlobalAveragePool: torch's exporter writes ReduceMean, which ONNX Runtime runs in
    floating point.
    """

    def __init__(self, keep_dims: bool = True):
        super().__init__()
        self.keep_dims, self.mode = keep_dims, "quantize"

    def forward(self, images: Tensor) -> Tensor:
        if self.mode == "export":
            shape = (images.shape[0], images.shape[1], 1, 1)
            pooled = torch.onnx.ops.symbolic("GlobalAveragePool", (images,), dtype=images.dtype, shape=shape)
        else:
            pooled = images.mean((2, 3), keepdim=True)
        return pooled if self.keep_dims else pooled.flatten(1)
