"""Which architectures a bare state dict may belong to: by names and shapes, without allocating any weight."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dfq.models.registry import OWN, build

# The networks that checkpoints are most often of; RegNets are left out, they do not build on the meta device.
COMMON_TORCHVISION = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0", "shufflenet_v2_x1_0"),
    *(
        "efficientnet_b0",
        "efficientnet_b1",
        "efficientnet_v2_s",
        "convnext_tiny",
        "densenet121",
        "squeezenet1_1",
    ),
    *("alexnet", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn", "googlenet", "inception_v3", "vit_b_16", "swin_t"),
)
WORTH_NAMING = 0.5


def suggest(weights: Mapping[str, Tensor], limit: int = 3) -> list[tuple[str, float]]:
    """The best-fitting architectures and the share of names and shapes that fit (1 = all), best first.

    The shape of the classifier counts like any other, so another number of classes lowers the share a little.
    """
    found = _signature(weights)
    names = [f"dfq/{name}" for name in OWN] + [f"torchvision/{name}" for name in COMMON_TORCHVISION]
    shares = [(name, _overlap(found, _signature_of(name))) for name in names]
    likely = [(name, share) for name, share in shares if share >= WORTH_NAMING]
    return sorted(likely, key=lambda pair: -pair[1])[:limit]


def _signature_of(name: str) -> set[tuple[str, torch.Size]]:
    with torch.device("meta"):
        return _signature(build(name).state_dict())


def _signature(weights: Mapping[str, Tensor]) -> set[tuple[str, torch.Size]]:
    return {(key, value.shape) for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def _overlap(first: set, second: set) -> float:
    return len(first & second) / max(len(first | second), 1)
