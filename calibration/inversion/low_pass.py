"""A Gaussian low-pass filter, since synthetic images have more fine detail than photographs."""

import torch
from torch import Tensor


def low_pass(pixels: Tensor, cutoff: float) -> Tensor:
    """Returns the pixels (N, C, H, W) without their fine detail, in the same shape (Kim et al., SynQ, ICLR 2025).

    Each frequency f is multiplied by exp(−½ (|f| / cutoff)²). The image is mirrored at its border, so that the filter
    does not ring there.

    Args:
        pixels: Pixels (N, C, H, W).
        cutoff: Cutoff in units of the finest frequency that a pixel grid can hold, half a period per pixel.
    """
    height, width = pixels.shape[2:]
    mirrored = torch.cat([pixels, pixels.flip(2)], 2)
    mirrored = torch.cat([mirrored, mirrored.flip(3)], 3)
    rows = torch.fft.fftfreq(2 * height, device=pixels.device)[:, None] * 2
    columns = torch.fft.rfftfreq(2 * width, device=pixels.device)[None] * 2
    gain = torch.exp(-0.5 * (rows.square() + columns.square()) / cutoff**2)
    filtered = torch.fft.irfft2(torch.fft.rfft2(mirrored.float()) * gain, s=mirrored.shape[2:])
    return filtered[:, :, :height, :width].to(pixels.dtype)
