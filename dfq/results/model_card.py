"""`README.md` of a run folder: a model card in the form that the Hugging Face Hub shows."""

import json
from collections.abc import Mapping

from dfq.results.number_format import (
    label,
    milliseconds,
    network_name,
    percent,
    points,
    ratio,
    seconds,
    size,
    with_interval,
)
from dfq.results.output_rows import image_count, is_classifier
from dfq.results.run_folder import CARD_MARK, RunFolder
from dfq.system.atomic_files import replacing

HUB = "hf-hub:"


def write_model_card(report: Mapping, run: RunFolder) -> bool:
    """Writes `README.md` of a finished run; returns False where the folder has one that dfq did not write.

    Args:
        report: The content of `report.json`.
        run: The run folder.

    Raises:
        DfqError: The file cannot be written.
    """
    if run.card.exists() and not run.card_is_ours:
        return False
    with replacing(run.card) as temporary:
        temporary.write_text(model_card(report), encoding="utf-8")
    return True


def model_card(report: Mapping) -> str:
    """Returns the text of the card; it names no path of this machine."""
    sections = [
        f"# {_title(report)}",
        CARD_MARK,
        _about(report),
        f"**{report['decision']['sentence']}**" if "decision" in report else "",
        "\n".join(f"- {sentence}" for sentence in report.get("verdict", ())),
        "## Figures",
        _table(report),
        "## Use",
        f"```python\n{_example(report)}\n```",
        "## How it was made",
        _made(report),
        "## What to know",
        "\n".join(f"- {warning}" for warning in report["warnings"]) or "Nothing was assumed.",
    ]
    return "\n\n".join([_front_matter(report), *(part for part in sections if part)]) + "\n"


def _title(report: Mapping) -> str:
    name = network_name(report["arch"])
    return f"{report['student']}, distilled from {name}" if "student" in report else f"{name}, {_scheme(report)}"


def _scheme(report: Mapping) -> str:
    return label(report["settings"]["scheme"])


def _front_matter(report: Mapping) -> str:
    """Returns the block of metadata that the Hub reads; the values are JSON, which is YAML, too."""
    tags = ["onnx", "dfq", "data-free", "distillation" if "student" in report else "quantization"]
    values: dict = {"library_name": "onnx", "tags": tags}
    if is_classifier(report):
        values["pipeline_tag"] = "image-classification"
    if str(report["arch"]).startswith(HUB):
        values["base_model"] = report["arch"].removeprefix(HUB)
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in values.items()), "---"])


def _about(report: Mapping) -> str:
    if "student" in report:
        what = "`model.onnx` is a network in floating point that learned from another one"
    else:
        what = f"`model.onnx` is a network whose weights and activations are quantized ({_scheme(report)})"
    return f"{what}, without any of its training data, by dfq (`pip install dfq-toolkit`)."


def _table(report: Mapping) -> str:
    """Returns what was measured of both files, with the number of images and the 95 % interval."""
    rows = [("", "before", "`model.onnx`")]
    accuracy, sizes, latency = report["accuracy"], report["size_bytes"], report["latency_ms"]
    if accuracy["teacher"] is not None:
        count = image_count(report, "labelled")
        change = points(accuracy["onnx"], accuracy["teacher"])
        rows.append((f"accuracy on {count} labelled images", percent(accuracy["teacher"]),
                     f"{with_interval(accuracy['onnx'], count)}{change}"))  # fmt: skip
    rows.append(("size", size(sizes["float_onnx"]), size(sizes["onnx"]) + ratio(sizes["onnx"], sizes["float_onnx"])))
    speed = milliseconds(latency["onnx"]) + ratio(latency["onnx"], latency["float_onnx"])
    rows.append(("latency of one image", milliseconds(latency["float_onnx"]), speed))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    measured = "Latency was measured on " + (str(report["hardware"]["processor"]) or "an unknown processor")
    no_labels = "" if accuracy["teacher"] is not None else " Nobody measured the accuracy on real images."
    return "\n".join([lines[0], "|---|---|---|", *lines[1:], "", f"{measured}.{no_labels}"])


def _example(report: Mapping) -> str:
    spec = report["input_spec"]
    channels, height, width = spec["size"]
    return f"""import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
pixels = np.zeros((1, {channels}, {height}, {width}), np.float32)  # an image, its values divided by 255
mean = np.array({_numbers(spec["mean"])}, np.float32).reshape(1, -1, 1, 1)
std = np.array({_numbers(spec["std"])}, np.float32).reshape(1, -1, 1, 1)
outputs = session.run(None, {{session.get_inputs()[0].name: (pixels - mean) / std}})"""


def _numbers(values: list[float]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"


def _made(report: Mapping) -> str:
    settings, versions = report["settings"], report["versions"]
    by = f"Method `{settings['method']}`, {settings['images']} synthetic images, seed {report['seed']}"
    packages = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    return (
        f"{by}, in {seconds(report['seconds']['total'])}. The images were made from {report['knowledge']}.\n\n"
        f"`config.json` holds every setting: `dfq quantize --config config.json` takes them again. "
        f"`report.json` holds every figure. Versions: {packages}."
    ).replace("dfq quantize", "dfq distill" if "student" in report else "dfq quantize")
