"""The verdict, in sentences: how much of a network is on integers, why the rest is not, and what would change it.

Terminal, page and report begin with it; it is drawn from the content of `report.json` (`coverage`, `float_file`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

from dfq.errors import DfqError
from dfq.student.coverage import (
    COMPUTED_WEIGHT,
    MATRIX_PER_POSITION,
    MIN_SHARE,
    NO_KERNEL,
    NOT_QUANTIZED,
    NOT_RECOGNISED,
    NOT_WRITTEN,
)
from dfq.student.placement_graph import FEW_PRODUCTS, ONE_POSITION

MAX_FLOAT_ERROR = 1e-3  # of the largest logit; what kernels in another order do is below 1e-4
MAX_NAMES = 8
BY_CHOICE = "--layer-bits NAME=8 puts such a layer on integers, another --target, such as openvino, all of them"
DEPLOY = "--scheme deploy quantizes it"
WAYS_OUT = {
    ONE_POSITION: BY_CHOICE,
    FEW_PRODUCTS: BY_CHOICE,
    NO_KERNEL: "only a layer of another kind would change that",
    COMPUTED_WEIGHT: "only a weight that is stored would change that",
    MATRIX_PER_POSITION: "only one weight for all positions would change that",
    NOT_RECOGNISED: "written as nn.Conv2d or nn.Linear, they would be; please report them",
    NOT_QUANTIZED: DEPLOY,
    NOT_WRITTEN: DEPLOY,
}
SHORT = {
    ONE_POSITION: "pooled in float",
    FEW_PRODUCTS: "few products",
    NO_KERNEL: "no kernel",
    COMPUTED_WEIGHT: "weight computed",
    MATRIX_PER_POSITION: "per position",
    NOT_RECOGNISED: "not recognised",
    NOT_QUANTIZED: "input in float",
    NOT_WRITTEN: "output in float",
}


@dataclass(frozen=True)
class Sentence:
    """One line of the verdict; `is_loud`: it must not be overlooked."""

    text: str
    is_loud: bool = False


def share(fraction: float) -> str:
    """With one decimal, rounded down: what is below a limit must not read as if it met it."""
    return f"{floor(round(1000 * fraction, 6)) / 10:.1f} %"


def small_share(fraction: float) -> str:
    """With one decimal; little is not nothing."""
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else "<0.1 %"


def is_low(coverage: Mapping) -> bool:
    return coverage["share_of_macs"] < MIN_SHARE


def verdict(coverage: Mapping | None, float_file: Mapping | None = None) -> list[Sentence]:
    """The sentences, the most important one first.

    Args:
        coverage: `dfq.student.coverage.Coverage.to_dict()`; None: of a report from before there was one, which has no
            verdict.
        float_file: `dfq.export.validation.float_file.compare_float_file`, where a file was written.
    """
    if coverage is None:
        return []
    low = is_low(coverage)
    doubt = _float_file(float_file)
    said = [Sentence(_headline(coverage), low), *([Sentence(doubt, True)] if doubt else [])]
    if low:
        return said + [Sentence(f"{reason}.", False) for reason in _reasons(coverage)]
    if coverage["not_recognised"]:
        said.append(Sentence(f"Not recognised as layers, in floating point: {_names(coverage)}.", True))
    return said


def check_strict(coverage: Mapping) -> None:
    """Raises `DfqError` where too little is on integers, or a layer was not recognised."""
    if not is_low(coverage) and not coverage["not_recognised"]:
        return
    unknown = f", and layers that were not recognised: {_names(coverage)}" if coverage["not_recognised"] else ""
    reasons = "; ".join(_reasons(coverage))
    raise DfqError(
        f"{share(coverage['share_of_macs'])} of the multiply–accumulates on integers{unknown}",
        f"with --strict, at least {MIN_SHARE:.0%} of them, and every layer recognised".replace("%", " %"),
        f"leave --strict out, or change what is in floating point: {reasons}",
        exit_code=1,
    )


def _headline(coverage: Mapping) -> str:
    macs, weights = share(coverage["share_of_macs"]), share(coverage["share_of_weights"])
    total = sum(layer["macs"] for layer in coverage["layers"])
    products = coverage["attention_macs"] / max(total, 1)
    more = f"; {small_share(products)} more are products of two activations, in floating point" if products else ""
    start = "Only " if is_low(coverage) else ""
    expected = f", where at least {100 * MIN_SHARE:.0f} % of the former are expected" if start else ""
    return f"{start}{macs} of the multiply–accumulates and {weights} of the weights are on integers{expected}{more}."


def _reasons(coverage: Mapping) -> list[str]:
    """Each reason with its share of the multiply–accumulates and, once each, what would change it."""
    said, told = [], set[str]()
    for reason, part in coverage["float_shares"].items():
        names = f" ({_names(coverage)})" if reason == NOT_RECOGNISED else ""
        way_out = WAYS_OUT.get(reason, "")
        ending = "" if not way_out else " – likewise" if way_out in told else f" – {way_out}"
        told.add(way_out)
        said.append(f"{small_share(part)} in floating point: {reason}{names}{ending}")
    return said


def _names(coverage: Mapping) -> str:
    names = coverage["not_recognised"]
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _float_file(found: Mapping | None) -> str | None:
    if found is None:
        return None
    error, images = found["relative_error"], found["images"]
    if error is not None and error <= MAX_FLOAT_ERROR:
        return None
    apart = "are not finite" if error is None else f"differ by up to {100 * error:.2g} % of the largest one"
    return f"The float file does not compute what the network computes: its logits {apart}, on {images} images."
