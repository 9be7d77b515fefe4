"""A trained network learns new classes from images of these alone, and keeps the old ones: `dfq increment`."""

from dfq.incremental.metrics import average_accuracy, forgetting
from dfq.incremental.run import Incremented, increment, increment_model
from dfq.incremental.sessions import Sessions, increment_sessions
from dfq.incremental.settings import IncrementSettings
from dfq.incremental.strategies import STRATEGIES, Strategy

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
