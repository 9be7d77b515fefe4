"""Checks that weights can belong to a network of images, whatever its architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dfq.errors import DfqError

IMAGE_NETWORK = (
    "a network of images: images (N, channels, height, width) → logits (N, classes) or other tensors of N rows"
)


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Raises a DfqError for weights that no network of images can have, such as empty, NaN or integer weights."""
    unusual = [name for name, tensor in weights.items() if tensor.layout != torch.strided or tensor.is_meta]
    if unusual:
        raise DfqError(
            f"'{unusual[0]}' is a sparse tensor or one without data",
            "dense tensors",
            "save the weights again: tensor.to_dense()",
        )
    tiny = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.itemsize == 1]
    if tiny:
        kind = str(weights[tiny[0]].dtype).removeprefix("torch.")
        raise DfqError(
            f"'{tiny[0]}' holds {kind} numbers: the network is already quantized",
            "weights in float32, float16 or bfloat16",
            "pass the checkpoint from before quantization",
        )
    matrices = {name: tensor for name, tensor in weights.items() if tensor.ndim >= 2}
    if not matrices:
        raise DfqError(
            f"{len(weights)} tensors, none of them of a convolution or linear layer",
            IMAGE_NETWORK,
            "check the file",
        )
    integers = [name for name, tensor in matrices.items() if name.endswith("weight") and not tensor.is_floating_point()]
    if integers:
        raise DfqError(
            f"'{integers[0]}' holds {weights[integers[0]].dtype} numbers: the network is already quantized",
            "floating-point weights",
            "pass the checkpoint from before quantization",
        )
    _check_empty(matrices)
    _check_finite(weights)


def _check_empty(matrices: Mapping[str, Tensor]) -> None:
    for name, tensor in matrices.items():
        if name == classifier_key(matrices) and tensor.shape[0] == 0:
            raise DfqError(
                f"the classifier '{name}' {tuple(tensor.shape)} has zero classes",
                "at least one class",
                "check how the checkpoint was made",
            )
        if tensor.numel() == 0 and name.endswith("weight"):
            raise DfqError(
                f"'{name}' {tuple(tensor.shape)} is empty",
                "weights in every layer",
                "check how the file was made",
            )


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    counts = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in weights.items()
        if tensor.is_floating_point() and not _is_mask(name, tensor)
    }
    bad = {name: count for name, count in counts.items() if count}
    if bad:
        name, count = next(iter(bad.items()))
        more = f", and in {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise DfqError(
            f"{count} of {weights[name].numel()} values in '{name}' are NaN or infinite{more}",
            "finite weights",
            "take an earlier checkpoint, because the training has diverged",
        )


def _is_mask(name: str, tensor: Tensor) -> bool:
    """Returns whether a tensor only masks, by −∞, what attention must not see."""
    is_parameter = name.endswith(("weight", "bias", "running_mean", "running_var"))
    return not is_parameter and bool((torch.isfinite(tensor) | (tensor == float("-inf"))).all())


def first_layer_key(weights: Mapping[str, Tensor]) -> str | None:
    """Returns the key of the first layer's weight in the order of the file, a convolution's where there is one."""
    layers = [name for name, tensor in weights.items() if tensor.ndim >= 2 and name.endswith("weight")]
    return next((name for name in layers if weights[name].ndim == 4), layers[0] if layers else None)


def classifier_key(weights: Mapping[str, Tensor]) -> str | None:
    """Returns the key of the last linear layer's weight, or of the last layer's where there is no linear one."""
    layers = [name for name, tensor in weights.items() if tensor.ndim >= 2 and name.endswith("weight")]
    return next((name for name in reversed(layers) if weights[name].ndim == 2), layers[-1] if layers else None)


def takes_images(weights: Mapping[str, Tensor]) -> bool:
    """Returns whether there is a two-dimensional convolution, without which hardly any network takes images."""
    return any(tensor.ndim == 4 for tensor in weights.values())
