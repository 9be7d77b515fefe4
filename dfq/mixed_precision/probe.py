"""`Probe` runs a network of which one weight, or one tensor that matrix layers read, is rounded at a time."""

import copy
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from dfq.errors import DfqError
from dfq.graph.outputs import Outputs
from dfq.mixed_precision.places import Place
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.system.progress import Task
from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, StateFile
from dfq.teacher import Teacher
from dfq.training.output_losses import output_divergence
from dfq.training.settings import TrainSettings

Grids = Mapping[Place, Mapping[int, FakeQuantize]]


class Probe(fx.Interpreter):
    """Runs a network once per batch, and from each place on once more with each of its grids.

    What precedes the place is thus computed once, which halves the work.

    Args:
        teacher: The network; it says how answers are compared.
        network: The copy of its graph that the places are in.
        grids: Place → bits → the fitted grid.
        task: What is told of each probe.
        path: The file that keeps what was measured, from which a killed run goes on; None: nothing is kept.

    Attributes:
        sums: Place → bits → divergence of the answers, summed over images, in nats.
        batches: Number of batches that were compared.
        images: Number of images in them.
    """

    def __init__(self, teacher: Teacher, network: fx.GraphModule, grids: Grids, task: Task, path: Path | None = None):
        super().__init__(network)
        self.teacher, self.grids, self.task, self.file = teacher, grids, task, StateFile(path)
        self.sums = {place: dict.fromkeys(widths, 0.0) for place, widths in grids.items()}
        self.batches, self.images = 0, 0
        self.probed: set[Place] = set()  # those of the batch that is compared now
        self.nodes: list[fx.Node] = list(network.graph.nodes)
        self.starts = {place.start: place for place in grids}

    def compare(self, images: Tensor) -> None:
        """Adds the divergences on `images` (N, C, H, W) to `sums`, without those that `resume` took over.

        Raises:
            DfqError: Answers are not finite.
        """
        self.expected, self.count = fx.Interpreter(self.module).run(images), len(images)
        self.run(images)
        self.batches, self.images, self.probed = self.batches + 1, self.images + self.count, set()
        self.file.save_if_due(self._state)

    def resume(self) -> None:
        """Takes over what a killed run has measured on the same images, if there is anything.

        Raises:
            DfqError: The file is damaged.
        """
        state = self.file.load(self.teacher.device)
        if state is None or self.file.path is None:
            return
        with reading(self.file.path, way_out=AFRESH):
            self._take_over(state)
        finished = sum(map(len, self.sums.values())) * self.batches
        self.task.advance(finished + sum(len(self.sums[place]) for place in self.probed))

    def run_node(self, n: fx.Node) -> Any:
        place = self.starts.get(n)
        if place is not None and place not in self.probed:
            found = {bits: self._divergence(n, place, bits) for bits in self.grids[place]}
            for bits, divergence in found.items():
                self.sums[place][bits] += divergence
            self.probed.add(place)
            self.file.save_if_due(self._state)
        return super().run_node(n)

    def _divergence(self, start: fx.Node, place: Place, bits: int) -> float:
        """Returns the divergence of the answers with one grid, summed over the images of the batch, in nats."""
        with place.rounding(self.grids[place][bits]):
            outputs = self._rest(start)
        mean = output_divergence(self.teacher, outputs, self.expected, TrainSettings.selection_temperature)
        if not torch.isfinite(mean):
            found = f"answers that are not finite with {place.name} at {bits} bits"
            raise DfqError(found, "finite logits", exit_code=1)
        self.task.advance(1, divergence=float(mean))
        return max(float(mean), 0.0) * self.count  # Rounding can make a zero negative.

    def _rest(self, start: fx.Node) -> Outputs:
        """Returns the outputs from copies of the values that are alive now: layers may work in place."""
        alive: dict[fx.Node, Any] = self.env
        output: Any = None
        self.env = dict(zip(alive, copy.deepcopy(list(alive.values())), strict=True))
        for node in self.nodes[self.nodes.index(start) :]:
            output = self.env[node] = super().run_node(node)
            for spent in self.user_to_last_uses.get(node, ()):
                del self.env[spent]
        self.env = alive
        return output

    def _state(self) -> dict:
        """Returns what `resume` goes on from; places are numbered in the order of `sums`."""
        order = list(self.sums)
        return {
            "batches": self.batches,
            "images": self.images,
            "probed": sorted(order.index(place) for place in self.probed),
            "sums": [dict(widths) for widths in self.sums.values()],
        }

    def _take_over(self, state: dict) -> None:
        """Takes over what `_state` returned; raises `ValueError` where it is that of other places or widths."""
        if [set(widths) for widths in state["sums"]] != [set(widths) for widths in self.sums.values()]:
            raise ValueError("it holds the sensitivities of other layers or widths")
        if not all(isfinite(total) for widths in state["sums"] for total in widths.values()):
            raise ValueError("it holds sensitivities that are no finite numbers")
        order = list(self.sums)
        self.sums = dict(zip(order, map(dict, state["sums"]), strict=True))
        self.batches, self.images = int(state["batches"]), int(state["images"])
        self.probed = {order[int(number)] for number in state["probed"]}
