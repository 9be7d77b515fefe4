"""Makes a set of synthetic images ahead of the benchmark that needs it.

    python -m benchmarks.common.image_sets --data ../shared/data --net resnet56 --count 128 [--threads N]

Several cells of a benchmark share a set. It is made once for a network, a recipe and a seed, and then kept.
"""

import hashlib
from pathlib import Path

import click
import torch
from torch import fx

from benchmarks.common.nets import NETS, Data
from benchmarks.common.options import data_option, threads_option
from dfq.calibration import METHODS, Method
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.results.run_folder import RunFolder
from dfq.teacher import Teacher

WORK = Path("benchmarks/work/images")  # not under version control
PLAUSIBLE = METHODS["zeroq-kd"]  # its images are those of `reconstruct`, too


def image_set(
    teacher: Teacher,
    net: str,
    count: int,
    *,
    seed: int = 0,
    method: Method = PLAUSIBLE,
    against: tuple[str, fx.GraphModule] | None = None,
) -> Batch:
    """Returns `count` images of the method's synthesizer, read from their file where they were made before.

    Args:
        teacher: The network that the images are made for.
        net: The name of that network.
        count: The number of images.
        seed: The seed of the synthesizer.
        method: The method whose synthesizer makes the images.
        against: A name for the file, and the student that the images are made against, where the method does that.
    """
    recipe = hashlib.sha256(repr(method.synthesizer.args).encode()).hexdigest()[:8]  # type: ignore[attr-defined]
    name = f"{net}-{method.name}-{recipe}-{count}-seed{seed}"
    folder = RunFolder(WORK / (f"{name}-against-{against[0]}" if against else name))
    if not folder.images.exists():
        folder.path.mkdir(parents=True, exist_ok=True)
        synthesizer = Settings(method=method, seed=seed).make_synthesizer(teacher)
        if against:
            synthesizer.update(against[1])
        folder.save_images(synthesizer.sample(count), teacher.input_spec)
    return folder.load_images(teacher.input_spec, teacher.device)


@click.command()
@data_option(what="checkpoints")
@click.option("--net", type=click.Choice(list(NETS)), required=True, help="Make images for this network.")
@click.option("--count", type=int, required=True, help="Make that many images.")
@click.option("--seed", default=0, show_default=True, help="Start the random numbers from this seed.")
@threads_option
def main(data: Path, net: str, count: int, seed: int, threads: int) -> None:
    """Makes a set of synthetic images for a network and keeps it for the benchmarks that need it."""
    torch.set_num_threads(threads)
    teacher = Data(data).teacher(net)
    print(len(image_set(teacher, net, count, seed=seed)), "images of", net)


if __name__ == "__main__":
    main()
