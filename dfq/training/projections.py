"""Learned maps between the pooled features of two networks whose widths differ (RGAL; FitNets, Romero et al. 2015)."""

import torch
from torch import Tensor, fx, nn

from dfq.graph.features import Features, features_of
from dfq.teacher import Teacher


class Projections(nn.Module):
    """A linear map for each resolution at which student and teacher have a feature map, but not of the same width.

    It is the published 1×1 convolution: the mean over the pixels and a linear map of the channels may change places.

    Args:
        teacher: Teacher.
        student: Student.
        seed: Seed of the maps' start.
    """

    def __init__(self, teacher: Teacher, student: fx.GraphModule, seed: int):
        super().__init__()
        images = torch.zeros(2, *teacher.input_spec.size, device=teacher.device)
        was_training = student.training
        student.eval()
        with torch.no_grad():
            pairs = features_of(student)(images).stages_at_one_resolution(teacher.features(images))
        student.train(was_training)
        self.maps = nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for own, other in pairs:
                if own.shape[1] != other.shape[1]:
                    self.maps[_resolution(own)] = nn.Linear(own.shape[1], other.shape[1], bias=False)
        self.to(teacher.device)

    def pooled(self, student: Features, teacher: Features) -> list[tuple[Tensor, Tensor]]:
        """Returns the pooled features, (N, C) in float32, of all stages of one resolution in both networks.

        Those of the student are projected to the teacher's width where that is another one.
        """
        pairs = []
        for own, other in student.stages_at_one_resolution(teacher):
            mean, key = own.float().mean((2, 3)), _resolution(own)
            projected = self.maps[key](mean) if key in self.maps else mean
            pairs.append((projected, other.float().mean((2, 3))))
        return pairs


def _resolution(stage: Tensor) -> str:
    return "x".join(map(str, stage.shape[2:]))
