"""Whether a term moved what it was to move: without that, an arm that changes nothing says nothing."""

import torch
from torch import fx

from dfq.graph.features import features_of
from dfq.images.batch import Batch
from dfq.teacher import Teacher
from dfq.teacher.answers import answers
from dfq.training.gradient_ratios import gradient_length
from dfq.training.output_losses import output_divergence
from dfq.training.relational_losses import DISTANCE_WEIGHTED, active_share, draw_triplets, mean_distances, triplet_loss


def student_relations(teacher: Teacher, student: fx.GraphModule, batch: Batch) -> dict[str, float]:
    """Returns what phase two is to move, on one batch of clean images in pairs.

    Distances are those of penultimate features; `active` is the share of the triplets whose loss is above 0 in the
    student, and `active_in_teacher` the same in the teacher, which the student is to copy. `pull` is the length of the
    triplets' gradient at the features, in multiples of that of the distillation.
    """
    student.eval()
    with torch.no_grad():
        target = teacher.features(batch.images)
    features = features_of(student)(batch.images)
    labels = answers(target.logits, teacher.boundary)
    torch.manual_seed(0)
    triplets = draw_triplets(features.penultimate, labels, DISTANCE_WEIGHTED)
    same, different = mean_distances(features.penultimate.detach(), labels)
    loss = triplet_loss(features.penultimate, triplets)
    distillation = output_divergence(teacher, features.outputs, target.outputs, 4.0)
    assert features.carrier is not None
    reference = gradient_length(distillation, features.carrier)
    return {
        "same": same, "different": different, "triplets": len(triplets),
        "active": active_share(features.penultimate, triplets),
        "active_in_teacher": active_share(target.penultimate, triplets),
        "pull": gradient_length(loss, features.carrier) / reference if reference else float("nan"),
    }  # fmt: skip


@torch.no_grad()
def image_relations(teacher: Teacher, images: Batch) -> dict[str, float]:
    """Returns what phase one is to move, in the teacher's features, which are the same for every arm."""
    features = teacher.features(images.images)
    labels = answers(features.logits, teacher.boundary)
    same, different = mean_distances(features.penultimate, labels)
    entropy = torch.distributions.Categorical(logits=features.logits.float()).entropy().mean()
    return {"same": same, "different": different, "entropy": float(entropy)}
