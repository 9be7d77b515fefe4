"""Trains the teachers without BatchNorm, and stores them: they are distilled from ResNet-56 on real images.

    python -m benchmarks.teachers.run --data ../shared/data

This is the only place of the benchmarks where a network learns from real images on purpose: it makes the networks that
data-free work then starts from, which sees no real image. The last iterate is stored. A run that was stopped goes on
from its last epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from timm.layers import set_fused_attn
from torch import Tensor, nn
from torch.nn.functional import batch_norm, mse_loss

from benchmarks.common.cells import read_rows
from benchmarks.common.nets import Data, accuracy_on
from benchmarks.common.options import data_option, only_option, out_option, threads_option
from benchmarks.teachers import networks
from dfq.checkpoint.save import save_checkpoint
from dfq.images.augment import Augment
from dfq.images.mixtures import Mix
from dfq.results.report import hardware, versions
from dfq.results.stored_files import write_json
from dfq.system.compute_dtype import fast_autocast
from dfq.teacher import Teacher
from dfq.training.losses import knowledge_distillation
from dfq.training.optimizer_steps import set_learning_rates, step_if_finite

TEACHER = "resnet56"
FOLDER = Path("benchmarks/teachers")
WORK = Path("benchmarks/work")
STUDENTS: dict[str, Callable[..., nn.Module]] = {
    "compact_vit": networks.compact_vit,
    "compact_convnext": networks.compact_convnext,
}
MAPS = {"compact_vit": "norm", "compact_convnext": "stages.2"}  # whose output has 8×8 positions, as the teacher's maps


@dataclass(frozen=True, kw_only=True)
class TeacherTraining:
    """How a teacher without BatchNorm is trained.

    Attributes:
        epochs: Number of passes over the images.
        batch: Number of images in a step.
        rate: First learning rate of AdamW after the warm-up; it falls to 0 by a cosine.
        warm_up: Number of epochs in which the learning rate rises from 0.
        decay: Weight decay of weights; biases, norms and tokens have none.
        temperature: Temperature of both softmaxes.
        drop_path: Largest probability that a residual branch is left out.
        max_norm: Largest L2 norm of a gradient.
        maps: Weight of the squared distance to ResNet-56's last feature maps, beside that of the answers.
        seed: Seed of everything that is random.
    """

    epochs: int = 36
    batch: int = 128
    rate: float = 2e-3
    warm_up: int = 2
    decay: float = 0.05
    temperature: float = 2.0
    drop_path: float = 0.05
    max_norm: float = 1.0
    maps: float = 5.0
    seed: int = 0


class Mapped(nn.Module):
    """A network with a projection of one of its layers onto the teacher's last maps, which are (N, 64, 8, 8).

    Args:
        network: The network.
        layer: Name of the layer, which gives maps (N, C, 8, 8) or tokens (N, 1 + 64, C).
    """

    width = 128  # channels of either layer
    channels = 64
    side = 8

    def __init__(self, network: nn.Module, layer: str):
        super().__init__()
        self.network, self._seen = network, {}
        network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: self._seen.update(y=output))
        self.projection = nn.Conv2d(self.width, self.channels, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, found = self.network(images), self._seen.pop("y")
        if found.dim() == 3:
            found = found[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        return logits, self.projection(found)


@click.command()
@data_option()
@out_option("teachers.json")
@only_option
@threads_option
@click.option("--epochs", default=TeacherTraining.epochs, show_default=True, help="Pass over the images that often.")
def main(data: Path, out: Path, only: str, threads: int, epochs: int) -> None:
    """Trains and stores the teachers that are missing."""
    torch.set_num_threads(threads)
    set_fused_attn(enable=False)  # On CPUs, the fused kernel takes twice the time to train in bfloat16.
    source = Data(data)
    for name in STUDENTS:
        if only not in name or any(row["net"] == name for row in read_rows(out)):
            continue
        row = train(name, source, TeacherTraining(epochs=epochs))
        write_json(out, [*read_rows(out), row])
        click.echo(f"{name}: {row['accuracy']:.1%} on {row['test_images']} test images")


def train(name: str, data: Data, settings: TeacherTraining) -> dict:
    """Trains and stores one teacher, and returns its row."""
    teacher = data.teacher(TEACHER)
    pixels = np.load(data.folder / "cifar10/train_10000.npz", allow_pickle=False)["images"]
    torch.manual_seed(settings.seed)
    network = STUDENTS[name](drop_path=settings.drop_path).to(memory_format=torch.channels_last)
    student = Mapped(network, MAPS[name])
    _fit(student, teacher, torch.from_numpy(pixels).permute(0, 3, 1, 2), settings, WORK / f"{name}.pt")
    final = STUDENTS[name]()
    final.load_state_dict(student.network.state_dict())
    path = FOLDER / f"{name}.pt"
    save_checkpoint(path, final, f"{FOLDER}/networks.py:{name}", teacher.input_spec)
    labelled = data.labelled(TEACHER, teacher)
    accuracy = accuracy_on(labelled, teacher)
    return {
        "net": name,
        "accuracy": accuracy(final.eval()),
        "accuracy_of_resnet56": accuracy(teacher.model),
        "test_images": len(labelled.labels),
        "parameters": sum(p.numel() for p in final.parameters()),
        "bytes": path.stat().st_size,
        "settings": settings.__dict__,
        "versions": versions(),
        "hardware": hardware(teacher.device),
    }


def _fit(network: nn.Module, teacher: Teacher, pixels: Tensor, settings: TeacherTraining, stored: Path) -> None:
    flat = [p for p in network.parameters() if p.ndim < 2 or p.shape[0] == 1]
    others = [p for p in network.parameters() if not (p.ndim < 2 or p.shape[0] == 1)]
    groups = [{"params": others, "weight_decay": settings.decay}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.rate)
    first = 0
    if stored.exists():
        state = torch.load(stored, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    for epoch in range(first, settings.epochs):
        loss = _epoch(epoch, network, teacher, pixels, optimizer, settings)
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        stored.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, stored)
        click.echo(f"epoch {epoch + 1} of {settings.epochs}: loss {loss:.3f}")


def _epoch(
    epoch: int, network: nn.Module, teacher: Teacher, pixels: Tensor, optimizer: torch.optim.Optimizer,
    settings: TeacherTraining,
) -> float:  # fmt: skip
    """Passes once over the images and returns the mean loss; what is random depends on the seed and the epoch only."""
    torch.manual_seed(settings.seed + 1 + epoch)
    generator = torch.Generator().manual_seed(settings.seed + 1 + epoch)
    network.train()
    order = torch.randperm(len(pixels), generator=generator)
    batches = [part for part in order.split(settings.batch) if len(part) == settings.batch]
    losses = []
    for step, picked in enumerate(batches):
        done = (epoch + step / len(batches)) / settings.epochs
        rise = min((epoch + (step + 1) / len(batches)) / settings.warm_up, 1.0)
        set_learning_rates(optimizer, [settings.rate * rise] * 2, done)
        images = _varied(pixels[picked], teacher, generator)
        with fast_autocast(teacher.device):
            with torch.no_grad():
                wanted = teacher.features(images)
            logits, maps = network(images)
        loss = settings.maps * mse_loss(_standardized(maps.float()), _standardized(wanted.stages[-1].float()))
        loss = loss + knowledge_distillation(logits, wanted.logits, settings.temperature)
        step_if_finite(optimizer, loss, network.parameters(), max_norm=settings.max_norm)
        losses.append(loss.item())
    return sum(losses) / len(losses)


def _standardized(maps: Tensor) -> Tensor:
    """Returns maps (N, C, H, W) whose channels have mean 0 and deviation 1 on the batch."""
    return batch_norm(maps, None, None, training=True)


def _varied(pixels: Tensor, teacher: Teacher, generator: torch.Generator) -> Tensor:
    """Returns normalised images: shifted and mirrored, a third of them blended, and another third patched."""
    images = Augment(shift=4)(pixels.float() / 255, generator)
    images = images[torch.randperm(len(images), generator=generator)]
    images = Mix(blended=1 / 3, patched=1 / 3)(images, generator)
    return teacher.input_spec.normalize(images).contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
