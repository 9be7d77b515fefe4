"""The sections on speed and memory."""

from collections.abc import Iterator

from dfq.results.number_format import milliseconds, size
from dfq.results.page.parts import Section, Table

# The keys of the two files in what was measured.
FLOAT = "float_onnx"
QUANTIZED = "onnx"


def performance_sections(found: dict) -> list[Section]:
    """Makes two tables of what `dfq.export.validation.performance.measure_performance` returned for the two files."""
    head = ("", "float", "quantized", "float ÷ quantized")
    text = "Medians on random images in ONNX Runtime; each file ran in a process of its own."
    rows = tuple(_rows(found[FLOAT], found[QUANTIZED]))
    operators = tuple(_operators(found[FLOAT]["operators_ms"], found[QUANTIZED]["operators_ms"]))
    return [
        Section("Speed and memory", text, table=Table(head, rows)),
        Section(
            "Where the time goes", "Time for one image, by operator.", table=Table(("operator", *head[1:3]), operators)
        ),
    ]


def _rows(twin: dict, file: dict) -> Iterator[tuple[str, ...]]:
    for one, other in zip(twin["runs"], file["runs"], strict=True):
        setting = f"batch {one['batch']}, {one['threads']} thread" + ("s" if one["threads"] > 1 else "")
        yield (
            f"latency, {setting}",
            milliseconds(one["latency_ms"]),
            milliseconds(other["latency_ms"]),
            f"{one['latency_ms'] / other['latency_ms']:.2f}",
        )
        rates = one["images_per_second"], other["images_per_second"]
        yield f"images per second, {setting}", *(f"{rate:.0f}" for rate in rates), f"{rates[0] / rates[1]:.2f}"
    for batch, one in twin["peak_memory_bytes"].items():
        other = file["peak_memory_bytes"].get(batch)
        if one and other:
            yield f"peak memory, batch {batch}", size(one), size(other), f"{one / other:.2f}"


def _operators(twin: dict, file: dict) -> Iterator[tuple[str, ...]]:
    total = {name: max(twin.get(name, 0.0), file.get(name, 0.0)) for name in {**twin, **file}}
    for name in sorted(total, key=lambda name: -total[name]):
        yield name, *(milliseconds(found[name]) if name in found else "–" for found in (twin, file))
