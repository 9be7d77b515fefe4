"""dfq: compresses a trained vision network when its training data is gone.

    import dfq

    result = dfq.quantize("model.pt", bits=4, out="run/")
    print(result.report["agreement"])
    student = dfq.load("run/")

Every name listed here is imported when it is first used, so `import dfq` alone does not load torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from dfq.errors import DfqError

if TYPE_CHECKING:
    from dfq.calibration.methods import METHODS as methods
    from dfq.jobs.compare import Comparison, compare
    from dfq.jobs.distill import Distilled, distill
    from dfq.jobs.export import export_run as export_onnx
    from dfq.jobs.increment import Incremented, increment
    from dfq.jobs.inspect import Inspection, inspect
    from dfq.jobs.quantize.result import Result
    from dfq.jobs.quantize.run import quantize
    from dfq.jobs.synthesize import Synthesized, synthesize
    from dfq.jobs.validate import validate_run as validate
    from dfq.results.load_run import load_run as load
    from dfq.system.callbacks import Callback
    from dfq.system.mlflow_tracking import MLflow
    from dfq.system.tensorboard import TensorBoard
    from dfq.teacher import Teacher
    from dfq.teacher.load import load_teacher

try:
    __version__ = version("dfq-toolkit")
except PackageNotFoundError:  # This is a copy of the folder that was never installed.
    __version__ = "unknown"

__all__ = [
    "Callback",
    "Comparison",
    "DfqError",
    "Distilled",
    "Incremented",
    "Inspection",
    "MLflow",
    "Result",
    "Synthesized",
    "Teacher",
    "TensorBoard",
    "__version__",
    "compare",
    "distill",
    "export_onnx",
    "increment",
    "inspect",
    "load",
    "load_teacher",
    "methods",
    "quantize",
    "synthesize",
    "validate",
]
_PLACES = {
    "Callback": ("dfq.system.callbacks", "Callback"),
    "Comparison": ("dfq.jobs.compare", "Comparison"),
    "Distilled": ("dfq.jobs.distill", "Distilled"),
    "Incremented": ("dfq.jobs.increment", "Incremented"),
    "Inspection": ("dfq.jobs.inspect", "Inspection"),
    "MLflow": ("dfq.system.mlflow_tracking", "MLflow"),
    "Result": ("dfq.jobs.quantize.result", "Result"),
    "Synthesized": ("dfq.jobs.synthesize", "Synthesized"),
    "TensorBoard": ("dfq.system.tensorboard", "TensorBoard"),
    "Teacher": ("dfq.teacher", "Teacher"),
    "compare": ("dfq.jobs.compare", "compare"),
    "distill": ("dfq.jobs.distill", "distill"),
    "export_onnx": ("dfq.jobs.export", "export_run"),
    "increment": ("dfq.jobs.increment", "increment"),
    "inspect": ("dfq.jobs.inspect", "inspect"),
    "load": ("dfq.results.load_run", "load_run"),
    "load_teacher": ("dfq.teacher.load", "load_teacher"),
    "methods": ("dfq.calibration.methods", "METHODS"),
    "quantize": ("dfq.jobs.quantize.run", "quantize"),
    "synthesize": ("dfq.jobs.synthesize", "synthesize"),
    "validate": ("dfq.jobs.validate", "validate_run"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dfq' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
