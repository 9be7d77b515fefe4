"""Synthetic images that several cells of a benchmark share: made once for a network, a recipe and a seed, then kept.

    python benchmarks/image_sets.py --data ../shared/data --net resnet56 --count 128 [--threads N]

makes one set ahead of the benchmark that needs it.
"""

import hashlib
from pathlib import Path

import click
import torch
from nets import NETS, Data
from torch import fx

from dfq.calibration import METHODS, Method
from dfq.images.batch import Batch
from dfq.jobs.quantize.settings import Settings
from dfq.results.run_folder import RunFolder
from dfq.teacher import Teacher

WORK = Path("benchmarks/work/images")  # not under version control
PLAUSIBLE = METHODS["zeroq-kd"]  # the images of `reconstruct`, too


def image_set(
    teacher: Teacher,
    net: str,
    count: int,
    *,
    seed: int = 0,
    method: Method = PLAUSIBLE,
    against: tuple[str, fx.GraphModule] | None = None,
) -> Batch:
    """`count` images of the method's synthesizer; read where they were made before.

    Args:
        against: (name for the file, student) that the images are made against, where the method does that.
    """
    recipe = hashlib.sha256(repr(method.synthesizer.args).encode()).hexdigest()[:8]  # type: ignore[attr-defined]
    name = f"{net}-{method.name}-{recipe}-{count}-seed{seed}"
    folder = RunFolder(WORK / (f"{name}-against-{against[0]}" if against else name))
    if not folder.images.exists():
        folder.path.mkdir(parents=True, exist_ok=True)
        synthesizer = Settings(method=method, seed=seed).make_synthesizer(teacher, None, None)
        if against:
            synthesizer.update(against[1])
        folder.save_images(synthesizer.sample(count), teacher.input_spec)
    return folder.load_images(teacher.input_spec, teacher.device)


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--net", type=click.Choice(list(NETS)), required=True)
@click.option("--count", type=int, required=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(data: Path, net: str, count: int, seed: int, threads: int) -> None:
    torch.set_num_threads(threads)
    teacher = Data(data).teacher(net)
    print(len(image_set(teacher, net, count, seed=seed)), "images of", net)


if __name__ == "__main__":
    main()
