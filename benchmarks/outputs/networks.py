"""Networks of every kind of output: with random weights, and trained ones without their classifier.

Random networks whose BatchNorm layers have a bias of 0 amplify any small difference, so that 8 bits leave no more than
18 dB even where ranges come from the data (decision record 0030). Trained networks do not. Therefore the BatchNorm
layers of the random ones have a bias of 1 here, and the last one of a residual branch a factor of 0.2.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.graph.features import FeatureExtractor
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.models.registry import build
from dfq.teacher import Teacher

SIDE = 128  # of the images, in pixels
SPEC = InputSpec(size=(3, SIDE, SIDE), mean=IMAGENET_MEAN, std=IMAGENET_STD)
BATCHES = 8  # The BatchNorm statistics are taken from this number of batches.
BATCH = 8  # Each of these batches has this number of images.
BIAS = 1.0  # bias of each BatchNorm layer
BRANCH = 0.2  # factor of the last BatchNorm layer of a residual branch
RESIDUAL_BLOCKS = ("BasicBlock", "Bottleneck", "InvertedResidual")
TRAINED = ("resnet20", "mobilenet_v1_0.25", "mobilenet_v2")  # names of `benchmarks.common.nets.NETS`


class TwoHeads(nn.Module):
    """Classes and the four numbers of a box, from one ResNet-18."""

    def __init__(self):
        super().__init__()
        self.body = torchvision.models.resnet18(num_classes=64)
        self.classes, self.box = nn.Linear(64, 20), nn.Linear(64, 4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images).relu()
        return self.classes(features), self.box(features).sigmoid()


class Embedding(nn.Module):
    """An embedding of length 1, as face recognition has them."""

    def __init__(self):
        super().__init__()
        self.body = torchvision.models.mobilenet_v2(num_classes=128)

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.body(images))


class SuperResolution(nn.Module):
    """ESPCN (Shi et al., CVPR 2016): three convolutions and a pixel shuffle; there is no BatchNorm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            OrderedDict(
                first=nn.Conv2d(3, 64, 5, padding=2),
                relu1=nn.ReLU(),
                second=nn.Conv2d(64, 32, 3, padding=1),
                relu2=nn.ReLU(),
                last=nn.Conv2d(32, 12, 3, padding=1),
                shuffle=nn.PixelShuffle(2),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Double(nn.Sequential):
    """Two convolutions with BatchNorm, as in a U-Net."""

    def __init__(self, read: int, written: int):
        super().__init__(
            *(nn.Conv2d(read, written, 3, padding=1, bias=False), nn.BatchNorm2d(written), nn.ReLU()),
            *(nn.Conv2d(written, written, 3, padding=1, bias=False), nn.BatchNorm2d(written), nn.ReLU()),
        )


class UNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) of three levels for five classes."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([Double(3, 16), Double(16, 32), Double(32, 64)])
        self.up = nn.ModuleList([Double(96, 32), Double(48, 16)])
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        first = self.down[0](images)
        second = self.down[1](F.max_pool2d(first, 2))
        third = self.down[2](F.max_pool2d(second, 2))
        second = self.up[0](torch.cat([F.interpolate(third, scale_factor=2.0), second], 1))
        return self.head(self.up[1](torch.cat([F.interpolate(second, scale_factor=2.0), first], 1)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision/lraspp_mobilenet_v3_large": lambda: build("torchvision/lraspp_mobilenet_v3_large"),
    "torchvision/deeplabv3_resnet50": lambda: build('torchvision/deeplabv3_resnet50:{"aux_loss": true}'),
    "torchvision/retinanet_resnet50_fpn": lambda: build("torchvision/retinanet_resnet50_fpn"),
    "torchvision/fasterrcnn_mobilenet_v3_large_fpn": lambda: build("torchvision/fasterrcnn_mobilenet_v3_large_fpn"),
    "two heads": TwoHeads,
    "embedding": Embedding,
    "one logit": lambda: torchvision.models.mobilenet_v3_small(num_classes=1),
    "super-resolution": SuperResolution,
    "U-Net": UNet,
}


@torch.no_grad()
def made(name: str, seed: int = 0) -> nn.Module:
    """Returns the network of that name in evaluation mode, with random weights, and statistics of smooth images."""
    torch.manual_seed(seed)
    network = NETWORKS[name]().train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics are plain means over the batches
            module.reset_running_stats()
            nn.init.constant_(module.bias, BIAS)
    for module in network.modules():
        if type(module).__name__ in RESIDUAL_BLOCKS and getattr(module, "use_res_connect", True):
            norms = [layer for layer in module.children() if isinstance(layer, nn.BatchNorm2d)]
            norms = norms or [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
            nn.init.constant_(norms[-1].weight, BRANCH)
    for _ in range(BATCHES):
        network(smooth_images(BATCH))
    return network.eval()


def smooth_images(count: int) -> Tensor:
    """Returns normalised random images (count, 3, SIDE, SIDE) with structure of several sizes."""
    return SPEC.normalize(smooth_pixels(count))


def smooth_pixels(count: int) -> Tensor:
    """Returns such images as pixels in [0, 1]."""
    grids = [F.interpolate(torch.rand(count, 3, side, side), (SIDE, SIDE), mode="bilinear") for side in (4, 16, 64)]
    return torch.stack(grids).mean(0)


class StageFeatures(nn.Module):
    """The last feature map of each resolution of a classifier, and what its last layer reads."""

    def __init__(self, teacher: Teacher):
        super().__init__()
        self.network, self.extract = teacher.traced, FeatureExtractor(teacher.traced)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = self.extract(images)
        maps = {f"stage{index}": stage for index, stage in enumerate(found.stages)}
        return {**maps, "penultimate": found.penultimate}
