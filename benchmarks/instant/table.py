"""The table of the variants: one line for each."""

from dataclasses import astuple

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.common.nets import NETS
from benchmarks.instant.variants import KEYS, VARIANTS


def table(rows: list[dict]) -> Table:
    """Returns variants × networks and widths; the best mean comes first, variants that lack a cell come last."""
    columns = sorted({(row["net"], row["bits"]) for row in rows}, key=lambda c: (list(NETS).index(c[0]), -c[1]))
    found = {tuple(row[key] for key in KEYS): row["evidence"]["mixed_agreement"] for row in rows}
    view = Table(title="agreement with the teacher on mixtures of held-out synthetic images, %", box=box.SIMPLE_HEAD)
    view.add_column("variant", no_wrap=True)
    for net, bits in columns:
        view.add_column(f"{net.replace('resnet', 'R').replace('mobilenet_', 'M')} W{bits}", justify="right")
    view.add_column("mean", justify="right")
    lines = []
    for variant in VARIANTS:
        figures = [100 * found.get((*column, *astuple(variant)), np.nan) for column in columns]
        if not np.isnan(figures).all():
            lines.append((variant.name, [*figures, np.mean(figures)]))
    for name, figures in sorted(lines, key=lambda line: -np.nan_to_num(line[1][-1])):
        view.add_row(name, *("" if np.isnan(f) else f"{f:.1f}" for f in figures))
    return view
