"""What images are made from, in words."""

from collections.abc import Sequence

from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import LeafPixels
from dfq.teacher import Teacher
from dfq.teacher.batch_norm_statistics import normalization_layers


def knowledge_of(kinds: Sequence[InversionConfig], teacher: Teacher) -> str:
    """Returns in words what images of these kinds, which batches have in turn, are made from."""
    matching, without = ([kind for kind in kinds if kind.statistics == wanted] for wanted in (True, False))
    if not matching:
        return _source(without[0], teacher)
    known = f"the statistics of {len(normalization_layers(teacher.model))} BatchNorm layers"
    known += " and the teacher's answers" if matching[0].asks_for_classes else ""
    return known + (f"; {len(without)} in {len(kinds)} from {_source(without[0], teacher)}" if without else "")


def _source(config: InversionConfig, teacher: Teacher) -> str:
    """Returns in words what images without statistics are made from."""
    start = "dead leaves" if config.parametrization is LeafPixels else "noise"
    asked = config.asks_for_classes and teacher.is_classifier
    steps = f"{config.iterations} gradient steps on the network's {'answers' if asked else 'activations'}"
    return f"{start} and {steps}{_reason(teacher)}"


def _reason(teacher: Teacher) -> str:
    known, layers = teacher.described_layers
    if teacher.has_batch_norm:
        return ""
    if known:
        return f", because BatchNorm statistics describe only {known} of {layers} layers"
    return ", for lack of BatchNorm statistics"
