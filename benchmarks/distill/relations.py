"""RGAL's parts one by one in distillation from random weights, which is what its paper is about.

Each arm is `rgal` with terms added to one base: as many images, made at the same moments by a new generator per batch,
batches with the same pairs, and a student that matches logits and pooled features. Weights of relations are ratios of
gradients, as in `benchmarks.ablation`.
"""

from dataclasses import replace
from functools import partial

import torch

from benchmarks.ablation.arms import one
from dfq.calibration import METHODS, Method, recipes, rgal
from dfq.calibration.gradient_weights import AtRatio
from dfq.calibration.inversion.inversion import Inversion
from dfq.calibration.inversion_terms import Disagreement, Term
from dfq.images.batch import Batch
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.image_sources import FixedImages
from dfq.training.relational_losses import DISTANCE_WEIGHTED, UNIFORM, active_share, draw_triplets, mean_distances

UNLIKE = AtRatio(Disagreement(1.0), 0.3)


def arm(terms: tuple[Term, ...] = (), ratio: float | None = None, **fields) -> Method:
    """Returns `rgal` with these terms of synthesis, and triplets at a ratio of gradients, or none."""
    distillation = METHODS["rgal"].distillation
    assert distillation is not None
    student = replace(rgal.STUDENT_FROM_SCRATCH, triplet_weight=0.0, triplet_ratio=ratio, paired=rgal.PAIRED)
    return replace(
        METHODS["rgal"],
        synthesizer=partial(Inversion, replace(recipes.GENERATED, terms=(*recipes.GENERATED.terms, *terms))),
        distillation=replace(distillation, objective=student),
        **fields,
    )


def _sampled_uniformly() -> Method:
    row = arm((UNLIKE, *one(0.3, replace(one(0.3)[0].term, sampling=UNIFORM))), 0.3)
    distillation = row.distillation
    assert distillation is not None
    objective = replace(distillation.objective, sampling=UNIFORM)
    return replace(row, distillation=replace(distillation, objective=objective))


ARMS: dict[str, Method] = {
    "base, all images first": arm(source=FixedImages, first_share=1.0),
    "base": arm(),
    "phase one 0.3": arm(one(0.3)),
    "phase two 0.3": arm((), 0.3),
    "both 0.3": arm(one(0.3), 0.3),
    "disagreement 0.3": arm((UNLIKE,)),
    "disagreement 0.3, both 0.3": arm((UNLIKE, *one(0.3)), 0.3),
    "disagreement 0.3, both 0.1": arm((UNLIKE, *one(0.1)), 0.1),
    "disagreement 0.3, both 0.3, uniform negatives": _sampled_uniformly(),
    "disagreement 0.3, both 0.3, released direction": arm(
        (UNLIKE, *one(0.3, replace(one(0.3)[0].term, swapped=False))), 0.3
    ),
}


@torch.no_grad()
def relations(teacher: Teacher, student: Teacher, images: Batch) -> dict[str, float]:
    """Returns distances and active triplets in the student's features, which phase two is to move."""
    labels = answers(teacher(images.images), teacher.boundary)
    features = student.features(images.images).penultimate
    torch.manual_seed(0)
    triplets = draw_triplets(features, labels, DISTANCE_WEIGHTED)
    same, different = mean_distances(features, labels)
    return {
        "same": same, "different": different, "triplets": len(triplets), "active": active_share(features, triplets)
    }  # fmt: skip
