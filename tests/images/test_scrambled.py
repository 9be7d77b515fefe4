"""Images that look like nothing: means of four, and tiles in other places."""

import torch

from dfq.images.scrambled import far_images


def made(images: torch.Tensor, count: int) -> torch.Tensor:
    return far_images(images, count, torch.Generator().manual_seed(0))


def test_half_are_means_of_four_images():
    images = torch.eye(16).view(16, 1, 4, 4)  # image i has a one at pixel i
    blends = made(images, 40)[:20].flatten(1)
    torch.testing.assert_close(blends.sum(1), torch.ones(20))
    assert {round(4 * value, 3) for value in blends.unique().tolist()} <= {0, 1, 2, 3, 4}
    assert (blends.count_nonzero(1) > 2).all(), "an image may be drawn twice, not always"


def test_the_others_have_their_tiles_in_other_places():
    image = torch.arange(3 * 10 * 13).float().view(1, 3, 10, 13)
    for moved in made(image, 8)[4:]:
        assert not torch.equal(moved, image[0])
        torch.testing.assert_close(moved.flatten(1).sort(1).values, image[0].flatten(1))
        assert torch.equal(moved[:, 8:], image[0, :, 8:]) and torch.equal(moved[:, :, 12:], image[0, :, :, 12:])
        tiles = moved[0, :8, :12].unfold(0, 2, 2).unfold(1, 3, 3).reshape(16, 6)
        known = image[0, 0, :8, :12].unfold(0, 2, 2).unfold(1, 3, 3).reshape(16, 6)
        assert sorted(map(tuple, tiles.tolist())) == sorted(map(tuple, known.tolist()))


def test_as_many_as_wanted_even_from_one_image():
    assert made(torch.randn(1, 3, 8, 8), 5).shape == (5, 3, 8, 8)
