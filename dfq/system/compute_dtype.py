"""Number formats: bfloat16 where the hardware computes in it, and float32 with all its bits where it must be."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def has_fast_bfloat16(device: torch.device) -> bool:
    """Returns whether `device` multiplies matrices in bfloat16 natively.

    CPUs do so with AVX512-BF16 or AMX, and NVIDIA's GPUs since Ampere.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def fast_autocast(device: torch.device) -> Iterator[None]:
    """Computes synthesis and training in bfloat16 where that is fast.

    It is not used where it is emulated, nor in the layers that `Float32Depthwise` exempts.
    """
    if not has_fast_bfloat16(device):
        yield
    elif device.type == "cpu":
        with torch.autocast("cpu", dtype=torch.bfloat16), Float32Depthwise():
            yield
    else:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield


@contextmanager
def exact_float32() -> Iterator[None]:
    """Lets convolutions in float32 keep all bits of the mantissa.

    By default, GPUs round their inputs to TF32, whose mantissa has 10. That moves values across the boundaries of
    a grid, so that a student would differ from its file, whose integers are exact.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


class Float32Depthwise(TorchFunctionMode):
    """A mode in which strided depthwise convolutions that need a gradient compute in float32.

    On CPUs, the bfloat16 kernel of the gradient is many times slower: forward and backward together take 38 ms instead
    of 4 for 8 images of 144×57×57.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.conv2d and not kwargs and args[0].requires_grad and _is_strided_depthwise(*args):
            images, weight, bias, *geometry = args
            with torch.autocast("cpu", enabled=False):
                bias = None if bias is None else bias.float()
                return func(images.float(), weight.float(), bias, *geometry).bfloat16()
        return func(*args, **(kwargs or {}))


def _is_strided_depthwise(images: Tensor, weight: Tensor, bias=None, stride=1, padding=0, dilation=1, groups=1) -> bool:  # noqa: PLR0913
    return groups == images.shape[1] > 1 and stride not in (1, (1, 1), [1, 1])
