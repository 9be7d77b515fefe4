"""What the pictures of a page show, in words, for those who do not see them."""

from collections import Counter
from collections.abc import Mapping

from dfq.results.number_format import NOTHING, number
from dfq.results.plots import MAX_IMAGES, NOT_LOSSES


def of_samples(report: Mapping) -> str:
    """Returns what the sheet of synthetic images shows."""
    channels, height, width = report["input_spec"]["size"]
    count, found = min(report["settings"]["images"], MAX_IMAGES), report["diversity"]
    sorted_by = ", sorted by the class that each was made for" if found["label_agreement"] is not None else ""
    colour = {1: "in grey", 3: "in colour"}.get(channels, f"with {channels} channels")
    return f"A grid of {count} synthetic images of {height}×{width} pixels {colour}{sorted_by}."


def of_diversity(found: Mapping) -> str:
    """Returns what the plots of diversity show."""
    same, different = (number(found[f"{which}_class_distance"]) for which in ("same", "different"))
    said = [f"Histogram of the distances of features: mean {same} within a class, {different} between classes."]
    if found["num_classes"]:
        said.append(f"Histogram of the entropy of the teacher's answers: mean {number(found['entropy'])} nats.")
        seen = f"{found['classes_seen']} of {found['num_classes']} classes occur"
        said.append(f"Bars of the teacher's answers by class: {seen}, balance {number(found['class_balance'])}.")
    deviation = found["batch_norm_deviation"]
    if deviation:
        mean, worst = sum(deviation) / len(deviation), max(range(len(deviation)), key=deviation.__getitem__)
        said.append(
            f"Deviation from the BatchNorm statistics of {len(deviation)} layers: mean {number(mean)}, largest "
            f"{number(deviation[worst])} at layer {worst + 1}."
        )
    return " ".join(said)


def of_curve(training: Mapping) -> str:
    """Returns what the plots of the training show."""
    records = training["records"]
    losses = sorted({name for record in records for name in record} - NOT_LOSSES)
    courses = [f"loss {name} goes from {_course(records, name)}" for name in losses]
    held_out = f"The divergence on held-out images goes from {_course(records, 'held_out')} nats."
    left = f"Curves of {training['steps']} steps of training: {'; '.join(courses)}." if courses else ""
    return f"{left} {held_out} The state of step {training['chosen_step']} is marked: it was kept.".strip()


def _course(records: list[Mapping], name: str) -> str:
    values = [record[name] for record in records if name in record]
    return f"{number(values[0])} to {number(values[-1])}" if values else NOTHING


def of_widths(mixed: Mapping | None) -> str:
    """Returns what the plots of mixed precision show."""
    if mixed is None:
        return ""
    counts = sorted(Counter(mixed["widths"].values()).items())
    widths = ", ".join(f"{count} of {bits} bits" for bits, count in counts)
    return (
        "Curve of the sum of sensitivities over the cost of the widths, with the chosen point and those of one width "
        f"for all. Bars of the bits of each layer's weight: {widths}; {mixed['average_bits']:.2f} bits on average."
    )
