"""Settings of block reconstruction: how a block is fitted, and how the blocks of a network are."""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, kw_only=True)
class LearnedRoundingSettings:
    """Settings of learned rounding (AdaRound).

    Attributes:
        lowest: Lower end of the sigmoid after it is stretched, below 0, so that it reaches 0.
        highest: Upper end of the sigmoid after it is stretched, above 1, so that it reaches 1.
        in_cell: Largest distance of a latent weight from its grid point, in steps of the grid. Below one half, it still
            rounds to that point.
    """

    lowest: float = -0.1
    highest: float = 1.1
    in_cell: float = 0.49


@dataclass(frozen=True, kw_only=True)
class LeastSquaresSettings:
    """Settings of the fit of weights and biases by least squares.

    Attributes:
        ridge: Ridge that holds the weight where it is, as a part of the mean variance of an input. Synthetic images do
            not have the exact statistics of real ones.
        examples: Approximate number of positions of maps that a layer is fitted to.
        min_images: Smallest number of images that they come from.
        max_images: Largest number of images that they come from.
    """

    ridge: float = 0.5
    examples: int = 2**15
    min_images: int = 32
    max_images: int = 256


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a block is fitted (BRECQ, ICLR 2021, with AdaRound and QDrop).

    Attributes:
        iterations: Number of iterations for each block; published: 20,000 on a GPU.
        batch_size: Largest number of images per iteration.
        positions: Largest number of positions of a block's largest map per iteration, but one image at least. Each is
            an example of its own and costs as much as any: 8 images up to 16×16, 4 of 32×32, 1 from 64×64 on.
            Published: 32 images, which is what a GPU gets (`on`).
        gpu_batch_size: Smallest value of `batch_size` on a GPU.
        gpu_positions: Smallest value of `positions` on a GPU.
        rounding_rate: Learning rate of Adam for v at the published iterations. Fewer iterations, by setting or because
            time runs out, take proportionally larger steps, since v must travel the same way.
        published_iterations: Number of iterations that `rounding_rate` is meant for.
        max_haste: Largest factor on `rounding_rate` where there are fewer iterations.
        scale_rate: Learning rate of Adam for the weights' scales, relative to each scale. It falls to 0 by a cosine;
            0: the scales stay.
        step_rate: Learning rate of Adam for the scales of activations, relative to each scale. It falls to 0 by a
            cosine; 0: the scales stay.
        rounding_weight: Weight, at the start, of the mean of 1 − |2h − 1|^β over all weights. Its unit is what rounding
            each weight to the nearest grid point adds to the squared error. Published is one λ = 0.01 for the sum, of
            plain errors: that is a weight of 50 to 1500 in ResNet-20, but 0.04 to 30 in most of MobileNetV2, where
            roundings then stay undecided until the last step rounds them to the nearest.
        min_cost: Lower bound of that unit, as a part of the error, because errors of weights and activations may cancel
            by chance.
        judged: Number of images that this unit is measured on.
        warm_up: Share of the iterations without the term of `rounding_weight`.
        sharpness: Value of β at the end of the warm-up and at the end.
        least_squares: Whether a block's weights and biases are first fitted to its quantized inputs
            (`fit_least_squares`).
        bias_rate: Learning rate of Adam for biases, relative to their mean size in the layer. It falls to 0 by a
            cosine; 0: the biases stay.
        drop: Probability that an element of an activation, or of the block's input, is left unquantized.
        learned_rounding: Settings of learned rounding.
        least_squares_fit: Settings of the fit by least squares.
    """

    iterations: int = 1000
    batch_size: int = 8
    positions: int = 2**12
    gpu_batch_size: int = 32
    gpu_positions: int = 2**17
    rounding_rate: float = 1e-3
    published_iterations: int = 20_000
    max_haste: float = 30.0
    scale_rate: float = 1e-3
    step_rate: float = 1e-3
    rounding_weight: float = 100.0
    min_cost: float = 0.01
    judged: int = 32
    warm_up: float = 0.2
    sharpness: tuple[float, float] = (20.0, 2.0)
    least_squares: bool = True
    bias_rate: float = 0.02
    drop: float = 0.5
    learned_rounding: LearnedRoundingSettings = LearnedRoundingSettings()
    least_squares_fit: LeastSquaresSettings = LeastSquaresSettings()

    def on(self, device: torch.device) -> "FitSettings":
        """Returns the settings for `device`: a GPU starts operations no faster on a few images than on many."""
        if device.type != "cuda":
            return self
        batch_size, positions = max(self.batch_size, self.gpu_batch_size), max(self.positions, self.gpu_positions)
        return replace(self, batch_size=batch_size, positions=positions)

    def haste(self, iterations: float) -> float:
        """Returns how much larger than published the steps of v are if a block gets that many iterations."""
        return min(max(self.published_iterations / iterations, 1.0), self.max_haste)


@dataclass(frozen=True, kw_only=True)
class StoreSettings:
    """Settings of the stores of a block's inputs and targets.

    Attributes:
        memory_limit: Largest size of one store in the memory of a CPU, in bytes.
        gpu_share: Largest share of a GPU's free memory for one store. Four stores and a fitted block are there at once,
            and two more for each skip tensor.
        batch_size: Number of images in one pass through a block.
    """

    memory_limit: int = 2 * 2**30
    gpu_share: float = 0.2
    batch_size: int = 32


@dataclass(frozen=True, kw_only=True)
class DoubtSettings:
    """When a person is told of a block.

    Attributes:
        large_share: Share of the network's multiplications beyond which a block is too large.
        few_layers: Number of layers up to which a network cannot be cut much further anyway.
        few_in_block: Number of layers up to which a block cannot be cut much further anyway.
        hardly: Error, as a part of the variance of the teacher's output, from which on a block hardly follows the
            teacher. The error of a constant is 1.0.
    """

    large_share: float = 0.25
    few_layers: int = 8
    few_in_block: int = 2
    hardly: float = 0.9


@dataclass(frozen=True, kw_only=True)
class ReconstructionSettings:
    """How the blocks of a network are cut, judged and stored, whatever each of them is fitted with.

    Attributes:
        max_layers: Largest number of layers of a module that counts as one block. Larger ones, such as a whole encoder,
            are cut inside.
        recombined_within: Largest number of layers between the tensor in which two paths part and the one in which
            they meet again up to which the paths stay in one block, such as the sides of a residual sum. It is the
            number of layers of an inverted residual with squeeze-and-excitation.
        held_out: Number of images of which one is held out. It is never fitted on, and tells whether a block got
            better.
        value_cost: Cost of moving one value, in multiplications. Blocks share a time budget by their cost.
        store: Settings of the stores of inputs and targets.
        doubts: When a person is told of a block.
    """

    max_layers: int = 12
    recombined_within: int = 5
    held_out: int = 8
    value_cost: int = 16
    store: StoreSettings = StoreSettings()
    doubts: DoubtSettings = DoubtSettings()
