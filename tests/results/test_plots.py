"""The pictures: whole PNGs of a sensible size, whatever the images are."""

import numpy as np
import pytest
import torch
from PIL import Image

from dfq.errors import DfqError
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.results.plots import MAX_IMAGES, contact_sheet, learning_curve

RECORDS = [
    {"step": 0, "seconds": 0.0, "learning_rate": 0.0, "held_out": 0.5},
    {"step": 50, "seconds": 1.0, "learning_rate": 1e-4, "kd": 0.4, "held_out": 0.1},
    {"step": 100, "seconds": 2.0, "learning_rate": 0.0, "kd": 0.2, "held_out": 0.2},
]


def spec(channels: int, side: int) -> InputSpec:
    return InputSpec(size=(channels, side, side), mean=(0.5,) * channels, std=(0.5,) * channels)


def pixels_of(path) -> np.ndarray:
    with Image.open(path) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("channels, side, count", [(3, 32, 100), (1, 8, 10), (3, 300, 1), (4, 5, 3)])
@pytest.mark.parametrize("has_labels", [True, False])
def test_contact_sheet_is_a_whole_picture(tmp_path, channels, side, count, has_labels):
    images = torch.randn(count, channels, side, side)
    labels = torch.arange(count) % 10 if has_labels else None
    contact_sheet(Batch(images, labels), spec(channels, side), tmp_path / "samples.png")
    height, width, _ = pixels_of(tmp_path / "samples.png").shape
    assert 300 <= width <= 1500 and 300 <= height <= 1500
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]


def test_contact_sheet_shows_the_pixels_themselves(tmp_path):
    images = torch.full((MAX_IMAGES, 3, 8, 8), -1.0)
    images[:, 0] = 1.0  # pure red after to_pixels
    contact_sheet(Batch(images), spec(3, 8), tmp_path / "samples.png")
    is_red = (pixels_of(tmp_path / "samples.png") == (255, 0, 0)).all(2)
    assert is_red.mean() > 0.85


def test_contact_sheet_is_sorted_by_label(tmp_path):
    shades = torch.tensor([1.0, -1.0, 1.0, -1.0])  # white is class 1, black class 0
    batch = Batch(shades.view(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous(), torch.tensor([1, 0, 1, 0]))
    contact_sheet(batch, spec(1, 8), tmp_path / "samples.png")
    found = pixels_of(tmp_path / "samples.png")
    third = found.shape[0] // 3
    assert (found[third, found.shape[1] // 4] == 0).all()
    assert (found[2 * third + 40, found.shape[1] // 4] == 255).all()


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], []], ids=["three", "one", "none"])
def test_learning_curve_of_any_length(tmp_path, records):
    learning_curve(records, tmp_path / "curve.png", chosen_step=50)
    height, width, _ = pixels_of(tmp_path / "curve.png").shape
    assert width > 2 * height


def test_pictures_leave_no_global_figure_behind(tmp_path):
    import matplotlib.pyplot as plt

    learning_curve(RECORDS, tmp_path / "curve.png")
    assert plt.get_fignums() == []


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DfqError, match="cannot write"):
        learning_curve(RECORDS, tmp_path / "file" / "curve.png")
