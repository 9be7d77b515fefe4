"""dfq: compresses a trained vision network when its training data is gone.

    import dfq

    result = dfq.quantize("model.pt", bits=4, out="run/")
    print(result.report["agreement"])
    student = dfq.load("run/")

What is listed here is imported when it is first used: `import dfq` alone does not load torch.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from dfq.errors import DfqError

if TYPE_CHECKING:
    from dfq.calibration.methods import METHODS as methods
    from dfq.jobs.compare import Comparison, compare
    from dfq.jobs.distill import Distilled, distill
    from dfq.jobs.increment import Incremented, increment
    from dfq.jobs.quantize.result import Result
    from dfq.jobs.quantize.run import quantize
    from dfq.results.load_run import load_run as load
    from dfq.teacher import Teacher
    from dfq.teacher.load import load_teacher

try:
    __version__ = version("dfq-toolkit")
except PackageNotFoundError:  # a copy of the folder that was never installed
    __version__ = "unknown"

__all__ = [
    "Comparison",
    "DfqError",
    "Distilled",
    "Incremented",
    "Result",
    "Teacher",
    "__version__",
    "compare",
    "distill",
    "increment",
    "load",
    "load_teacher",
    "methods",
    "quantize",
]
_PLACES = {
    "Comparison": ("dfq.jobs.compare", "Comparison"),
    "Distilled": ("dfq.jobs.distill", "Distilled"),
    "Incremented": ("dfq.jobs.increment", "Incremented"),
    "Result": ("dfq.jobs.quantize.result", "Result"),
    "Teacher": ("dfq.teacher", "Teacher"),
    "compare": ("dfq.jobs.compare", "compare"),
    "distill": ("dfq.jobs.distill", "distill"),
    "increment": ("dfq.jobs.increment", "increment"),
    "load": ("dfq.results.load_run", "load_run"),
    "load_teacher": ("dfq.teacher.load", "load_teacher"),
    "methods": ("dfq.calibration.methods", "METHODS"),
    "quantize": ("dfq.jobs.quantize.run", "quantize"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'dfq' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
