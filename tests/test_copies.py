"""Changed copies of the images that blocks are fitted to."""

from dataclasses import replace

import pytest
import torch
from reconstruction_cases import images, pair
from small_nets import Residual, small_teacher

from dfq.augment import Augment
from dfq.calibration import METHODS
from dfq.pipeline import quantize_model
from dfq.reconstruction import FitSettings, copies, reconstruct
from dfq.reconstruction.copies import with_copies
from dfq.settings import Settings

PLAIN = Augment(flip=False, shift=0)
FIT = FitSettings(iterations=20, batch_size=8)


def test_copies_stand_between_fitted_and_held_out_images():
    seen = images(10)
    stored, fitted = with_copies(seen, 7, 2, Augment())
    assert (len(stored), fitted, stored.dtype) == (24, 21, torch.float16)
    torch.testing.assert_close(stored[:7].float(), seen[:7], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(stored[21:].float(), seen[7:], rtol=1e-3, atol=1e-3)


def test_copies_are_of_fitted_images_in_order():
    seen = images(10)
    stored, _ = with_copies(seen, 7, 2, PLAIN)
    for first in (7, 14):
        torch.testing.assert_close(stored[first : first + 7], stored[:7])


@pytest.mark.parametrize("augment", [Augment(), replace(PLAIN, zoom=0.5, zoom_chance=0.0)], ids=["shifted", "zoomed"])
def test_copies_are_changed_and_the_same_for_a_seed(augment):
    seen = images(10)
    stored, fitted = with_copies(seen, 7, 2, augment)
    assert all((copy - original).abs().max() > 0.1 for copy, original in zip(stored[7:14], stored[:7], strict=True))
    assert not torch.equal(stored[7:14], stored[14:fitted])
    assert torch.equal(stored, with_copies(seen, 7, 2, augment)[0])
    assert not torch.equal(stored, with_copies(seen, 7, 2, augment, seed=1)[0])


def test_mirroring_is_left_to_the_person():
    seen = images(10)
    mirrored = seen.flip(3).half()
    for flip in (True, False):
        stored, fitted = with_copies(seen, 8, 4, replace(PLAIN, flip=flip))
        is_mirrored = [torch.equal(copy, mirrored[index % 8]) for index, copy in enumerate(stored[8:fitted])]
        assert any(is_mirrored) == flip


@pytest.mark.parametrize(("most", "expected"), [(40, 3), (25, 1), (5, 0)])
def test_there_are_no_more_than_memory_is_for(monkeypatch, most, expected):
    monkeypatch.setattr(copies, "MOST_IMAGES", most)
    stored, fitted = with_copies(images(10), 8, 3, PLAIN)
    assert (len(stored), fitted) == (10 + 8 * expected, 8 * (1 + expected))


def test_blocks_are_fitted_to_copies_and_judged_without_them():
    errors = []
    for count in (0, 3):
        teacher, student = pair(Residual)
        history = reconstruct(
            student, teacher, images(16), replace(FIT, copies=count), augment=replace(PLAIN, zoom=0.5)
        )
        errors.append((history.blocks[0].before, history.blocks[0].after))
    assert errors[0][0] == pytest.approx(errors[1][0])  # the same held-out images
    assert errors[0][1] != errors[1][1]


@pytest.mark.parametrize("flip", [True, False])
def test_a_person_s_choice_reaches_the_blocks(tmp_path, flip):
    seen = []

    def step(bench):
        seen.append(bench.augment)
        return {}

    row = replace(METHODS["reconstruct"], post_training=(step,))
    quantize_model(small_teacher(), tmp_path / "run", Settings(bits=4, method=row, images=8, steps=0, flip=flip))
    assert (seen[0].flip, seen[0].zoom) == (flip, METHODS["reconstruct"].zoom)
