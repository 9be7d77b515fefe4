"""The frozen trained network, and the statistics that its BatchNorm layers store."""

from dfq.teacher.teacher import Teacher, evaluating

__all__ = ["Teacher", "evaluating"]
