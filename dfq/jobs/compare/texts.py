"""The texts of a comparison, from the content of `compare.json`: what was measured, and the figures of a cell."""

from dfq.jobs.compare.compared_jobs import ComparisonLabels, find_job

NOTHING = "–"
WORK_COLUMNS = {"images": "images", "steps": "training steps", "block_steps": "block steps", "seconds": "seconds"}
VARIETY_COLUMNS = {
    "same_class_distance": "same-class distance",
    "entropy": "entropy, nats",
    "class_balance": "class balance",
}
MEASURES = {
    "accuracy": "top-1 accuracy of the ONNX file on labelled images, in %",
    "common_agreement": "top-1 agreement with the teacher on held-out synthetic images, in %",
    "agreement": "top-1 agreement with the teacher on each cell's own held-out synthetic images, in %",
    "common_snr_db": "signal-to-noise ratio to the teacher on held-out synthetic images, in dB",
    "snr_db": "signal-to-noise ratio to the teacher on each cell's own held-out synthetic images, in dB",
}
DEPLOY_HINT = (
    "The scheme deploy quantizes all that an integer runtime needs, which is more than papers quantize: to compare "
    "with their figures, use --scheme paper-qat or paper-ptq."
)
SHARES = ("accuracy", "common_agreement", "agreement")  # These are shown in percent.
CAVEATS = {
    "accuracy": "",
    "common_agreement": "The {images} synthetic images are the same for every cell: equal shares of the methods that "
    "make enough; none of them was used for training. They bound nothing on real images; --data measures accuracy.",
    "common_snr_db": "The {images} synthetic images are the same for every cell: equal shares of the methods that make "
    "enough; none of them was used for training.",
    "snr_db": "NOT comparable between methods: each has its own images. The images that all share are measured when "
    "every cell has run.",
    "agreement": "NOT comparable between methods: each has its own images. The images that all share are measured when "
    "every cell has run; --data measures accuracy.",
}


def labels_of(content: dict) -> ComparisonLabels:
    """Returns the words for the job's variants."""
    return find_job(content["conditions"]["job"]).labels


def caveat(content: dict) -> str:
    """Returns a warning on what the figures do not say; empty for accuracies."""
    return CAVEATS[content["measure"]].format(images=content["common_images"])


def hint(content: dict) -> str:
    """Returns a sentence on why figures are not those of papers; empty where the scheme is that of papers."""
    is_deployed = content["conditions"]["settings"].get("scheme") == "deploy"
    return DEPLOY_HINT if is_deployed else ""


def explained(content: dict) -> str:
    """Returns a sentence on how to read a cell of the table."""
    seeds = len(content["seeds"])
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    below = "; in brackets the difference from the teacher in points" if content["measure"] == "accuracy" else ""
    predicted = any(row["predicted_drop"]["mean"] is not None for row in content["summary"])
    of_what = "that difference" if _reference(content) is not None else "the change of accuracy, in % of the teacher's,"
    told = f"; predicted: {of_what} as estimated from synthetic images alone" if predicted else ""
    return f"{spread}{below}{told}; seconds are means."


def teacher_value(content: dict) -> str:
    """Returns the teacher's accuracy in percent, or an en dash where it was not measured."""
    accuracy = content["teacher"]["accuracy"]
    return NOTHING if accuracy is None else f"{100 * accuracy:.2f}"


def value(row: dict, measure: str) -> str:
    """Returns the figure of a summary row, such as "91.02 ± 1.08"; "failed" or an en dash where there is none."""
    mean, deviation = row[measure]["mean"], row[measure]["std"]
    if mean is None:
        return "failed" if row["failed"] else NOTHING
    factor = 100 if measure in SHARES else 1
    return f"{factor * mean:.2f}" + (f" ± {factor * deviation:.2f}" if deviation is not None else "")


def difference(row: dict, content: dict) -> str:
    """Returns the difference from the teacher in points, such as "(-0.52)"; empty without accuracies of both."""
    mean, reference = row["accuracy"]["mean"], _reference(content)
    return "" if mean is None or reference is None else f"({100 * (mean - reference):+.2f})"


