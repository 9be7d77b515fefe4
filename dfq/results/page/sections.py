"""The sections on images, reconstruction and versions."""

from collections.abc import Mapping

from dfq.results.number_format import number, seconds
from dfq.results.page.alternative_texts import of_diversity, of_samples
from dfq.results.page.parts import Section, Table
from dfq.results.page.pictures import picture
from dfq.results.run_folder import RunFolder


def image_sections(report: Mapping, run: RunFolder) -> list[Section]:
    """Returns the sections on the synthetic images."""
    found = report["diversity"]
    samples = picture(run.samples, of_samples(report), is_plot=False)
    return [
        Section("Synthetic images", _images(report), picture=samples),
        Section(
            "How varied they are, in the teacher's eyes",
            _diversity(found),
            picture=picture(run.diversity, of_diversity(found)),
        ),
    ]


def _images(report: Mapping) -> str:
    withheld = report["evidence"].get("withheld")
    reason = f" No accuracy is estimated: {withheld}." if withheld and report["diversity"]["num_classes"] else ""
    return f"They were made from {report['knowledge']}.{reason}"


def _diversity(found: Mapping) -> str:
    distance = number(found["same_class_distance"])
    if not found["num_classes"]:
        return f"The mean distance between two images, as the teacher's features have it, is {distance}."
    return (
        f"The mean distance between images of a class is {distance}, the mean entropy of the teacher's answers is "
        f"{number(found['entropy'])} nats, and the class balance is {number(found['class_balance'])}."
    )


def reconstruction_section(found: Mapping | None) -> list[Section]:
    """Returns the section on block reconstruction; an empty list where there was none."""
    if not found or not found["blocks"]:
        return []
    rows = tuple(
        (block["name"], f"{block['before']:.3g}", f"{block['after']:.3g}", "yes" if block["kept"] else "no",
         str(block["iterations"]), seconds(block["seconds"]))
        for block in found["blocks"]
    )  # fmt: skip
    text = (
        "Squared error of each block's output on held-out synthetic images, divided by the variance of the teacher's."
    )
    return [
        Section("Reconstruction", text, table=Table(("block", "before", "after", "kept", "iterations", "time"), rows))
    ]


def made_with(report: Mapping) -> Section:
    """Returns the section on the machine and the versions."""
    facts = {**report["hardware"], **report["versions"]}
    rows = tuple((name, str(value)) for name, value in facts.items() if value is not None)
    return Section("Made with", table=Table(("what", "which"), rows))
