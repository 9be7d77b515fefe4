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
    """

    onnx: Path
    float_onnx: Path | None = None
    softmax: bool = False


@dataclass(frozen=True)
class ComparedImages:
    """The images on which a file and its student are compared.

    Attributes:
        synthetic: Normalised images, (N, C, H, W), at best some that training has not seen.
        labelled: Real images, which are only ever reported on; None: there are none.
    """

    synthetic: Tensor
    labelled: Labelled | None = None
