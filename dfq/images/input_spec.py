"""What a network expects of its input: size and normalisation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from reprlib import repr

import torch

from dfq.errors import DfqError
from dfq.images.settings import InputSettings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
FEW = 3  # images of an unusual size that are computed at once; a graph is drawn with two
IMAGENET_STD = (0.229, 0.224, 0.225)


def is_large(shape: Sequence[int], *, settings: InputSettings = InputSettings()) -> bool:
    """Returns whether images of that shape, (…, H, W), have a side of more than `InputSettings.small_side` pixels."""
    return max(shape[-2:]) > settings.small_side


def is_unusual(size: Sequence[int], *, settings: InputSettings = InputSettings()) -> bool:
    """Returns whether images (C, H, W) are so large that a network may make tensors of them which no memory holds."""
    return prod(size) > settings.usual_numbers


def worth_trying(counts: Iterable[int], size: Sequence[int]) -> list[int]:
    """Returns the numbers of images on which networks are compared: for large images, 1 and a few."""
    return [1, FEW] if is_unusual(size) else list(counts)


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Shape and normalisation of the images that a teacher expects.

    Attributes:
        size: Number of channels, height and width; the latter two in pixels.
        mean, std: One number for each channel, for pixels scaled to [0, 1]: network input = (pixel − mean) / std.
    """

    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        if len(self.size) != 3 or not all(isinstance(side, int) for side in self.size) or min(self.size) < 1:
            raise DfqError(
                f"input size {repr(self.size)}",
                "three positive numbers: channels × height × width",
                "for example --input-size 3x32x32",
            )
        settings, channels = InputSettings(), self.size[0]
        if prod(self.size) > settings.most_numbers:
            raise DfqError(
                f"images of {' × '.join(map(str, self.size))}",
                f"at most {settings.most_numbers:,} numbers in an image",
                "check --input-size",
            )
        if len(self.mean) != channels or len(self.std) != channels:
            raise DfqError(
                f"{len(self.mean)} means and {len(self.std)} standard deviations for {channels} channels",
                "one of each for every channel",
                "for example --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5",
            )
        if not all(isfinite(std) and std >= settings.least_std for std in self.std):
            raise DfqError(
                f"standard deviation {self.std}",
                f"positive numbers from {settings.least_std:g} on, for pixels scaled to [0, 1]",
                "check --std",
            )
        if not all(isfinite(mean) and abs(mean) <= settings.most_mean for mean in self.mean):
            raise DfqError(f"mean {self.mean}", "finite numbers, for pixels scaled to [0, 1]", "check --mean")

    def _column(self, values: tuple[float, ...], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)

    @property
    def is_standardized(self) -> bool:
        """Whether `std` looks like the spread of real pixels (0.15 to 0.4) and not like a mere rescaling (0.5, 1)."""
        settings = InputSettings()
        return all(settings.smallest_spread <= spread <= settings.largest_spread for spread in self.std)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Returns the network input of pixels in [0, 1]; both are (N, C, H, W)."""
        return (pixels - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def to_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the pixels of a network input, clipped to [0, 1]; both are (N, C, H, W)."""
        return (images * self._column(self.std, images) + self._column(self.mean, images)).clamp(0, 1)

    def to_dict(self) -> dict:
        return {"size": list(self.size), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict) -> "InputSpec":
        return cls(size=tuple(values["size"]), mean=tuple(values["mean"]), std=tuple(values["std"]))
