"""Settings of the search for weights in a file, and of the search for a network among their names."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """Settings of the search for weights in a checkpoint file.

    Attributes:
        deepest_entry: Largest number of entries inside each other that are searched.
    """

    deepest_entry: int = 3


@dataclass(frozen=True, kw_only=True)
class NameSettings:
    """Settings of the search for a network among the names of a file's tensors.

    Attributes:
        deepest_wrapper: Largest number of levels that wrappers put above a network.
    """

    deepest_wrapper: int = 6
