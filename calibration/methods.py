"""The table of methods: one row for each, which says where images come from and what the student minimises on them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import inf
from types import MappingProxyType
from typing import Any

from dfq.calibration import recipes, rgal
from dfq.calibration.generators.adadfkd import AdaDFKD, AdaDFKDConfig
from dfq.calibration.generators.dafl import DAFL, DAFLConfig
from dfq.calibration.generators.gdfq import GDFQ, GDFQConfig
from dfq.calibration.generators.qimera import Qimera, QimeraConfig
from dfq.calibration.generators.rdskd import RDSKD, RDSKDConfig
from dfq.calibration.generators.retain import Retain, RetainConfig
from dfq.calibration.inversion import psaq, zeroq
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion.without_statistics import LEAVES
from dfq.calibration.method import Distillation, Method
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import (
    CorrectFromImages,
    CorrectFromMoments,
    RangesFromMoments,
    Reconstruct,
    RoundWeights,
)
from dfq.post_training.steps_before_ranges import (
    EqualizeChannels,
    FillAsExpected,
    FillAsSeen,
    RescaleNorms,
    RotateStreams,
)
from dfq.training.growing_images import GrowingImages, SteadilyGrowingImages
from dfq.training.image_sources import FreshImages, ScheduledImages
from dfq.training.objectives import KnowledgeDistillation, LabelledDistillation
from dfq.training.retain_objective import RetainingDistillation
from dfq.training.self_paced_objective import SelfPacedDistillation

AUTO = "auto"  # The name of no row: `dfq.jobs.quantize.auto_method` chooses one.
DISTILLS_BY_DEFAULT = "rgal"
# As published, images that are new at every step are not augmented.
NOT_AUGMENTED: Mapping[str, Any] = MappingProxyType({"augment": None})
# Mixtures are ours. A paper's 80,000 steps do without them, but a few thousand steps profit (decision record 0024).
ON_MIXTURES = Distillation(objective=KnowledgeDistillation(), training=rgal.TRAINING)
# Clipping to valid pixels costs nothing where the generator never looks at the student (decision record 0024).
ON_VALID_MIXTURES = replace(ON_MIXTURES, training=MappingProxyType({**rgal.TRAINING, "valid_pixels": True}))

RGAL = Method(
    name="rgal",
    paper="Liang & Fu, IJCV 2025, arXiv 2412.11380",
    summary="images between classes are generated against the student while it learns",
    needs_classes="it compares images of equal and of different labels",
    synthesizer=partial(Inversion, rgal.GENERATED),
    objective=rgal.STUDENT_PHASE,
    source=GrowingImages,
    first_share=0.5,
    paired=rgal.PAIRED,
    zoom=0.5,
    training=rgal.TRAINING,
    distillation=Distillation(objective=replace(rgal.STUDENT_FROM_SCRATCH, paired=rgal.PAIRED), training=rgal.TRAINING),
)

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="zeroq",
            paper="Cai et al., CVPR 2020, arXiv 2001.00281",
            summary="as published: 64 images of free pixels, and min–max ranges; nothing is trained",
            synthesizer=partial(Inversion, zeroq.AS_PUBLISHED),
            objective=None,
            images=64,
            ranges="minmax",
        ),
        Method(
            name="zeroq-kd",
            paper="Cai et al., CVPR 2020; Hinton et al. 2015; Esser et al., ICLR 2020 (LSQ)",
            summary="images match BatchNorm statistics; a student with learned steps is distilled",
            synthesizer=partial(Inversion, recipes.IMPROVED),
            objective=KnowledgeDistillation(),
            distillation=ON_MIXTURES,
        ),
        Method(
            name="gdfq",
            paper="Xu et al., ECCV 2020, arXiv 2003.03603",
            summary="a conditional generator learns along with the student, which also gets labels",
            needs_classes="its generator makes images for labels",
            synthesizer=partial(GDFQ, GDFQConfig()),
            objective=LabelledDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="gdfq-published",
            paper="Xu et al., ECCV 2020, arXiv 2003.03603, and its released code",
            summary="as gdfq, with the paper's quantizer: frozen min–max ranges, and SGD at 1e-4",
            needs_classes="its generator makes images for labels",
            synthesizer=partial(GDFQ, GDFQConfig(warm_up=800, max_batch=200)),
            objective=LabelledDistillation(divide_by_classes=True),
            source=FreshImages,
            ranges="minmax",
            training=MappingProxyType(
                {"augment": None, "optimizer": "sgd", "learning_rate": 1e-4, "weight_decay": 1e-4,
                 "clip_norm": inf, "learn_scales": False}
            ),
            training_large=MappingProxyType({"learning_rate": 1e-6}),
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="instant",
            paper="Guo et al., ICLR 2022, arXiv 2202.07471 (SQuant); Nagel et al., ICCV 2019, arXiv 1906.04721",
            summary="BatchNorm, or else images, give ranges and biases; roundings cancel: seconds, no training",
            synthesizer=partial(Inversion, recipes.SKETCHES),
            objective=None,
            images=32,
            preparations=(FillAsExpected(), RescaleNorms(), EqualizeChannels()),
            post_training=(RangesFromMoments(), RoundWeights(), CorrectFromMoments(), CorrectFromImages()),
        ),
        Method(
            name="reconstruct",
            paper="Li et al., ICLR 2021, arXiv 2102.05426 (BRECQ); Wei et al., ICLR 2022 (QDrop)",
            summary="roundings and ranges are learned block by block, then the whole is distilled",
            synthesizer=partial(Inversion, recipes.MANY),
            objective=rgal.DISTILLATION,
            images_large=512,
            synthesis_share_large=0.7,
            steps_large=0,  # Held-out images undid such training each time (decision record 0016).
            zoom=RGAL.zoom,
            preparations=(FillAsSeen(), RotateStreams(), RescaleNorms(), EqualizeChannels()),
            post_training=(
                Reconstruct(
                    FitSettings(iterations=3200),
                    large=FitSettings(iterations=1600, drop=0.25),  # The reason is in decision record 0013.
                    share=0.6,
                ),
            ),
            rate=0.1,
            training=rgal.TRAINING,
        ),
        Method(
            name="psaq",
            paper="Li et al., ECCV 2022, arXiv 2203.02250 (PSAQ-ViT)",
            summary="as published for transformers: images whose patches differ, and min–max ranges",
            needs_attention="its images are made for patches that attention tells apart",
            synthesizer=partial(Inversion, psaq.AS_PUBLISHED),
            objective=None,
            images=32,
            ranges="minmax",
        ),
        Method(
            name="adadfkd",
            paper="Li et al., Neural Networks 2024",
            summary="generator, negatives and samples go from easy to hard while the student learns",
            needs_classes="its samples go from easy to hard by the teacher's confidence in a class",
            synthesizer=partial(AdaDFKD, AdaDFKDConfig()),
            objective=SelfPacedDistillation(),
            source=ScheduledImages,
            training=NOT_AUGMENTED,
            distillation=Distillation(objective=SelfPacedDistillation(), training=rgal.TRAINING),
        ),
        Method(
            name="rdskd",
            paper="Han et al., ICASSP 2021, arXiv 2011.03749",
            summary="a generator without weights to tune learns first, and then the student",
            needs_classes="its generator is to make images that the teacher puts into a class",
            synthesizer=partial(RDSKD, RDSKDConfig()),
            objective=KnowledgeDistillation(temperature=10.0),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=replace(ON_VALID_MIXTURES, objective=KnowledgeDistillation(temperature=10.0)),
        ),
        Method(
            name="retain",
            paper="Patel et al., CVPR 2023, arXiv 2302.14290",
            summary="what is learned from new images must agree with what is remembered of old ones",
            needs_classes="its generator is to make images that the teacher puts into a class",
            synthesizer=partial(Retain, RetainConfig()),
            objective=RetainingDistillation(inner_multiple=33.0),  # Adam's rates are smaller than those of SGD.
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=Distillation(
                # A step as long as the student's own; the published multiple learns less.
                objective=RetainingDistillation(inner_multiple=1.0),
                training=MappingProxyType({"weight_decay": 5e-4, "mix": replace(rgal.MIXTURES, parts=2)}),
            ),
        ),
        Method(
            name="qimera",
            paper="Choi et al., NeurIPS 2021, arXiv 2111.02625",
            summary="a conditional generator also mixes classes, for images that lie between them",
            needs_classes="its generator mixes classes",
            synthesizer=partial(Qimera, QimeraConfig()),
            objective=KnowledgeDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="dafl",
            paper="Chen et al., ICCV 2019, arXiv 1904.01186",
            summary="a generator makes images that the teacher is sure of; no BatchNorm statistics",
            needs_classes="its generator is to make images that the teacher puts into a class",
            synthesizer=partial(DAFL, DAFLConfig()),
            objective=KnowledgeDistillation(),
            source=FreshImages,
            training=NOT_AUGMENTED,
            distillation=ON_VALID_MIXTURES,
        ),
        Method(
            name="cmi-inversion",
            paper="Fang et al., IJCAI 2021, arXiv 2105.08584, without its contrastive term",
            summary="a small generator per batch works against the student: rgal without relations",
            needs_classes="its images are to be answered differently by teacher and student",
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
            summary="as rgal, with images that are optimised directly, as sums of grids",
            synthesizer=partial(Inversion, rgal.OPTIMIZED),
        ),
        Method(
            name="rgal-published",
            paper="Liang & Fu, IJCV 2025, arXiv 2412.11380",
            summary="as published: a generator per batch, against the student from its first step to its last",
            needs_classes="it compares images of equal and of different labels",
            synthesizer=partial(Inversion, rgal.AS_PUBLISHED),
            objective=rgal.STUDENT_FROM_SCRATCH,
            source=SteadilyGrowingImages,
            first_share=0.25,
            paired=1.0,
        ),
        Method(
            name="rgal-gdfq",
            paper="Liang & Fu, IJCV 2025, arXiv 2412.11380, on the generator of gdfq",
            summary="RGAL's losses at their published weights, with one generator for the whole run",
            needs_classes="it compares images of equal and of different labels",
            synthesizer=partial(GDFQ, rgal.WITH_GDFQ),
            objective=rgal.STUDENT_FROM_SCRATCH,
            source=FreshImages,
            training=NOT_AUGMENTED,
        ),
    )
}  # fmt: skip

LEAVES_ROW = replace(
    METHODS["reconstruct"],
    name="leaves",
    paper="Lee, Mumford & Huang, IJCV 2001; Baradad et al., NeurIPS 2021, arXiv 2106.05963 (dead leaves)",
    summary="reconstruct on dead leaves and a few steps, without BatchNorm statistics even where there are some",
    synthesizer=partial(Inversion, LEAVES),
)
METHODS[LEAVES_ROW.name] = LEAVES_ROW
