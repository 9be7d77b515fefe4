"""The table of methods: where the images come from × what the student minimises on them. One row per method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from dfq.calibration import recipes, rgal
from dfq.calibration.generators.adadfkd import AdaDFKD, AdaDFKDConfig
from dfq.calibration.generators.dafl import DAFL, DAFLConfig
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.generators.qimera import Qimera, QimeraConfig
from dfq.calibration.generators.rdskd import RDSKD, RDSKDConfig
from dfq.calibration.generators.retain import Retain, RetainConfig
from dfq.calibration.inversion import zeroq
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.synthesizer import Synthesizer
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import (
    CorrectFromMoments,
    PostTraining,
    RangesFromMoments,
    Reconstruct,
    RoundWeights,
)
from dfq.post_training.steps_before_ranges import (
    Preparation,
    equalize_channels,
    fill_as_expected,
    fill_as_seen,
    rotate_streams,
)
from dfq.training.image_sources import FixedImages, FreshImages, GrowingImages, ImageSource, ScheduledImages
from dfq.training.objectives import KnowledgeDistillation, LabelledDistillation, Objective
from dfq.training.retain_objective import RetainingDistillation
from dfq.training.self_paced_objective import SelfPacedDistillation

SYNTHESIS_SHARE = 0.4  # of a time budget
AUTO = "auto"  # lets `dfq.jobs.quantize.auto_method` choose a row
DISTILLS_BY_DEFAULT = "rgal"
NOT_AUGMENTED: Mapping[str, Any] = MappingProxyType({"augment": None})  # as published where every image is new


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a row does for `dfq distill`, where the student is another network that starts from nothing.

    Attributes:
        objective: what it minimises. Feature maps are matched where both networks have one shape, else left out.
        training: fields of `dfq.training.trainer.TrainSettings` that the method sets.
    """

    objective: Objective
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


