"""`Method`: one row of the table of methods (`dfq.calibration.methods`)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from dfq.calibration.synthesizer import Synthesizer
from dfq.post_training.steps_after_ranges import PostTraining
from dfq.post_training.steps_before_ranges import Preparation
from dfq.training.image_sources import FixedImages, ImageSource
from dfq.training.objectives import Objective


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """What a row does for `dfq distill`, where the student is another network that starts from nothing.

    Attributes:
        objective: What the student minimises. Feature maps are matched where both networks have maps of one shape, and
            left out elsewhere.
        training: Fields of `dfq.training.settings.TrainSettings` that the method sets.
    """

    objective: Objective
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method: where the images come from, and what the student minimises on them.

    Attributes:
        name: What `--method` takes.
        paper: Where the method was published.
        summary: What the method does, in one line for `dfq methods`.
        synthesizer: What makes the images; it is called with (teacher, stage, batch_size=, augment=).
        objective: What the student minimises; None: ranges are calibrated on the images, and nothing is trained.
        source: How the images reach the student: made before training, in part while it learns, or fresh at every step.
        first_share: Share of the images, in (0, 1], that is made before training; the rest is made while the student
            learns.
        paired: Share of a batch, at its end, in which every image comes with others of its class, in [0, 1]. Mixtures
            stand in front of it.
        needs_classes: Why the method works for classifiers only, after "logits (N, classes): "; empty: it works for any
            outputs.
        needs_attention: Why the method works for transformers only, after "a transformer: "; empty: it works for any
            network.
        images: Number of images, where the method sets it; None: the job sets it.
        images_large: Number of images of more than 64 pixels a side, without a time budget. Within a budget, the clock
            ends their synthesis.
        synthesis_share: Share of a time budget, in [0, 1], that synthesis may take.
        synthesis_share_large: Share of a time budget, in [0, 1], that synthesis of images of more than 64 pixels a side
            may take.
        steps_large: Number of training steps on images of more than 64 pixels a side, unless a person sets it; None: it
            is the same as for smaller images.
        ranges: How grids are fitted at the start: "mse", "minmax" or "percentile".
        preparations: How student and teacher are rewritten before that, in this order
            (`dfq.post_training.steps_before_ranges`).
        zoom: Smallest part of an image's side, in (0, 1], that is enlarged to the whole in front of both networks
            (`dfq.images.augment.Augment`).
        post_training: What is done to the calibrated student before it is trained, in this order
            (`dfq.post_training.steps_after_ranges`).
        rate: Factor of the usual learning rate. It is small where training only polishes what `post_training` found.
        training: Fields of `dfq.training.settings.TrainSettings` that the method sets.
        training_large: Such fields for images of more than 64 pixels a side, where they differ.
        distillation: What `dfq distill` takes instead of `objective` and `training`; None: it takes `objective`, and of
            `training` only how images are varied.
    """

    name: str
    paper: str
    summary: str
    synthesizer: Callable[..., Synthesizer]
    objective: Objective | None
    source: Callable[..., ImageSource] = FixedImages
    first_share: float = 1.0
    paired: float = 0.0
    needs_classes: str = ""
    needs_attention: str = ""
    images: int | None = None
    images_large: int = 128
    synthesis_share: float = 0.4
    synthesis_share_large: float = 0.4
    steps_large: int | None = None
    ranges: str = "mse"
    preparations: tuple[Preparation, ...] = ()
    zoom: float = 1.0
    post_training: tuple[PostTraining, ...] = ()
    rate: float = 1.0
    training: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    training_large: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    distillation: Distillation | None = None
