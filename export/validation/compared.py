"""What a validation compares: the files of one export, and the images on which they are compared."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dfq.export.validation.settings import FurtherImageSettings
from dfq.images.input_spec import is_large
from dfq.images.labelled import Labelled
from dfq.images.mixtures import Mix


@dataclass(frozen=True)
class ExportedFiles:
    """The files of one export.

    Attributes:
        onnx: The file of `export_onnx`, which is compared with its student.
        float_onnx: The teacher's file of `export_float_onnx`, for size and latency; None: there is none.
        softmax: Whether the files end in a softmax, which networks in torch are without.
        is_classifier: Whether the output is logits (or probabilities) of classes, so that answers can be compared.
        original: The ONNX file that the network came from, for one more opinion; None: it came from elsewhere.
    """

    onnx: Path
    float_onnx: Path | None = None
    softmax: bool = False
    is_classifier: bool = True
    original: Path | None = None


@dataclass(frozen=True)
class ComparedImages:
    """The images on which a file and its student are compared.

    Attributes:
        synthetic: Normalised images, (N, C, H, W), at best some that training has not seen.
        labelled: Real images with labels, which are only ever reported on; None: there are none.
        pictures: Real images without labels, normalised, (N, C, H, W), which are only ever reported on; None: there are
            none.
        further: More synthetic images, normalised, (N, C, H, W), on which the file is compared with its student, but
            nothing with the teacher: training may have seen them (`further_images`). None: there are none.
    """

    synthetic: Tensor
    labelled: Labelled | None = None
    pictures: Tensor | None = None
    further: Tensor | None = None


def further_images(
    training: Tensor, held_out: Tensor, *, settings: FurtherImageSettings = FurtherImageSettings()
) -> Tensor | None:
    """Returns more images for a comparison of a file with its student, which needs none that training has not seen.

    They are the images of the training, and behind them mixtures of all images, until there are enough.

    Args:
        training: Normalised images that the student was fitted to, (N, C, H, W).
        held_out: Normalised images that it was not fitted to, (N, C, H, W).
        settings: How many images are compared in all.

    Returns:
        Normalised images, (N, C, H, W); None where the held-out images are enough.
    """
    missing = (settings.images_large if is_large(held_out.shape) else settings.images) - len(held_out)
    if missing <= 0:
        return None
    mix, generator = Mix(blended=settings.blended, patched=settings.patched), torch.Generator().manual_seed(0)
    images = torch.cat([training, held_out])
    rounds = -(-max(missing - len(training), 0) // len(images))
    return torch.cat([training, *(mix(images, generator) for _ in range(rounds))])[:missing]
