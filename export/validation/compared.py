"""What a validation compares: the files of one export, and the images on which they are compared."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dfq.images.labelled import Labelled


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
    """

    synthetic: Tensor
    labelled: Labelled | None = None
    pictures: Tensor | None = None
