"""Images without data: the methods' synthesizers, and the table that names them (`METHODS`)."""

if __name__ != "dfq.calibration":
    raise ImportError("this folder is the package dfq.calibration: install the project and import it by that name")

from dfq.calibration.method import Method
from dfq.calibration.methods import METHODS
from dfq.calibration.synthesizer import Synthesizer
from dfq.images.batch import Batch

__all__ = ["METHODS", "Batch", "Method", "Synthesizer"]
