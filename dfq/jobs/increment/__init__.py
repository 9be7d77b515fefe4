"""`dfq increment`: a trained network learns new classes from images of these alone, and keeps the old ones."""

from dfq.jobs.increment.metrics import average_accuracy, forgetting
from dfq.jobs.increment.run import Incremented, increment, increment_model
from dfq.jobs.increment.sessions import Sessions, increment_sessions
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.increment.strategies import STRATEGIES, Strategy

__all__ = [
    "STRATEGIES",
    "IncrementSettings",
    "Incremented",
    "Sessions",
    "Strategy",
    "average_accuracy",
    "forgetting",
    "increment",
    "increment_model",
    "increment_sessions",
]
