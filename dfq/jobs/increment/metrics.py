"""The figures of class-incremental learning, from accuracies after each session."""

from collections.abc import Sequence


def average_accuracy(after_sessions: Sequence[float]) -> float:
    """Average incremental accuracy: mean over sessions of the accuracy on all classes seen so far, in [0, 1].

    Args:
        after_sessions: that accuracy after the first training and after each increment.
    """
    return sum(after_sessions) / len(after_sessions)


def forgetting(by_group: Sequence[Sequence[float]]) -> float:
    """Mean loss of accuracy: of each earlier group of classes, its best accuracy so far minus that at the end.

    Chaudhry et al., ECCV 2018. In [−1, 1], 0: nothing is forgotten; below 0: later sessions helped.

    Args:
        by_group: `by_group[t][g]`: accuracy on the images of group g after session t, g ≤ t; at least two sessions.
    """
    last = by_group[-1]
    lost = [max(session[group] for session in by_group[group:-1]) - last[group] for group in range(len(last) - 1)]
    return sum(lost) / len(lost)
