"""The table of methods: where the images come from × what the student minimises on them. One row per method."""

from collections.abc import Callable
from dataclasses import dataclass

from dfq.calibration.synthesizer import Synthesizer
from dfq.calibration.zeroq import ZeroQ
from dfq.objectives import KnowledgeDistillation, Objective

DEFAULT_METHOD = "zeroq-kd"


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: what `--method` takes.
        synthesizer: called with (teacher, settings or None, seed=, budget=, progress=).
        objective: what the student minimises; None: ranges are calibrated on the images and nothing is trained.
        paper: where it was published.
        summary: one line for `dfq methods`.
    """

    name: str
    synthesizer: Callable[..., Synthesizer]
    objective: Objective | None
    paper: str
    summary: str


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "zeroq",
            ZeroQ,
            None,
            "Cai et al., CVPR 2020, arXiv 2001.00281",
            "images distilled from BatchNorm statistics; ranges are calibrated on them, nothing is trained",
        ),
        Method(
            "zeroq-kd",
            ZeroQ,
            KnowledgeDistillation(),
            "Cai et al., CVPR 2020; Hinton et al. 2015; Esser et al., ICLR 2020 (LSQ)",
            "the same images, and a student with learned steps distilled from the teacher on them (default)",
        ),
    )
}
