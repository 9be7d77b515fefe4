"""Builds networks by name: dfq's own are here, and all others come through `dfq.models.registry`."""

from dfq.models.digits import digits_cnn
from dfq.models.resnet_cifar import (
    resnet18_cifar,
    resnet20,
    resnet32,
    resnet34_cifar,
    resnet44,
    resnet56,
    resnet110,
)
from dfq.models.vgg_cifar import vgg11_cifar
from dfq.models.wide_resnet import wrn16_1, wrn16_2, wrn40_1, wrn40_2

__all__ = [
    "digits_cnn",
    "resnet18_cifar",
    "resnet20",
    "resnet32",
    "resnet34_cifar",
    "resnet44",
    "resnet56",
    "resnet110",
    "vgg11_cifar",
    "wrn16_1",
    "wrn16_2",
    "wrn40_1",
    "wrn40_2",
]
