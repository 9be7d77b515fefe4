"""Pictures without labels, from a folder or an array, and what is wrong with others."""

import numpy as np
import pytest
import torch
from PIL import Image

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.pictures import take_pictures
from dfq.images.settings import LabelledImageSettings

SPEC = InputSpec(size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


def test_a_folder_with_folders(tmp_path):
    (tmp_path / "more").mkdir()
    for place, name in enumerate(("b.png", "a.jpg", "more/c.png")):
        Image.fromarray(np.full((12, 10, 3), 100 * place, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = take_pictures(tmp_path, SPEC)
    assert found.shape == (3, 3, 8, 8)
    pixels = SPEC.to_pixels(found)[:, 0, 0, 0] * 255
    assert torch.allclose(pixels, torch.tensor([100.0, 0.0, 200.0]), atol=2), "sorted by name"


def test_an_array():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    found = take_pictures(pixels, SPEC)
    assert np.array_equal((SPEC.to_pixels(found) * 255).round().permute(0, 2, 3, 1).numpy(), pixels)
    assert take_pictures(None, SPEC) is None


def test_errors(tmp_path):
    for pictures, message in (
        (tmp_path / "missing", "no folder"),
        (tmp_path, "no image in"),
        (np.zeros((2, 8, 8, 3), np.float32), "of type float32"),
        (np.zeros((2, 9, 8, 3), np.uint8), "of shape"),
    ):
        with pytest.raises(DfqError, match=message):
            take_pictures(pictures, SPEC)
    (tmp_path / "a.png").write_bytes(b"\x89PNG damaged")
    with pytest.raises(DfqError, match="not a whole image"):
        take_pictures(tmp_path, SPEC)
    with pytest.raises(DfqError, match="GiB"):
        take_pictures(tmp_path, SPEC, settings=LabelledImageSettings(max_bytes=100))
