"""bfloat16 where the hardware computes in it: it halves a training step on such CPUs."""

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on `device` (AVX512-BF16 or AMX on CPU, Ampere or newer)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def fast_autocast(device: torch.device) -> torch.autocast:
    """The autocast context of synthesis and training; disabled where bfloat16 would be emulated."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device))
