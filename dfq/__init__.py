"""dfq: compresses a trained vision network when its training data is gone.

import dfq

result = dfq.quantize("model.pt", bits=4, out="run/")
print(result.report["agreement"])
student = dfq.load("run/")
"""

from dfq.errors import DfqError
from dfq.jobs.compare import Comparison, compare
from dfq.jobs.distill import Distilled, distill
from dfq.jobs.increment import Incremented, increment
from dfq.jobs.quantize.run import Result, quantize
from dfq.results.load_run import load_run as load

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
