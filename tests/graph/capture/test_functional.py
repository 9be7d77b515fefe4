"""Programs whose in-place operators can be read as plain ones are told from those that must be made functional."""

import pytest
import torch
from support.capture_cases import SPEC
from support.forward_cases import FORWARDS, Plain
from torch import Tensor, nn
from torch.nn import functional as F

from dfq.graph.capture.capture import capture
from dfq.graph.capture.functional import is_functional


class Deep(nn.Module):
    """What most networks are made of, every activation in place."""

    def __init__(self):
        super().__init__()
        relu, swish, hard = nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.Hardswish(inplace=True)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), relu, nn.Conv2d(8, 8, 1), nn.ReLU6(inplace=True), nn.MaxPool2d(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(8, 8, 1), swish, nn.Conv2d(8, 8, 1), hard, nn.Dropout(0.3, inplace=True))
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.body(images)
        x = F.relu(x + self.tail(x), inplace=True)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class ThroughView(Plain):
    """A view is overwritten, and its base read."""

    def maps(self, images):
        x = self.first(images)
        x.view(x.size(0), -1).relu_()
        return self.second(x)


class HalfOverwritten(Plain):
    """Half of the channels are rectified in place."""

    def maps(self, images):
        x = self.first(images)
        x[:, :4].mul_(2)
        return self.second(x)


class ReadAsView(Plain):
    """A view was taken before, and is read after the update."""

    def maps(self, images):
        x = self.first(images)
        view = x.flatten(2)
        x = F.relu(x, inplace=True)
        return self.second(x) + view.reshape(x.shape)


class OfCopy(Plain):
    """A copy is rectified; the tensor itself is read after that."""

    def maps(self, images):
        x = self.first(images)
        y = x.clone().relu_()
        return self.second(x) + y


class Assigned(Plain):
    """Values are assigned to a part."""

    def maps(self, images):
        x = self.first(images)
        x[:, 0] = 0.5
        return self.second(x)


READ_AGAIN = [ThroughView, HalfOverwritten, ReadAsView, Assigned]


def program_of(model: nn.Module) -> torch.export.ExportedProgram:
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    return torch.export.export(model.eval(), (torch.randn(2, *SPEC.size),), dynamic_shapes=shapes)


@pytest.mark.parametrize("make", [Deep, Plain])
def test_activations_in_place_change_nothing(make):
    assert is_functional(program_of(make()))


@pytest.mark.parametrize("make", [*READ_AGAIN, FORWARDS["writes to its images"].make])
def test_updates_that_somebody_reads(make):
    assert not is_functional(program_of(make()))


@torch.no_grad()
@pytest.mark.parametrize("make", [Deep, *READ_AGAIN, OfCopy])
def test_both_are_captured_rightly(make):
    torch.manual_seed(0)
    model = make().eval()
    images = torch.randn(3, *SPEC.size)
    torch.testing.assert_close(capture(model, SPEC)(images), model(images.clone()), atol=1e-5, rtol=1e-4)
