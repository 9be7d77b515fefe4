"""The protocol of class-incremental learning: several increments in a row, and the usual figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from dfq.errors import DfqError
from dfq.images.labelled import Labelled
from dfq.jobs.increment.metrics import average_accuracy, forgetting
from dfq.jobs.increment.run import as_input, increment_model
from dfq.jobs.increment.settings import IncrementSettings
from dfq.system.progress import Progress, Silent
from dfq.teacher import Teacher


@dataclass(frozen=True)
class Sessions:
    """The result of several increments in a row.

    Attributes:
        model: The network after the last session.
        by_group: `by_group[t][g]` is the accuracy on the held-out images of group g after session t, where all classes
            so far can be answered. Session 0 is the network as it was. The list is empty without held-out images.
        seen: Accuracy after each session, on the held-out images of all groups so far together.
    """

    model: nn.Module
    by_group: list[list[float]] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)

    def to_dict(self) -> dict:
        """Returns the figures, with average incremental accuracy and forgetting (`dfq.jobs.increment.metrics`)."""
        figures = {"by_group": self.by_group, "seen": self.seen}
        if not self.seen:
            return figures
        return figures | {"average_accuracy": average_accuracy(self.seen), "forgetting": forgetting(self.by_group)}


def increment_sessions(
    teacher: Teacher,
    sessions: Sequence[Labelled],
    settings: IncrementSettings,
    *,
    held_out: Sequence[Labelled] = (),
    progress: Progress | None = None,
) -> Sessions:
    """Teaches one group of classes after another; each session starts from the network of the one before alone.

    Args:
        teacher: The network that knows the first classes.
        sessions: Images of each group of new classes; labels count from 0 within a group.
        settings: Settings of every session; a budget is the limit of each session.
        held_out: Images for the report and nothing else: those of the teacher's own classes, then those of each
            session; labels count from 0 within a group. Empty: nothing is measured.
        progress: Where progress is reported; None: nowhere.

    Raises:
        DfqError: There are held-out images of too many or too few groups, or `increment_model` raises an error.
    """
    if held_out and len(held_out) != len(sessions) + 1:
        raise DfqError(
            f"held-out images of {len(held_out)} groups beside {len(sessions)} sessions",
            "those of the first classes, then one group for each session",
            "leave held_out out to measure nothing",
        )
    progress, network = progress or Silent(), teacher
    starts, found = [0, teacher.num_classes], Sessions(teacher.model)
    _measure(network, held_out[:1], starts, found)
    with progress.task("Sessions", len(sessions)) as task:
        for session, images in enumerate(sessions, start=1):
            model = increment_model(network, images, settings, progress=progress).model
            network = Teacher(model, teacher.input_spec, teacher.device)
            starts.append(network.num_classes)
            _measure(network, held_out[: session + 1], starts, found)
            task.advance()
    return replace(found, model=network.model)


def _measure(network: Teacher, groups: Sequence[Labelled], starts: Sequence[int], found: Sessions) -> None:
    """Adds the accuracies of a session to `found`.

    Args:
        network: The network after the session.
        groups: Held-out images of each group so far.
        starts: Number of the first class of each group.
        found: What has been measured so far.
    """
    if not groups:
        return
    right = [_right(network, group, first) for group, first in zip(groups, starts, strict=False)]
    found.by_group.append([count / len(group.labels) for count, group in zip(right, groups, strict=True)])
    found.seen.append(sum(right) / sum(len(group.labels) for group in groups))


@torch.no_grad()
def _right(network: Teacher, group: Labelled, first: int) -> int:
    labels = torch.from_numpy(group.labels).to(network.device) + first
    answers = torch.cat([network(part).argmax(1) for part in as_input(network, group).split(256)])
    return int((answers == labels).sum())
