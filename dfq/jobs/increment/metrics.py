"""The usual figures of class-incremental learning, computed from the accuracies after each session."""

from collections.abc import Sequence


def average_accuracy(after_sessions: Sequence[float]) -> float:
    """Returns the average incremental accuracy, in [0, 1].

    Args:
        after_sessions: Accuracy on all classes seen so far, after the first training and after each increment.
    """
    return sum(after_sessions) / len(after_sessions)


def forgetting(by_group: Sequence[Sequence[float]]) -> float:
    """Returns the forgetting of Chaudhry et al. (ECCV 2018), in [−1, 1].

    It is the mean, over the earlier groups of classes, of the group's best accuracy so far minus its accuracy at the
    end. At 0, nothing is forgotten; below 0, later sessions helped.

    Args:
        by_group: `by_group[t][g]` is the accuracy on the images of group g after session t, for g ≤ t. There must be at
            least two sessions.
    """
    last = by_group[-1]
    lost = [max(session[group] for session in by_group[group:-1]) - last[group] for group in range(len(last) - 1)]
    return sum(lost) / len(lost)
