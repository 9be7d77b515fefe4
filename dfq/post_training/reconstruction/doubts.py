"""What a person should know about a reconstruction: blocks that are too large, or that hardly follow the teacher."""

from collections.abc import Sequence
from math import prod
from typing import Protocol

from dfq.post_training.reconstruction.blocks import Block
from dfq.post_training.reconstruction.settings import DoubtSettings

NAMED = 3  # The number of blocks that one sentence names.


class Judged(Protocol):
    """A record of a block (`dfq.post_training.reconstruction.BlockRecord`)."""

    name: str
    before: float
    after: float
    kept: bool


def too_large(blocks: Sequence[Block], settings: DoubtSettings = DoubtSettings()) -> list[str]:
    """Returns a sentence for each block with several layers and a large share of the multiplications."""
    total, layers = sum(map(multiplications, blocks)), sum(len(block.layers) for block in blocks)
    if layers <= settings.few_layers:
        return []
    return [
        f"block '{block.name}' has {len(block.layers)} of the {layers} layers and "
        f"{multiplications(block) / total:.0%} of the multiplications: the network could not be cut inside it, and "
        f"layers that are fitted together come less close to the teacher"
        for block in blocks
        if len(block.layers) > settings.few_in_block and multiplications(block) > settings.large_share * total
    ]


def multiplications(block: Block) -> int:
    """Returns the number of multiplications of a block's layers for one image."""
    calls = [node for node in block.student.graph.nodes if str(node.target) in block.layers]
    return sum(
        prod(node.meta["tensor_meta"].shape[1:]) * block.student.get_submodule(str(node.target)).weight[0].numel()
        for node in calls
    )


def hardly_following(records: Sequence[Judged], settings: DoubtSettings = DoubtSettings()) -> list[str]:
    """Returns a sentence on the blocks whose output is hardly nearer to the teacher's than a constant would be."""
    left = [(record.name, record.after if record.kept else record.before) for record in records]
    bad = [f"'{name}' ({error:.3g})" for name, error in left if not error < settings.hardly]
    if not bad:
        return []
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return [
        f"{len(bad)} of {len(records)} blocks hardly follow the teacher on held-out images: {', '.join(bad[:NAMED])}"
        f"{more}; the error of a constant would be 1"
    ]
