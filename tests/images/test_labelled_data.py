"""Labelled images may come as a path, as arrays, or as a torch data set."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import Labelled
from dfq.images.labelled_data import take_labelled

SPEC = InputSpec(size=(3, 8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(5)


class Pictures(Dataset):
    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return Image.fromarray(IMAGES[index]), int(LABELS[index])


def as_tensors(kind):
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    return TensorDataset(images if kind == "uint8" else images.float() / 255, torch.from_numpy(LABELS))


@pytest.mark.parametrize(
    "data", [(IMAGES, LABELS), Labelled(IMAGES, LABELS), Pictures(), as_tensors("uint8"), as_tensors("float")]
)
def test_every_form_gives_the_same_images(data):
    found = take_labelled(data, SPEC, 10)
    assert np.array_equal(found.images, IMAGES) and np.array_equal(found.labels, LABELS)


def test_a_path_is_read(tmp_path):
    np.savez(tmp_path / "test.npz", images=IMAGES, labels=LABELS)
    assert np.array_equal(take_labelled(tmp_path / "test.npz", SPEC, 10).images, IMAGES)
    assert take_labelled(None, SPEC, 10) is None


@pytest.mark.parametrize(
    "data, words",
    [
        (3.5, "labelled images as float"),
        ((IMAGES, LABELS[:3]), "5 images and 3 labels"),
        ((IMAGES, LABELS + 8), "labels from 8 to 12"),
        ((IMAGES.astype(np.float32), LABELS), "images of type float32"),
        (TensorDataset(torch.randn(2, 3, 8, 8), torch.zeros(2)), "pixels from"),
        (TensorDataset(torch.zeros(2, 3, 8, 8)), "no .image, label. pairs"),
    ],
)
def test_what_does_not_fit_is_one_error(data, words):
    with pytest.raises(DfqError, match=words):
        take_labelled(data, SPEC, 10)
