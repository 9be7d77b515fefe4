"""Estimates from the libraries' source text which of their networks a state dict belongs to.

torchvision and timm have 1450 networks, and building one, even without weights, takes about a tenth of a second. The
parts of a tensor's name are attributes in the file that defines the network, and its widths and depths are often
written out in the function that makes it. That orders the networks well enough that a few dozen builds find most.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from torch import Size

from dfq.models.settings import SuggestSettings
from dfq.models.source_files import Attributes, Source, letters, networks

# Checkpoints are most often of these networks, which counts more than what the text says.
COMMON = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
    *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0", "shufflenet_v2_x1_0"),
    *("efficientnet_b0", "efficientnet_b1", "efficientnet_v2_s", "convnext_tiny", "densenet121", "squeezenet1_1"),
    *("alexnet", "vgg11", "vgg11_bn", "vgg16", "vgg16_bn", "googlenet", "inception_v3", "vit_b_16", "swin_t"),
)
# Torch's own layers have these parts of names. They and numbers say nothing of the file.
ANYWHERE = {
    "",
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "in_proj_weight",
    "in_proj_bias",
}


def likely(shapes: Mapping[str, Size], *, settings: SuggestSettings = SuggestSettings()) -> dict[Source, float]:
    """Returns for every network how likely it is, from 0 to 1, that it has tensors of these names and shapes.

    The result is empty where the names are numbers only (`nn.Sequential`), which no library uses.
    """
    sources, attributes = networks()
    files = _file_scores([name for name in shapes if not name.partition(".")[0].isdigit()], attributes)
    best = max(files.values(), default=0.0)
    if best == 0:
        return {}
    lengths = {length for shape in shapes.values() for length in shape}
    sequences, counts = _depths(shapes)
    scores = {}
    for network in sources:
        by_file = (files[network.file] / best) ** settings.file_sharpness
        fitting = [each in sequences or lengths.issuperset(each) for each in network.sequences]
        by_sequence = sum(fitting) / len(fitting) if fitting else settings.unknown_score
        known = network.numbers & (lengths | counts)
        by_number = len(known) / len(network.numbers) if network.numbers else settings.unknown_score
        common = settings.common_weight * (network.name.removeprefix("torchvision/") in COMMON)
        scores[network] = (
            (settings.file_weight + common) * by_file
            + settings.sequence_weight * by_sequence
            + settings.number_weight * by_number**settings.number_sharpness
        )
    return scores


def _file_scores(names: Iterable[str], attributes: Mapping[str, Attributes]) -> dict[str, float]:
    """Returns for each file the share of the names' parts that are its attributes.

    The first parts of names count for half, because the file has them itself.
    """
    names = list(names)
    first = {letters(name.partition(".")[0]) for name in names}
    parts = {letters(part) for name in names for part in name.split(".")}
    outer = _shares(first - ANYWHERE, {file: each.own for file, each in attributes.items()})
    inner = _shares(parts - ANYWHERE, {file: each.all for file, each in attributes.items()})
    return {file: (outer[file] + inner[file]) / 2 for file in attributes}


def _shares(parts: set[str], words: Mapping[str, frozenset[str]]) -> dict[str, float]:
    """Returns for each file the share of `parts` among its words.

    A rare word counts more, and a word that no file has does not count.
    """
    frequency = Counter(part for each in words.values() for part in parts & each)
    weight = {part: math.log(1 + len(words) / count) for part, count in frequency.items()}
    total = sum(weight.values()) or 1.0
    return {file: sum(weight[part] for part in weight if part in each) / total for file, each in words.items()}


def _depths(names: Iterable[str]) -> tuple[set[tuple[int, ...]], set[int]]:
    """Returns how many children containers of the same name have, and the set of all these numbers.

    For `layer1.0…2`, `layer2.0…3`, … the former are (3, 4, 6, 3).
    """
    children: dict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = name.split(".")
        for index, part in enumerate(parts):
            if part.isdigit():
                children[".".join(parts[:index])].add(part)
    sisters: dict[str, list[int]] = defaultdict(list)
    for container, inside in children.items():
        sisters[letters(container)].append(len(inside))
    return {tuple(each) for each in sisters.values()}, {len(inside) for inside in children.values()}