# Mixtures are ours: what no paper's 80,000 steps need helps a student of a few thousand (decision record 0024).
ON_MIXTURES = Distillation(objective=KnowledgeDistillation(), training=rgal.TRAINING)
# For generators that never look at the student: nothing is lost where that sees what pictures can hold alone.
ON_VALID_MIXTURES = replace(ON_MIXTURES, training=MappingProxyType({**rgal.TRAINING, "valid_pixels": True}))


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row.

    Attributes:
        name: what `--method` takes.
        paper: where it was published.
        summary: one line for `dfq methods`.
        synthesizer: called with (teacher, batch_size=, augment=, seed=, budget=, progress=).
        objective: what the student minimises; None: ranges are calibrated on the images and nothing is trained.
        source: how images reach the student: made before, growing along, or fresh at every step.
        first_share: of the images, made before training; the rest while the student learns.
        paired: batches in which every image has a partner of its class.
        images: how many, where it is the method that says so.
        images_large: how many of more than 64 pixels a side, without a time budget; within one, the clock ends it.
        synthesis_share_large: of a time budget, for such images.
        steps_large: training steps on such images, unless a person says; None: as on others.
        ranges: how grids are fitted at the start ("mse", "minmax", "percentile").
        preparations: how student and teacher are rewritten before that (`dfq.post_training.steps_before_ranges`), in
            order.
        zoom: smallest part of an image's side that is enlarged in front of both networks
            (`dfq.images.augment.Augment`).
        post_training: what is done to the calibrated student before it is trained, in order.
        rate: part of the usual learning rate; small where training only polishes what `post_training` found.
        training: fields of `dfq.training.trainer.TrainSettings` that the method sets.
        distillation: what `dfq distill` takes instead of objective and training; None: the objective as it is, and of
            the training only how images are varied.
    """

    name: str
    paper: str
    summary: str
    synthesizer: Callable[..., Synthesizer]
    objective: Objective | None
    source: Callable[..., ImageSource] = FixedImages
    first_share: float = 1.0
    paired: bool = False
    images: int | None = None
    images_large: int = 128
    synthesis_share_large: float = SYNTHESIS_SHARE
    steps_large: int | None = None
    ranges: str = "mse"
    preparations: tuple[Preparation, ...] = ()
    zoom: float = 1.0
    post_training: tuple[PostTraining, ...] = ()
    rate: float = 1.0
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    distillation: Distillation | None = None


RGAL = Method(
    name="rgal",
    paper="Liang & Fu, IJCV 2025, arXiv 2412.11380",
    summary="generated images at the edge between classes, made against the student as it learns",
    synthesizer=partial(Inversion, rgal.GENERATED),
    objective=rgal.STUDENT_PHASE,
    source=GrowingImages,
    first_share=0.5,
    paired=True,
    zoom=rgal.ZOOM,
    training=rgal.TRAINING,
    distillation=Distillation(objective=rgal.STUDENT_FROM_SCRATCH, training=rgal.TRAINING),
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="zeroq",
            paper="Cai et al., CVPR 2020, arXiv 2001.00281",
            summary="as published: 64 images of free pixels from BatchNorm statistics; min–max ranges, no training",
            synthesizer=partial(Inversion, zeroq.AS_PUBLISHED),
            objective=None,
            images=64,
            ranges="minmax",
        ),
        Method(
            name="zeroq-kd",
            paper="Cai et al., CVPR 2020; Hinton et al. 2015; Esser et al., ICLR 2020 (LSQ)",
            summary="better images from BatchNorm statistics; a student with learned steps is distilled on them",
            synthesizer=partial(Inversion, recipes.IMPROVED),
            objective=KnowledgeDistillation(),
            distillation=ON_MIXTURES,
        ),
        Method(
            name="gdfq",
            paper="Xu et al., ECCV 2020, arXiv 2003.03603",
            summary="a conditional generator learns along with the student: cross-entropy and distillation",
            synthesizer=partial(GDFQ, GDFQConfig()),
            objective=LabelledDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="gdfq-published",
            paper="Xu et al., ECCV 2020, arXiv 2003.03603, and its released code",
            summary="the same with its own quantizer: min–max ranges that stay frozen, SGD at 1e-4",
            synthesizer=partial(GDFQ, GDFQConfig()),
            objective=LabelledDistillation(divide_by_classes=True),
            source=FreshImages,
            ranges="minmax",
            training=MappingProxyType(
                {"augment": None, "optimizer": "sgd", "learning_rate": 1e-4, "weight_decay": 1e-4,
                 "learn_scales": False}
            ),
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="instant",
            paper="Guo et al., ICLR 2022, arXiv 2202.07471 (SQuant); Nagel et al., ICCV 2019, arXiv 1906.04721",
            summary="seconds, no training: ranges and biases from BatchNorm's parameters, roundings that cancel",
            synthesizer=partial(Inversion, recipes.SKETCHES),
            objective=None,
            images=32,
            preparations=(fill_as_expected, equalize_channels),
            post_training=(RangesFromMoments(), RoundWeights(), CorrectFromMoments()),
        ),
        Method(
            name="reconstruct",
            paper="Li et al., ICLR 2021, arXiv 2102.05426 (BRECQ); Wei et al., ICLR 2022 (QDrop)",
            summary="roundings and ranges are learned block by block, then the whole is distilled",
            synthesizer=partial(Inversion, recipes.MANY),
            objective=rgal.DISTILLATION,
            images_large=512,
            synthesis_share_large=0.7,
            steps_large=0,  # such training was undone by held-out images each time (decision record 0016)
            zoom=rgal.ZOOM,
            preparations=(fill_as_seen, rotate_streams, equalize_channels),
            post_training=(
                Reconstruct(
                    FitSettings(iterations=3200),
                    large=FitSettings(iterations=1600, drop=0.25),  # decision record 0013
                    share=0.6,
                ),
            ),
            rate=0.1,
            training=rgal.TRAINING,
        ),
        Method(
            name="adadfkd",
            paper="Li et al., Neural Networks 2024",
            summary="generator, negatives and samples go from easy to hard while the student learns",
            synthesizer=partial(AdaDFKD, AdaDFKDConfig()),
            objective=SelfPacedDistillation(),
            source=ScheduledImages,
            training=NOT_AUGMENTED,
            distillation=Distillation(objective=SelfPacedDistillation(), training=rgal.TRAINING),
        ),
        Method(
            name="rdskd",
            paper="Han et al., ICASSP 2021, arXiv 2011.03749",
            summary="a generator learns alone, without weights to tune; the student is distilled on its images",
            synthesizer=partial(RDSKD, RDSKDConfig()),
            objective=KnowledgeDistillation(temperature=10.0),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=replace(ON_VALID_MIXTURES, objective=KnowledgeDistillation(temperature=10.0)),
        ),
        Method(
            name="retain",
            paper="Patel et al., CVPR 2023, arXiv 2302.14290",
            summary="what the student learns from new images must agree with what it remembers of old ones",
            synthesizer=partial(Retain, RetainConfig()),
            objective=RetainingDistillation(inner_rate=1e-3),  # beside Adam at 3e-5
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=Distillation(
                objective=RetainingDistillation(inner_rate=0.1),  # the student's own; 0.9 as published learns less
                training=MappingProxyType({"weight_decay": 5e-4, "mix": replace(rgal.MIXTURES, parts=2)}),
            ),
        ),
        Method(
            name="qimera",
            paper="Choi et al., NeurIPS 2021, arXiv 2111.02625",
            summary="a conditional generator whose class embeddings are also mixed: images between classes",
            synthesizer=partial(Qimera, QimeraConfig()),
            objective=KnowledgeDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="dafl",
            paper="Chen et al., ICCV 2019, arXiv 1904.01186",
            summary="a generator that the teacher takes for a data set; no BatchNorm statistics",
            synthesizer=partial(DAFL, DAFLConfig()),
            objective=KnowledgeDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="cmi-inversion",
            paper="Fang et al., IJCAI 2021, arXiv 2105.08584, without its contrastive term",
            summary="a small generator per batch, against the student as it learns: rgal without its relations",
            synthesizer=partial(Inversion, rgal.BASE),
            objective=KnowledgeDistillation(),
            source=GrowingImages,
            first_share=0.5,
            distillation=ON_MIXTURES,
        ),
        RGAL,
        replace(
            RGAL,
            name="rgal-zeroq",
            paper="Liang & Fu, IJCV 2025, arXiv 2412.11380, on the images of zeroq-kd",
            summary="the same relations on images that are optimised directly, as sums of grids",
            synthesizer=partial(Inversion, rgal.OPTIMIZED),
        ),
        Method(
            name="rgal-gdfq",
            paper="Liang & Fu, IJCV 2025, arXiv 2412.11380, on the generator of gdfq",
            summary="RGAL's losses with their published weights, on one generator that lasts the whole run",
            synthesizer=partial(GDFQ, rgal.AS_PUBLISHED),
            objective=rgal.STUDENT_FROM_SCRATCH,
            source=FreshImages,
            training=NOT_AUGMENTED,
        ),
    )
}  # fmt: skip
