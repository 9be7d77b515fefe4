"""A student for the digits teacher; it has another architecture and an eighth of the teacher's parameters."""

from torch import nn


def digits_student(num_classes: int = 10) -> nn.Module:
    """Returns a network of two convolutions that maps (N, 1, 8, 8) to (N, num_classes)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )  # fmt: skip
