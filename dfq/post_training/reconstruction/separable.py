"""Joins the layers of a depthwise separable block that no module holds together.

A network from an ONNX file has no modules, and many a network is written without them. A residual sum keeps its block
whole (`dfq.post_training.reconstruction.cuts`), but the blocks that change the resolution or the width have none. There
the form of the layers tells: a depthwise convolution belongs to the 1×1 convolution that projects its output, and to
the 1×1 convolution that expands its input (MobileNetV2, Sandler et al., CVPR 2018, section 3.3), unless that one is the
projection of the block before (MobileNetV1).
"""

from torch import fx, nn

from dfq.graph.layer_outputs import is_matrix_layer

Piece = tuple[str, list[fx.Node]]


def join_separable(pieces: list[Piece], student: fx.GraphModule) -> list[Piece]:
    """Returns the pieces, named after their module or first layer, with those of a separable block joined."""
    joined: list[Piece] = []
    place = 0
    while place < len(pieces):
        length = _length_of_block([_only_layer(piece, student) for piece in pieces[place : place + 3]])
        joined.append((pieces[place][0], [node for _, nodes in pieces[place : place + length] for node in nodes]))
        place += length
    return joined


def _length_of_block(layers: list[nn.Conv2d | None]) -> int:
    """Returns the number of pieces of the separable block that begins with the first of three layers, or else 1."""
    first, second, third = (*layers, None, None)[:3]
    if _is_depthwise(first) and _is_pointwise(second):
        return 2
    if _is_pointwise(first) and _is_depthwise(second) and _is_pointwise(third):
        return 3
    return 1


def _only_layer(piece: Piece, student: fx.GraphModule) -> nn.Conv2d | None:
    """Returns the convolution of a piece that has no other layer and no module around it."""
    name, nodes = piece
    layers = [node for node in nodes if is_matrix_layer(node, student)]
    layer = student.get_submodule(str(layers[0].target)) if len(layers) == 1 else None
    return layer if isinstance(layer, nn.Conv2d) and name == layers[0].target else None


def _is_depthwise(layer: nn.Conv2d | None) -> bool:
    return layer is not None and layer.groups == layer.in_channels > 1


def _is_pointwise(layer: nn.Conv2d | None) -> bool:
    return layer is not None and layer.kernel_size == (1, 1) and layer.groups == 1
