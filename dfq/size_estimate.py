"""What a student's file will weigh, before it is written."""

from torch import fx

from dfq.convert import weight_quantizers
from dfq.fake_quant import FakeQuantize

FLOAT_BYTES, CHANNEL_BYTES = 4, 5  # per channel: a float scale, and a zero point of one byte


def stored_weight_bytes(count: int, bits: int) -> int:
    """Of `count` weights: grids of up to 4 bits are stored in 4, others in 8, the two integer types that ONNX has."""
    return (count + 1) // 2 if bits <= 4 else count


def estimated_bytes(student: fx.GraphModule, packs_constants: bool = True) -> tuple[int, int]:
    """(float file, quantized file), without the few kB of the graph itself.

    Biases are stored in 32 bits, as the integer kernels add them.

    Args:
        packs_constants: see `dfq.targets.Target`.
    """
    scales = {f"{name}.scale" for name, module in student.named_modules() if isinstance(module, FakeQuantize)}
    counts = {name: p.numel() for name, p in student.named_parameters() if name not in scales}
    saved = 0
    for layer, quantizer in weight_quantizers(student).items():
        count = counts[f"{layer}.weight"]
        stored = stored_weight_bytes(count, quantizer.spec.bits) if packs_constants else count
        saved += FLOAT_BYTES * count - stored - CHANNEL_BYTES * quantizer.scale.numel()
    total = FLOAT_BYTES * sum(counts.values())
    return total, total - saved
