"""What is kept of a call of `Inversion.sample` until it returns, so that a killed run goes on within it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, StateFile
from dfq.teacher import Teacher

FORMAT = 2  # In format 1, all batches drew from one source of random numbers.


class UnfinishedSample:
    """The batches that are finished, and the file in which they are kept along with the batch in progress.

    Args:
        file: The file. It may be that of another call, which is ignored.
        teacher: Network that the images are made for.
        start: State of the synthesizer at the start of the call, by which the call is known.
        count: Number of images that were asked for.

    Attributes:
        batches: The images of each finished batch, normalised, (N, C, H, W), and their labels (N,).
    """

    def __init__(self, file: StateFile, teacher: Teacher, start: dict[str, Any], count: int):
        self.file, self.teacher = file, teacher
        self.call = {
            "format": FORMAT,
            "count": count,
            "batches_made": start["batches_made"],
            "generator": start["generator"].tolist(),
        }
        self.batches: list[tuple[Tensor, Tensor | None]] = []

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Saves the finished batches and what `state` returns, unless that was done a short while ago."""
        self.file.save_if_due(
            lambda: {
                "call": self.call,
                "batches": [(self._to_bytes(images), labels) for images, labels in self.batches],
                **state(),
            }
        )

    def resume(self) -> dict[str, Any] | None:
        """Takes over the batches that a killed run finished in the same call, and returns the state that it saved.

        Returns None where there was no such run.
        """
        state = self.file.load(self.teacher.device)
        if state is None or self.file.path is None:
            return None
        with reading(self.file.path, way_out=AFRESH):
            if state["call"] != self.call:
                return None
            self.batches = [(self._from_bytes(pixels), labels) for pixels, labels in state["batches"]]
        return state

    def _to_bytes(self, images: Tensor) -> Tensor:
        return (self.teacher.input_spec.to_pixels(images) * 255).round().to(torch.uint8)

    def _from_bytes(self, pixels: Tensor) -> Tensor:
        images = self.teacher.input_spec.normalize(pixels.float() / 255)
        return images.contiguous(memory_format=torch.channels_last)
