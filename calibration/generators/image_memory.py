"""`Fifo`: a bounded memory, first in, first out."""

import torch
from torch import Tensor


class Fifo:
    """The newest `capacity` rows of all that were pushed, the oldest first, detached from any graph.

    A push may have any number of rows, and the capacity need not be a multiple of it.

    Attributes:
        capacity: Largest number of rows that are kept.
        rows: Rows (n, …), n ≤ capacity; None before the first push.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.rows: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    def push(self, rows: Tensor) -> None:
        """Adds rows (m, …), and forgets the oldest ones beyond the capacity."""
        joined = rows.detach() if self.rows is None else torch.cat([self.rows, rows.detach()])
        self.rows = joined[-self.capacity :].clone()  # A view would keep the forgotten rows in memory.

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Returns `count` rows that are drawn at random with replacement; at least one row must have been pushed."""
        assert self.rows is not None
        index = torch.randint(len(self.rows), (count,), generator=generator)
        return self.rows[index.to(self.rows.device)]

    def state_dict(self) -> dict:
        return {"rows": self.rows}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]
