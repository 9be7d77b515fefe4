"""The tables of latency, and the limits that the project promises to keep."""

from rich.console import Console
from rich.table import Table

from benchmarks.latency.files import ENTRIES

# The least latency of float ÷ that of INT8, as the project promises it.
MIN_SPEEDUP = {
    "resnet18": 2.9,
    "resnet50": 3.0,
    "mobilenet_v2": 1.7,
    "mobilenet_v3_large": 1.2,
    "efficientnet_b0": 1.15,
    "regnet_y_400mf": 1.2,
    "vit_b_16": 2.2,
    "convnext_tiny": 1.8,
}
MAX_W4A4_LATENCY = 1.05  # W4A4 ÷ INT8
MIN_STATIC_RATIO = 1.0  # the best `quantize_static` ÷ INT8
MAX_W4A4_SIZE = {"resnet18": 0.14, "mobilenet_v2": 0.18}  # W4A4 ÷ float


def missed(name: str, result: dict) -> list[str]:
    """Returns the limits that a network's figures do not keep, in words."""
    ratios, sizes = result["ratios"], result["size_bytes"]
    packed = sizes["w4a4"] / sizes["float"]
    checks = (
        (ratios["float/int8"] < MIN_SPEEDUP.get(name, 0), f"float/int8 {ratios['float/int8']:.2f}"),
        (ratios["static/int8"] < MIN_STATIC_RATIO, f"{result['best_static']}/int8 {ratios['static/int8']:.3f}"),
        (ratios["w4a4/int8"] > MAX_W4A4_LATENCY, f"w4a4/int8 {ratios['w4a4/int8']:.3f}"),
        (packed > MAX_W4A4_SIZE.get(name, 1), f"size of w4a4 {packed:.3f}"),
    )
    return [text for is_missed, text in checks if is_missed]


def show(networks: dict[str, dict], console: Console) -> None:
    """Prints the tables of times and ratios, and below them what is in float, missed or skipped."""
    times = Table(title="Milliseconds at batch 1, best quantize_static of its settings")
    ratios = Table(title="Ratios: what must be at least, or at most, in brackets; [red]missed[/red]")
    for column in ("", "float", "int8", "w4a4", "static", "nncf", "OV float", "OV int8", "OV nncf"):
        times.add_column(column, justify="right" if column else "left")
    for column in ("", "float/int8", "static/int8 (1)", "w4a4/int8 (1.05)", "int8 size", "w4a4 size"):
        ratios.add_column(column, justify="right" if column else "left")
    for name, result in networks.items():
        labels = (
            "float",
            "int8",
            "w4a4",
            result["best_static"],
            "nncf",
            *(n for n in ENTRIES if n.startswith("openv")),
        )
        found = result["latency_ms"]
        times.add_row(name, *(f"{found[label]:.2f}" if label in found else "–" for label in labels))
        sizes, each = result["size_bytes"], result["ratios"]
        cells = [f"{each['float/int8']:.2f} ({MIN_SPEEDUP.get(name, '–')})", f"{each['static/int8']:.2f}"]
        cells += [f"{each['w4a4/int8']:.2f}", f"{sizes['int8'] / sizes['float']:.3f}"]
        cells += [f"{sizes['w4a4'] / sizes['float']:.3f} ({MAX_W4A4_SIZE.get(name, '–')})"]
        ratios.add_row(name, *cells, style="red" if missed(name, result) else "")
    console.print(times)
    console.print(ratios)
    for name, result in networks.items():
        console.print(f"{name}: in float {result['nodes']['int8']['float'] or 'nothing'}", style="dim")
        for text in missed(name, result):
            console.print(f"{name}: limit missed: {text}", style="red")
        for label, reason in result.get("skipped", {}).items():
            console.print(f"{name}: no {label}: {reason}", style="yellow")
