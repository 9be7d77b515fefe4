"""What a person should know of a reconstruction: which blocks are too large, and which hardly follow the teacher."""

from collections.abc import Sequence
from math import prod
from typing import Protocol

from dfq.post_training.reconstruction.blocks import Block

LARGE_SHARE = 0.25  # of a network's multiplications, in one block
FEW_LAYERS, FEW_IN_BLOCK = 8, 2  # of a network, and of a block, that cannot be cut much further anyway
HARDLY = 0.9  # of the variance of the teacher's output as error: a constant has 1.0
NAMED = 3  # blocks that one sentence names


class Judged(Protocol):
    """A record of a block (`dfq.post_training.reconstruction.BlockRecord`)."""

    name: str
    before: float
    after: float
    kept: bool


def too_large(blocks: Sequence[Block]) -> list[str]:
    """A sentence for each block that has more than a quarter of the multiplications and several layers."""
    total, layers = sum(map(multiplications, blocks)), sum(len(block.layers) for block in blocks)
    return [
        f"block '{block.name}' has {len(block.layers)} of the {layers} layers and "
        f"{multiplications(block) / total:.0%} of the multiplications: the network could not be cut inside it, and "
        f"layers that are fitted together come less close to the teacher"
        for block in blocks
        if layers > FEW_LAYERS and len(block.layers) > FEW_IN_BLOCK and multiplications(block) > LARGE_SHARE * total
    ]


def multiplications(block: Block) -> int:
    """Of its layers, for one image."""
    calls = [node for node in block.student.graph.nodes if str(node.target) in block.layers]
    return sum(
        prod(node.meta["tensor_meta"].shape[1:]) * block.student.get_submodule(str(node.target)).weight[0].numel()
        for node in calls
    )


def hardly_following(records: Sequence[Judged]) -> list[str]:
    """A sentence on the blocks whose output is hardly nearer to the teacher's than a constant would be."""
    left = {record.name: record.after if record.kept else record.before for record in records}
    bad = [f"'{name}' ({error:.3g})" for name, error in left.items() if not error < HARDLY]
    if not bad:
        return []
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return [
        f"{len(bad)} of {len(records)} blocks hardly follow the teacher on held-out images: {', '.join(bad[:NAMED])}"
        f"{more}; the error of a constant would be 1"
    ]
