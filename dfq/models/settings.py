"""Settings of the search for an architecture that fits a file, and of the reading of .pt2 files."""

from dataclasses import dataclass

from dfq.graph.settings import SameOutputsSettings


@dataclass(frozen=True, kw_only=True)
class SuggestSettings:
    """Settings of the search for an architecture, which builds networks and compares them with a state dict.

    Two kinds of evidence say how likely a network is: a hint from the source text of its library, and the fit of
    networks with similar names that were built before. The hint is a weighted sum of three scores from 0 to 1. The
    three weights are together 0.7, a fit that a network of nearly the same name often reaches.

    Attributes:
        worth_naming: Smallest share of names and shapes, from 0 to 1, with which a network is suggested.
        seconds: Largest processor time for building networks, in seconds.
        max_builds: Largest number of networks that are built.
        deepest_prefix: Largest number of prefixes that are taken off the names one after the other.
        hint_trust: Weight of the hint, as a number of built networks of nearly the same name.
        name_sharpness: Power of the similarity of two names, from 0 to 1. The result is the weight with which the fit
            of one network counts for the other.
        file_weight: Weight of the score for names of tensors that are attributes in the network's file.
        sequence_weight: Weight of the score for sequences of widths or depths in the network's function.
        number_weight: Weight of the score for whole numbers in the network's function.
        common_weight: Weight that is added to `file_weight` for the networks that checkpoints are most often of.
        unknown_score: Score of a network whose function states no widths and depths.
        file_sharpness: Power of the share of names in a file, relative to that in the best file.
        number_sharpness: Power of the share of whole numbers that fit.
    """

    worth_naming: float = 0.5
    seconds: float = 4.0
    max_builds: int = 60
    deepest_prefix: int = 3
    hint_trust: float = 2.0
    name_sharpness: int = 8
    file_weight: float = 0.28
    sequence_weight: float = 0.24
    number_weight: float = 0.18
    common_weight: float = 0.3
    unknown_score: float = 0.5
    file_sharpness: int = 4
    number_sharpness: int = 2


@dataclass(frozen=True, kw_only=True)
class ReadExportedSettings:
    """Settings of the reading of a .pt2 file: the comparison of the network with the file's program.

    Attributes:
        images: Number of images in this comparison, where the program takes any number.
        other_images: Number of images with which it is checked that the network takes any number.
        same_outputs: Settings of the comparison of outputs.
    """

    images: int = 2
    other_images: int = 3
    same_outputs: SameOutputsSettings = SameOutputsSettings()
