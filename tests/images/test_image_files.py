"""Image files become pixels of 8 bits, and those that would take too much memory are refused."""

import numpy as np
import pytest
from PIL import Image

from dfq.errors import DfqError
from dfq.images.image_files import read_image
from dfq.images.input_spec import InputSpec
from dfq.images.settings import LabelledImageSettings

SPEC = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bits_are_scaled(tmp_path, suffix):
    pixels = np.full((8, 8), 40_000, np.uint16)
    pixels[0, 0], pixels[0, 1] = 65_535, 100
    file = tmp_path / f"grey{suffix}"
    Image.fromarray(pixels).save(file)
    found = read_image(file, SPEC, LabelledImageSettings())[..., 0]
    assert (found[1], found[0, 0], found[0, 1]) == (pytest.approx(156), 255, 0)


def test_floating_point_is_refused(tmp_path):
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DfqError, match="32 bits"):
        read_image(tmp_path / "x.tif", SPEC, LabelledImageSettings())


def test_large_images_are_refused_before_memory_is_taken(tmp_path):
    small = LabelledImageSettings(max_pixels=1000)
    Image.new("L", (40, 40)).save(tmp_path / "x.png")
    with pytest.raises(DfqError, match="40 × 40 pixels"):
        read_image(tmp_path / "x.png", SPEC, small)
    Image.new("L", (900, 1)).save(tmp_path / "thin.png")
    with pytest.raises(DfqError, match="7200 × 8 pixels"):  # what covers the input
        read_image(tmp_path / "thin.png", SPEC, small)
