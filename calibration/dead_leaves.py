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
    image = Image.new("RGB", (width, height), _colour(mean, chroma, random, settings))
    draw = ImageDraw.Draw(image)
    for radius in radii:
        centre = random.uniform(0, 1, 2) * (width, height)
        _paint(draw, centre, radius, _colour(mean, chroma, random, settings), random)
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


def _colour(
    mean: np.ndarray, chroma: float, random: np.random.Generator, settings: DeadLeavesSettings
) -> tuple[int, ...]:
    offset = random.standard_normal(3) * chroma
    offset -= offset @ LUMINANCE * LUMINANCE
    value = mean + settings.luminance * random.standard_normal() + offset
    return tuple((value.clip(0, 1) * 255).round().astype(int).tolist())


def _paint(
    draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: tuple[int, ...], random: np.random.Generator
) -> None:
    """Paints a circle, an ellipse or a polygon of that radius at a random angle."""
    kind = random.integers(0, 4)
    if kind == 0:
        draw.ellipse((*(centre - radius), *(centre + radius)), fill=colour)
        return
    corners = 24 if kind == 1 else int(random.integers(3, 6))
    angles = random.uniform(0, 2 * math.pi) + 2 * math.pi * np.arange(corners) / corners
    points = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    points[:, 1] *= random.uniform(0.3, 1.0)  # narrow shapes, in all directions
    turn = random.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    draw.polygon([tuple(point) for point in points @ rotation + centre], fill=colour)
