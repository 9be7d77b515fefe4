"""dfq: compresses a trained vision network when its training data is gone.

import dfq

result = dfq.quantize("model.pt", bits=4, out="run/")
print(result.report["agreement"])
student = dfq.load("run/")
"""

from dfq.api import load, quantize
from dfq.comparison import Comparison, compare
from dfq.distillation import Distilled, distill
from dfq.errors import DfqError
from dfq.incremental import Incremented, increment
from dfq.pipeline import Result

__all__ = [
    "Comparison",
    "DfqError",
    "Distilled",
    "Incremented",
    "Result",
    "compare",
    "distill",
    "increment",
    "load",
    "quantize",
]
