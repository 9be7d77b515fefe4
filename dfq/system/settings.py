"""Settings of the progress on a terminal, of state files, and of the memory that a process keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProgressSettings:
    """How much progress a person sees.

    Attributes:
        quiet_seconds: Shortest time in seconds between two lines about the same stage where there is no terminal.
        max_figures: Largest number of figures, such as losses, beside a bar or in a line.
        description_width, bar_width: Numbers of characters of the text before a bar, and of the bar. Both keep them on
            a terminal of 80 columns, where the figures are cut.
    """

    quiet_seconds: float = 20.0
    max_figures: int = 2
    description_width: int = 22
    bar_width: int = 10


@dataclass(frozen=True, kw_only=True)
class StateFileSettings:
    """How often a stage saves what a killed run goes on from.

    Attributes:
        every_seconds: Time in seconds from one writing to the next.
        most_share: Largest share of the time that writing may take, in (0, 1]. A state that takes long to write is
            written less often.
    """

    every_seconds: float = 20.0
    most_share: float = 0.02


@dataclass(frozen=True, kw_only=True)
class MemorySettings:
    """How a process keeps memory that it has freed.

    Attributes:
        step_bytes: Number of bytes that the process asks the kernel for beyond what it needs, each time it needs more.
    """

    step_bytes: int = 2**28


@dataclass(frozen=True, kw_only=True)
class DeclaredSizeSettings:
    """How much more a file may declare than it holds, since a small file may ask for memory that no machine has.

    Attributes:
        free_bytes: Number of bytes that any file may declare.
        most_times: Largest ratio of the bytes that a file declares to those that it holds, above `free_bytes`.
    """

    free_bytes: int = 2**28
    most_times: int = 16
