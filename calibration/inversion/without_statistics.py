"""What images are made from where a network has no BatchNorm statistics: dead leaves, and steps on its answers.

Files of networks have BatchNorm folded away, and transformers and ConvNeXt never had it. Noise leaves the deep layers
of such a network under-excited, so that 8 bits alone cost many points. Dead leaves do not, and a few signed steps
towards random classes bring in the large activations that shapes lack (decision record 0034).
"""

from dataclasses import replace

from dfq.calibration.inner_terms import Excitation
from dfq.calibration.inversion.config import InversionConfig
from dfq.calibration.inversion.parametrizations import LeafPixels
from dfq.calibration.inversion_terms import LabelCrossEntropy, Smoothness
from dfq.teacher import Teacher

SMOOTH = Smoothness(5.0)
LEAVES = InversionConfig(
    parametrization=LeafPixels,
    terms=(LabelCrossEntropy(1.0), SMOOTH),
    statistics=False,
    iterations=14,
    learning_rate=5 / 255,
    betas=(0.0, 0.0),
    eps=1e-16,
    together_large=8,
)
WITHOUT_CLASSES = (Excitation(0.3), SMOOTH)  # for networks that are no classifiers


def for_network(config: InversionConfig, teacher: Teacher) -> InversionConfig:
    """Returns the kind of image that is made for a network where `config` was asked for.

    A kind that builds on statistics is replaced by `LEAVES` where there are none; its terms that work against a student
    are kept. Where there are no classes, the terms of `LEAVES` are replaced by those that need none.
    """
    if config.statistics and teacher.has_batch_norm:
        return config
    if config.statistics:
        against_student = tuple(term for term in config.terms if getattr(term, "needs_student", False))
        together = None if against_student else LEAVES.together_large  # such terms compare the images of a batch
        config = replace(LEAVES, terms=(*LEAVES.terms, *against_student), together_large=together)
    if config.terms[: len(LEAVES.terms)] == LEAVES.terms and not teacher.is_classifier:
        config = replace(config, terms=(*WITHOUT_CLASSES, *config.terms[len(LEAVES.terms) :]))
    return config
