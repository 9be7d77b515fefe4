"""Copies layers of a teacher into its student before the student learns.

A shallower network of the teacher's family has the same stages with fewer blocks. Each block of a stage makes a small
change to one stream (Veit et al., NeurIPS 2016, arXiv 1605.06431). So blocks that are taken evenly, from the first to
the last, are a far better start than random weights: the student only has to learn what the missing blocks did.
DistilBERT (Sanh et al. 2019, arXiv 1910.01108) starts from every other layer in the same way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfq.jobs.distill.defaults import DISTILL_DEFAULTS


@torch.no_grad()
def inherit(student: nn.Module, teacher: nn.Module) -> bool:
    """Copies what fits by name and shape, if that is nearly all of the student; else leaves the student as it is.

    Children are paired by name. The blocks of a sequence are paired in order, as many as fit, spread evenly. Single
    layers in a row (VGG) are not paired in this way: a convolution would get the BatchNorm of another one, and no
    residual stream joins the layers that are left.

    Returns:
        Whether anything was copied.
    """
    pairs = corresponding(student, teacher)
    learned = {id(parameter) for parameter in student.parameters()}
    if sum(id(own) in learned for own, _ in pairs) < DISTILL_DEFAULTS.inherited_share * len(learned):
        return False
    for own, other in pairs:
        own.copy_(other)
    return True


def corresponding(student: nn.Module, teacher: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Returns the pairs of parameters and buffers that stand at the same place and have the same shape."""
    theirs = _own_tensors(teacher)
    pairs = [
        (tensor, theirs[name])
        for name, tensor in _own_tensors(student).items()
        if name in theirs and theirs[name].shape == tensor.shape
    ]
    for child, other in _paired_children(student, teacher):
        pairs += corresponding(child, other)
    return pairs


def _own_tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def _paired_children(student: nn.Module, teacher: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    if _is_row_of_blocks(student) and _is_row_of_blocks(teacher):
        own, theirs = list(student.children()), list(teacher.children())
        return [(own[i], theirs[j]) for i, j in aligned(_fit(own, theirs))]
    other = dict(teacher.named_children())
    return [(child, other[name]) for name, child in student.named_children() if name in other]


def _is_row_of_blocks(module: nn.Module) -> bool:
    in_a_row = isinstance(module, nn.Sequential | nn.ModuleList)
    return in_a_row and all(any(child.children()) or not child.state_dict() for child in module.children())


def _fit(own: Sequence[nn.Module], theirs: Sequence[nn.Module]) -> list[list[float]]:
    """Returns, for each pair of modules, the share of the first one's values that the second one can replace.

    A tensor can be replaced by one of the same name and shape.
    """
    shapes = [{name: tensor.shape for name, tensor in module.state_dict().items()} for module in theirs]
    fits = []
    for module in own:
        tensors = module.state_dict()
        total = sum(tensor.numel() for tensor in tensors.values())
        fits.append(
            [
                sum(t.numel() for name, t in tensors.items() if other.get(name) == t.shape) / total if total else 0.0
                for other in shapes
            ]
        )
    return fits


def aligned(fits: list[list[float]]) -> list[tuple[int, int]]:
    """Returns pairs (i, j), in which both numbers rise, with the largest sum of `fits[i][j]`.

    Of several choices with the same sum, it returns the most evenly spread one.
    """
    rows, columns = len(fits), len(fits[0]) if fits else 0
    best: list[list[tuple[float, list[tuple[int, int]]]]] = [[(0.0, [])] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            uneven = abs(i / max(rows - 1, 1) - j / max(columns - 1, 1))
            sum_before, pairs = best[i][j]
            taken = (sum_before + fits[i][j] - 1e-3 * uneven**2, [*pairs, (i, j)])
            choices = (best[i][j + 1], best[i + 1][j], taken) if fits[i][j] else (best[i][j + 1], best[i + 1][j])
            best[i + 1][j + 1] = max(choices, key=lambda choice: choice[0])
    return best[rows][columns][1]
