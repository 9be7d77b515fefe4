"""Labelled images: what is accepted, and that every fault says found, needed and way out."""

import numpy as np
import pytest
from PIL import Image

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled

COLOUR = InputSpec(size=(3, 8, 6), mean=(0.5,) * 3, std=(0.5,) * 3)
GREY = InputSpec(size=(1, 8, 6), mean=(0.5,), std=(0.5,))
CLASSES = 3


def colour_images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 6, 3), dtype=np.uint8)


def write_npz(folder, **arrays):
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return path


def class_folder(folder, names=("ant", "bee", "cat"), size=(6, 8)):
    for shade, name in enumerate(names):
        (folder / name).mkdir()
        Image.new("RGB", size, (shade * 40,) * 3).save(folder / name / "one.png")
    return folder


def test_npz_gives_the_arrays_back(tmp_path):
    images, labels = colour_images(), np.array([0, 1, 2, 1, 0], np.int32)
    found = read_labelled(write_npz(tmp_path, images=images, labels=labels), COLOUR, CLASSES)
    assert np.array_equal(found.images, images) and found.images.dtype == np.uint8
    assert found.labels.tolist() == labels.tolist() and found.labels.dtype == np.int64
    assert len(found) == 5


@pytest.mark.parametrize("shape", [(4, 8, 6), (4, 8, 6, 1)])
def test_grey_images_may_leave_the_channel_out(tmp_path, shape):
    path = write_npz(tmp_path, images=np.zeros(shape, np.uint8), labels=np.zeros(4, np.int64))
    assert read_labelled(path, GREY, CLASSES).images.shape == (4, 8, 6, 1)


def test_folder_numbers_classes_by_sorted_names(tmp_path):
    found = read_labelled(class_folder(tmp_path), COLOUR, CLASSES)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.images[:, 0, 0, 0].tolist() == [0, 40, 80]


def test_folder_images_are_cropped_at_the_centre_to_the_input_size(tmp_path):
    folder = class_folder(tmp_path)
    wide = np.zeros((80, 200, 3), np.uint8)
    wide[:, 70:130] = 255  # exactly the part that an 80 × 60 crop keeps
    Image.fromarray(wide).save(folder / "cat" / "wide.jpg", quality=95)
    image = read_labelled(folder, COLOUR, CLASSES).images[-1]
    assert image.shape == (8, 6, 3)
    assert image[:, 2:4].min() > 240


def test_folder_of_grey_images_for_a_grey_network(tmp_path):
    assert read_labelled(class_folder(tmp_path), GREY, CLASSES).images.shape == (3, 8, 6, 1)


def test_an_empty_sub_folder_stands_for_a_class_without_images(tmp_path):
    folder = class_folder(tmp_path)
    (folder / "bee" / "one.png").unlink()
    assert read_labelled(folder, COLOUR, CLASSES).labels.tolist() == [0, 2]


LABELS = np.zeros(5, np.int64)
BAD_ARRAYS = {
    "wrong keys": ({"x": LABELS, "y": LABELS}, "arrays x, y"),
    "float pixels": ({"images": colour_images() / 255, "labels": LABELS}, "float64"),
    "channels first": ({"images": colour_images().transpose(0, 3, 1, 2), "labels": LABELS}, "(5, 3, 8, 6)"),
    "other size": ({"images": np.zeros((5, 9, 9, 3), np.uint8), "labels": LABELS}, "(5, 9, 9, 3)"),
    "no image": ({"images": colour_images(0), "labels": LABELS[:0]}, "no image"),
    "count mismatch": ({"images": colour_images(), "labels": LABELS[:4]}, "5 images and 4 labels"),
    "float labels": ({"images": colour_images(), "labels": LABELS / 2}, "float64"),
    "one-hot labels": ({"images": colour_images(), "labels": np.zeros((5, 3), np.int64)}, "(5, 3)"),
    "label too large": ({"images": colour_images(), "labels": LABELS + 3}, "labels from 3 to 3"),
    "negative label": ({"images": colour_images(), "labels": LABELS - 1}, "labels from -1"),
    "pickled": ({"images": np.array([None, {}]), "labels": LABELS}, "pickled Python objects"),
}


@pytest.mark.parametrize("arrays, found", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_npz(tmp_path, arrays, found):
    with pytest.raises(DfqError) as raised:
        read_labelled(write_npz(tmp_path, **arrays), COLOUR, CLASSES)
    check_message(raised.value, found)


def test_channels_first_gets_the_transpose_as_way_out(tmp_path):
    path = write_npz(tmp_path, images=colour_images().transpose(0, 3, 1, 2), labels=LABELS)
    with pytest.raises(DfqError, match=r"transpose\(0, 2, 3, 1\)"):
        read_labelled(path, COLOUR, CLASSES)


@pytest.mark.parametrize("content, found", [(b"", "0 bytes"), (b"no archive", "not a whole .npz"), (None, "no file")])
def test_bad_files(tmp_path, content, found):
    path = tmp_path / "data.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DfqError) as raised:
        read_labelled(path, COLOUR, CLASSES)
    check_message(raised.value, found)


def test_truncated_npz(tmp_path):
    path = write_npz(tmp_path, images=colour_images(), labels=LABELS)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(DfqError) as raised:
        read_labelled(path, COLOUR, CLASSES)
    check_message(raised.value, "not a whole .npz")


def test_bare_npy_array(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, colour_images())
    with pytest.raises(DfqError) as raised:
        read_labelled(path, COLOUR, CLASSES)
    check_message(raised.value, "not a whole .npz")


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d")])
def test_sub_folders_must_be_the_classes(tmp_path, names):
    with pytest.raises(DfqError) as raised:
        read_labelled(class_folder(tmp_path, names), COLOUR, CLASSES)
    check_message(raised.value, f"{len(names)} sub-folders")


def test_a_damaged_image_is_named(tmp_path):
    folder = class_folder(tmp_path)
    (folder / "bee" / "two.png").write_bytes(b"\x89PNG no image")
    with pytest.raises(DfqError) as raised:
        read_labelled(folder, COLOUR, CLASSES)
    check_message(raised.value, "two.png")


def check_message(error: DfqError, found: str) -> None:
    assert found in error.found
    assert error.needed and error.way_out
    assert error.exit_code == 2
