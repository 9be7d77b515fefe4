"""The tables of accuracy: one line per method and format, mean ± standard deviation over the seeds."""

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.accuracy.profiles import PROFILES
from benchmarks.common.spread import spread

COLUMNS = ("format", "method", "seeds", "ONNX", "drop", "agreement", "core s")


def table(profile: str, rows: list[dict]) -> Table:
    """Returns the table of the rows of one profile.

    Accuracy is that of the ONNX file on 1000 test images, agreement that on 10,000 training images, or on the 500
    labelled images for the networks of 224 pixels; both are in percent. "Core s" are the processor seconds of all
    threads, which other work on the machine changes little; older rows have none. R20 is ResNet-20, Mv2 MobileNetV2,
    EL0 EfficientNet-Lite0, and qat the scheme paper-qat.
    """
    view = Table(title=f"profile {profile}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in COLUMNS:
        view.add_column(column, justify="left" if column in ("format", "method") else "right", no_wrap=True)
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["net"], row["bits"], row["scheme"], row["method"]), []).append(row)
    for (net, bits, scheme, method), group in sorted(groups.items(), key=_by_format_then_drop):
        accuracy = [100 * row["accuracy"]["onnx"] for row in group]
        drop = 100 * group[0]["accuracy"]["teacher"] - np.mean(accuracy)
        agreement = [100 * row["train_agreement"] for row in group]
        seconds = [row["cpu_seconds"] for row in group if "cpu_seconds" in row]
        short = net.replace("resnet", "R").replace("mobilenet_", "M").replace("efficientnet_lite", "EL")
        view.add_row(
            f"{short} W{bits}A{bits} {scheme.removeprefix('paper-')}", method, str(len(group)),
            spread(accuracy, 1), f"{drop:.1f}", spread(agreement, 2), f"{np.mean(seconds):.0f}" if seconds else "",
        )  # fmt: skip
    return view


def _by_format_then_drop(item: tuple[tuple, list[dict]]) -> tuple:
    (net, bits, scheme, _), group = item
    return net, scheme, -bits, np.mean([row["train_agreement"] for row in group])


ORDER = (
    "zeroq", "gdfq-published", "gdfq", "qimera", "rgal-published", "rgal-gdfq", "zeroq-kd", "rgal", "rgal-zeroq",
    "real-1024", "real-1024-rgal", "real-10000",
)  # fmt: skip
BEGIN = "<!-- main table: written by python -m benchmarks.accuracy.run --readme -->"
END = "<!-- main table: end -->"
NAMES = {
    "resnet20": "ResNet-20", "resnet56": "ResNet-56", "mobilenet_v2": "MobileNetV2",
    "efficientnet_lite0": "EfficientNet-Lite0",
}  # fmt: skip
FORMS = ((8, "instant"), (4, "instant"), (4, "auto"))  # bits and method of each column of the README's table


def methods_table(rows: list[dict]) -> str:
    """Returns the profile `5m` as a Markdown table: methods × formats, accuracy and in brackets the agreement."""
    bits = sorted({row["bits"] for row in rows}, reverse=True)
    lines = ["| | " + " | ".join(f"W{b}A{b}" for b in bits) + " |", "|---" * (len(bits) + 1) + "|"]
    for method in (m for m in ORDER if any(row["method"] == m for row in rows)):
        cells = [_agreement_cell([r for r in rows if r["method"] == method and r["bits"] == b]) for b in bits]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _agreement_cell(group: list[dict]) -> str:
    if not group:
        return ""
    accuracy = spread([100 * row["accuracy"]["onnx"] for row in group], 1)
    agreement = spread([100 * row["train_agreement"] for row in group], 1)
    return f"{accuracy} ({agreement} %)"


def main_table(rows: list[dict]) -> str:
    """Returns the README's table for the scheme `deploy`: accuracy of the ONNX file in %, and minutes of one core."""
    lines = ["| | teacher | " + " | ".join(f"W{bits}A{bits} `{method}`" for bits, method in FORMS) + " |"]
    lines.append("|---" * (len(FORMS) + 2) + "|")
    for net, name in NAMES.items():
        own = [row for row in rows if row["net"] == net and row["scheme"] == "deploy" and "cpu_seconds" in row]
        kinds = [_of_longest([r for r in own if (r["bits"], r["method"]) == form and _is_whole(r)]) for form in FORMS]
        cells = [f"{100 * own[0]['accuracy']['teacher']:.1f}", *map(_minutes_cell, kinds)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _is_whole(row: dict) -> bool:
    """Tells whether the row's profile does not limit the time of small networks."""
    return row["profile"] != "auto-60s"


def _of_longest(rows: list[dict]) -> list[dict]:
    """Returns the rows of the profile that gave the most time, where there are several."""
    budgets = {row["profile"]: PROFILES[row["profile"]].core_seconds or 0.0 for row in rows}
    return [row for row in rows if budgets[row["profile"]] == max(budgets.values())]


def _minutes_cell(group: list[dict]) -> str:
    accuracy = spread([100 * row["accuracy"]["onnx"] for row in group], 1)
    minutes = np.mean([row["cpu_seconds"] for row in group]) / 60
    return f"{accuracy} ({minutes:.2g})"


def write_into(text: str, rows: list[dict]) -> str:
    """Returns `text` with the table between its two marks replaced."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{main_table(rows)}\n{END}{rest.split(END)[1]}"
