"""What is kept of a block while it is fitted, so that a killed run goes on within it."""

import torch

from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, StateFile


class UnfinishedBlock:
    """The learned parameters of a block, its optimizer, and both sources of random numbers.

    Args:
        file: The file in which they are kept; it may be that of an earlier block, which is ignored.
        identity: Name of the block, and the seed that was drawn for it.
        optimizer: The optimizer, whose parameters are all that is learned.
        generator: Source of the batches. What is dropped comes from torch's own generator.
    """

    def __init__(
        self, file: StateFile, identity: tuple[str, int], optimizer: torch.optim.Optimizer, generator: torch.Generator
    ):
        self.file, self.identity, self.optimizer, self.generator = file, identity, optimizer, generator
        self.learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def save_if_due(self, step: int) -> None:
        """Saves the state before an iteration, unless that was done a short while ago."""
        self.file.save_if_due(
            lambda: {
                "block": self.identity,
                "step": step,
                "learned": [parameter.detach() for parameter in self.learned],
                "optimizer": self.optimizer.state_dict(),
                "generator": self.generator.get_state(),
                "torch_generator": torch.get_rng_state(),
            }
        )

    @torch.no_grad()
    def resume(self) -> int:
        """Takes over what a killed run has kept of this block; returns the number of its iterations, else 0."""
        state = self.file.load(self.learned[0].device)
        if state is None or self.file.path is None:
            return 0
        with reading(self.file.path, way_out=AFRESH):
            if tuple(state["block"]) != self.identity:
                return 0
            for parameter, found in zip(self.learned, state["learned"], strict=True):
                if parameter.shape != found.shape:
                    raise ValueError(f"a tensor of shape {tuple(found.shape)} in place of {tuple(parameter.shape)}")
                parameter.copy_(found)
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"].cpu())
            torch.set_rng_state(state["torch_generator"].cpu())
            return int(state["step"])
