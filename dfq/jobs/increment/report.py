"""The report of an increment, which is written beside the checkpoint as `.json`."""

from dataclasses import dataclass

SCHEMA_VERSION = 1  # It rises when a key of `IncrementReport` changes its meaning or goes.


@dataclass(frozen=True, kw_only=True)
class IncrementReport:
    """The content of the report of an increment; each field is the key of the same name.

    Attributes:
        schema_version: Version of the keys; it rises when a key changes its meaning or goes.
        arch: The name that the network can be rebuilt by; None for a network that has none.
        classes: Numbers of classes: `old` and `new`.
        images: Numbers of images that were learned from: `new` ones, and `synthetic` ones of the old classes.
        accuracy_on_new_training_images: Share of the new training images whose label is the answer, in [0, 1].
        steps: Training steps that were done.
        seconds: Seconds from the start to the report.
        conditions: Digests of the network and of the new images.
        settings: The fields of `IncrementSettings`, as they were used.
        versions: Python, and every package that influences a result; None for a package that is not installed.
        hardware: What the run computed on: `processor`, `cores`, `threads`, `device` and `accelerator`.
        warnings: Whole sentences: what was assumed while the checkpoint was read, and what a reader of the figures
            should know.
    """

    schema_version: int = SCHEMA_VERSION
    arch: str | None
    classes: dict[str, int]
    images: dict[str, int]
    accuracy_on_new_training_images: float
    steps: int
    seconds: float
    conditions: dict[str, str]
    settings: dict
    versions: dict
    hardware: dict
    warnings: list[str]

    def to_dict(self) -> dict:
        """Returns what the file holds."""
        return dict(vars(self))
