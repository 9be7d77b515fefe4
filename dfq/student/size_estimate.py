"""Estimates the size of a student's file before it is written."""

from math import ceil

from torch import fx

from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.targets import Target
from dfq.student.convert import weight_quantizers

FLOAT_BYTES = 4
CHANNEL_BYTES = 5  # A channel has a scale in floating point and a zero point of one byte.


def stored_weight_bytes(count: int, bits: int, containers: tuple[int, ...] = (4, 8)) -> int:
    """Returns the bytes of `count` weights on a grid of `bits`, in the narrowest integer type that holds them.

    Args:
        containers: Widths in bits of the integer types that the file may have.
    """
    return ceil(count * min(width for width in containers if width >= bits) / 8)


def containers_of(target: Target) -> tuple[int, ...]:
    """Returns the widths in bits of the integer types that weights are stored in."""
    if not target.packs_constants:
        return (8,)
    return (2, 4, 8) if target.stores_int2 else (4, 8)


def estimated_bytes(student: fx.GraphModule, target: Target) -> tuple[int, int]:
    """Returns the bytes of the float file and of the quantized file, without the few kB of the graph itself.

    Biases are counted with 32 bits, in which the integer kernels add them.
    """
    scales = {f"{name}.scale" for name, module in student.named_modules() if isinstance(module, FakeQuantize)}
    counts = {name: p.numel() for name, p in student.named_parameters() if name not in scales}
    saved = 0
    for layer, quantizer in weight_quantizers(student).items():
        count = counts[f"{layer}.weight"]
        stored = stored_weight_bytes(count, quantizer.spec.bits, containers_of(target))
        saved += FLOAT_BYTES * count - stored - CHANNEL_BYTES * quantizer.scale.numel()
    total = FLOAT_BYTES * sum(counts.values())
    return total, total - saved