def prediction(row: dict, content: dict) -> str:
    """Returns the predicted difference from the teacher; empty where nothing is predicted.

    It is in points ("predicted -0.40"), or in percent of the teacher's accuracy where that is unknown
    ("predicted -0.40 %").
    """
    mean, reference = row["predicted_drop"]["mean"], _reference(content)
    if mean is None:
        return ""
    return f"predicted {-100 * mean:+.2f} %" if reference is None else f"predicted {-100 * mean * reference:+.2f}"


def _reference(content: dict) -> float | None:
    """Returns the teacher's accuracy where accuracies are compared, else None."""
    return content["teacher"]["accuracy"] if content["measure"] == "accuracy" else None


def seconds(row: dict) -> str:
    """Returns the mean time of a summary row, such as "9.3 s"; empty where there is none."""
    mean = row["seconds"]["mean"]
    if mean is None:
        return ""
    return f"{mean:.1f} s" if mean < 10 else f"{mean:.0f} s"


def missing(row: dict) -> str:
    """Returns what is missing, such as "1 failed" or "2 to run"; empty where nothing or everything is missing."""
    parts = [f"{row['failed']} failed"] * (row["failed"] > 0) + [f"{row['waiting']} to run"] * (row["waiting"] > 0)
    return ", ".join(parts) if row["finished"] else ""


def work_title(content: dict) -> str:
    """Returns the title of the table of what the runs did."""
    return f"What each run did{', as means over the seeds' if len(content['seeds']) > 1 else ''}"


def work_table(content: dict) -> list[tuple[str, ...]]:
    """Returns the head and the rows of that table: for each method and column the means of `WORK_COLUMNS`.

    A column that no run has a figure for, such as the block steps of methods that fit no blocks, is left out.
    """
    summary = content["summary"]
    shown = [name for name in WORK_COLUMNS if any(row[name]["mean"] for row in summary)]
    head = ("method", labels_of(content).column, *(WORK_COLUMNS[name] for name in shown))
    return [head, *((row["method"], row["column"], *(_count(row[name]["mean"]) for name in shown)) for row in summary)]


def _count(mean: float | None) -> str:
    """Returns a text such as "1,024", "9.3" or "87"; an en dash for what was not measured."""
    if mean is None:
        return NOTHING
    return f"{mean:.1f}" if mean < 10 and mean != round(mean) else f"{mean:,.0f}"


def variety_title(content: dict) -> str:
    """Returns the title of the table of diversities."""
    return f"How varied the synthetic images are in the teacher's eyes, at {content['axis'][0]}"


def variety_rows(content: dict) -> list[tuple[str, ...]]:
    """Returns for each method its name and its figures in the order of `VARIETY_COLUMNS`.

    They are those of the first column of the axis.
    """
    rows = [summary_row(content, method, content["axis"][0]) for method in content["methods"]]
    return [(row["method"], *(_spread(**row[name]) for name in VARIETY_COLUMNS)) for row in rows]


def _spread(mean: float | None, std: float | None) -> str:
    """Returns a text such as "0.61 ± 0.02" or "4.2e-05"."""
    if mean is None:
        return NOTHING
    return _number(mean) + (f" ± {_number(std)}" if std is not None else "")


def _number(figure: float) -> str:
    return f"{figure:.2f}" if figure >= 0.1 else f"{figure:.2g}"


def summary_row(content: dict, method: str, column: str) -> dict:
    """Returns the summary row of a method and a column."""
    return next(row for row in content["summary"] if (row["method"], row["column"]) == (method, column))


def capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def choices(content: dict) -> list[str]:
    """Returns what `auto` chose, such as "W4A4: auto chose reconstruct: …", each sentence once."""
    return list(dict.fromkeys(f"{row['column']}: {row['choice']}" for row in content["cells"] if row["choice"]))


def failed_cells(content: dict) -> list[dict]:
    """Returns the rows of the cells that ended in an error."""
    return [row for row in content["cells"] if row["state"] == "failed"]


def title_of(row: dict) -> str:
    """Returns the title of a cell's row, such as "zeroq W4A4 seed 0"."""
    return f"{row['method']} {row['column']} seed {row['seed']}"
