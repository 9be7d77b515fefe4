"""Global average pooling as one module, so that export can write the operator that has an integer kernel."""

from torch import Tensor, nn


class GlobalAveragePool(nn.Module):
    """Mean over height and width: (N, C, H, W) → (N, C, 1, 1), or (N, C) without `keep_dims`.

    `dfq.export` writes it as GlobalAveragePool; torch's exporter would write ReduceMean, which ONNX Runtime runs in
    floating point.
    """

    def __init__(self, keep_dims: bool = True):
        super().__init__()
        self.keep_dims = keep_dims

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=self.keep_dims)
