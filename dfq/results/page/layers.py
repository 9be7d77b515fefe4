"""The section on layers: how far each is off, its bits, and its share of the work."""

from collections.abc import Mapping

from dfq.evaluation.settings import LayerErrorSettings
from dfq.results.number_format import decibels
from dfq.results.page.layer_plot import layer_plot
from dfq.results.page.parts import Section, Table
from dfq.results.verdict import small_share

HEAD = ("layer", "type", "weight", "bits of weight", "bits of input", "signal-to-noise ratio", "share of MACs")


def layer_rows(report: Mapping) -> list[dict]:
    """Returns one row for each layer with weights, in the order of the graph.

    A row has the layer's name, type, reason (why it is in floating point), share (of the multiply–accumulates, in
    [0, 1]), shape, weight_bits, input_bits and snr_db; the last four are None where dfq does not know the layer.
    """
    known = {row["name"]: row for row in report["layers"]}
    total = max(sum(layer["macs"] for layer in report["coverage"]["layers"]), 1)
    return [
        {
            "name": layer["name"],
            "type": layer["type"],
            "reason": layer["reason"],
            "share": layer["macs"] / total,
            **{key: known.get(layer["name"], {}).get(key) for key in ("shape", "weight_bits", "input_bits", "snr_db")},
        }
        for layer in report["coverage"]["layers"]
    ]


def layer_section(report: Mapping) -> list[Section]:
    """Returns the section on layers; an empty list for a report that is older than the figures in it."""
    if not report.get("coverage"):
        return []
    rows = layer_rows(report)
    table = tuple(
        (row["name"], row["type"], "×".join(map(str, row["shape"] or ())) or "–", str(row["weight_bits"] or "–"),
         str(row["input_bits"] or "float"), decibels(row["snr_db"]), small_share(row["share"]))
        for row in rows
    )  # fmt: skip
    images = min(report["images"], LayerErrorSettings().images)
    text = (
        f"Signal-to-noise ratio of each layer's output to the network's, in dB, on {images} held-out synthetic images: "
        "20 dB more are a tenth of the error, and errors of the layers in front count, too. Time was not measured by "
        "layer; the share of the multiply–accumulates (MACs) stands for it. A hollow bar is a weight in floating "
        "point. Pointing at a layer shows its name and its figures."
    )
    return [Section("Layer by layer", text, plot=layer_plot(rows), folded=Table(HEAD, table))]
