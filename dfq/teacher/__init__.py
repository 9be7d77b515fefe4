"""The trained network, frozen, and what its BatchNorm layers remember."""

from dfq.teacher.teacher import Teacher, evaluating

__all__ = ["Teacher", "evaluating"]
