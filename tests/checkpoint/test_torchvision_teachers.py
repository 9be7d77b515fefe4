"""A segmentation network and a detector of torchvision become teachers, with all of their outputs."""

import pytest
import torch

import dfq
from dfq.models.registry import build


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("lraspp_mobilenet_v3_large", {"out": (3, 64, 64)}),
        ("ssdlite320_mobilenet_v3_large", {"bbox_regression": (144, 4), "cls_logits": (144, 3)}),
    ],
)
def test_teacher(path, name, shapes):
    arch = f"torchvision/{name}"
    torch.save(build(arch, 3).state_dict(), path)
    teacher = dfq.load_teacher(path, arch=arch, input_size=(3, 64, 64))
    assert {output.name: output.shape for output in teacher.outputs} == shapes
    assert not teacher.is_classifier
