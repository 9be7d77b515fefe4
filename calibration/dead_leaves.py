"""Dead leaves: images of shapes that cover each other, drawn by a recipe, without any network, data or licence.

Their edges, flat regions and power spectrum are close to those of photographs (Lee, Mumford and Huang, IJCV 2001), and
networks learn useful features from them (Baradad et al., NeurIPS 2021, arXiv 2106.05963). Deviations from the latter:
shapes of one image have colours around a common mean, which differ more in luminance than in chroma; the largest shapes
are half as large as the image; and a slight blur stands for the optics of a camera.
"""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from dfq.calibration.settings import DeadLeavesSettings

BOX = ("left", "top", "right", "bottom")  # what a circle is given by
ELLIPSE_CORNERS = 24
LUMINANCE = np.array([1.0, 1.0, 1.0]) / math.sqrt(3)


def dead_leaves(
    count: int,
    size: tuple[int, int, int],
    generator: torch.Generator,
    *,
    settings: DeadLeavesSettings = DeadLeavesSettings(),
) -> Tensor:
    """Returns pixels in [0, 1], float32 (count, C, H, W).

    Images of three channels have colours; those of any other number of channels are grey and the same in each channel.

    Args:
        count: Number of images.
        size: Channels, height and width of an image.
        generator: Source of the random numbers.
        settings: The recipe.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    random = np.random.default_rng(seed)
    images = [_image(size[1:], random, settings) for _ in range(count)]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels if size[0] == 3 else pixels.mean(1, keepdim=True).expand(-1, size[0], -1, -1).contiguous()


def _image(size: tuple[int, int], random: np.random.Generator, settings: DeadLeavesSettings) -> np.ndarray:
    """Returns one image, uint8 (H, W, 3), painted from the back to the front."""
    height, width = size
    mean = random.uniform(*settings.mean) + settings.tint * random.standard_normal(3)
    chroma = random.uniform(*settings.chroma)
    radii = _radii(size, random, settings)
    background, *colours = _colours(len(radii) + 1, mean, chroma, random, settings)
    image = Image.new("RGB", (width, height), background)
    draw = ImageDraw.Draw(image)
    centres = random.uniform(0, 1, (len(radii), 2)) * (width, height)
    for outline, colour in zip(_outlines(centres, radii, random), colours, strict=True):
        if len(outline) == len(BOX):
            draw.ellipse(outline, fill=colour)
        else:
            draw.polygon(outline, fill=colour)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(random.uniform(*settings.blur))))


def _radii(size: tuple[int, int], random: np.random.Generator, settings: DeadLeavesSettings) -> np.ndarray:
    """Returns the radii of the shapes in pixels, whose density falls with the third power; the largest few come last.

    There are as many shapes as cover the image several times.
    """
    side = min(size)
    least, most = max(settings.least * side, settings.least_pixels), max(settings.most * side, 2.0)
    mean_area = 2 * math.pi * math.log(most / least) / (least**-2 - most**-2)  # of circles of that density
    count = math.ceil(settings.coverage * size[0] * size[1] / mean_area)
    radii = (least**-2 - random.uniform(0, 1, count) * (least**-2 - most**-2)) ** -0.5
    large = random.uniform(settings.large * side, most, settings.large_shapes)
    return np.concatenate([radii, large])


def _colours(
    count: int, mean: np.ndarray, chroma: float, random: np.random.Generator, settings: DeadLeavesSettings
) -> list[tuple[int, ...]]:
    offsets = random.standard_normal((count, 3)) * chroma
    offsets -= (offsets @ LUMINANCE)[:, None] * LUMINANCE
    values = mean + settings.luminance * random.standard_normal((count, 1)) + offsets
    return [tuple(colour) for colour in (values.clip(0, 1) * 255).round().astype(int).tolist()]


def _outlines(centres: np.ndarray, radii: np.ndarray, random: np.random.Generator) -> list[list[float]]:
    """Returns shapes of those centres (N, 2) and radii (N,), at random angles: x and y of the corners in turn.

    A quarter are circles, which are given by the box around them, a quarter are ellipses of many corners, and the
    others are polygons.
    """
    count = len(radii)
    kinds, corners = random.integers(0, 4, count), random.integers(3, 6, count)
    corners[kinds == 1] = ELLIPSE_CORNERS
    start, turn = random.uniform(0, 2 * math.pi, (2, count))
    narrow = random.uniform(0.3, 1.0, count)  # narrow shapes, in all directions
    outlines = np.concatenate([centres - radii[:, None], centres + radii[:, None]], 1).tolist()
    for number in np.unique(corners):
        chosen = np.flatnonzero((corners == number) & (kinds != 0))
        angles = start[chosen, None] + 2 * math.pi * np.arange(number) / number
        x, y = radii[chosen, None] * np.cos(angles), (radii * narrow)[chosen, None] * np.sin(angles)
        cosine, sine = np.cos(turn[chosen, None]), np.sin(turn[chosen, None])
        points = np.stack([x * cosine + y * sine, y * cosine - x * sine], 2) + centres[chosen, None]
        for place, outline in zip(chosen, points.reshape(len(chosen), -1).tolist(), strict=True):
            outlines[place] = outline
    return outlines
