"""The run folder: what `dfq quantize --out run/` leaves. Every file in it is whole or absent."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, fx, nn

from dfq.batch import Batch
from dfq.bias_correction import give_bias
from dfq.convert import quantize
from dfq.errors import DfqError
from dfq.files import replacing
from dfq.input_spec import InputSpec
from dfq.models.registry import build
from dfq.models.user_file import file_factory_takes_num_classes, is_file_name
from dfq.quant_layers import MATRIX_LAYERS
from dfq.scheme import Scheme
from dfq.targets import DEFAULT_TARGET
from dfq.teacher import Teacher

# 1: quantizers stood elsewhere, so that some tensors would fit and mean another student; 2: they had other names.
FORMAT = 3

MOST_OF_A_REASON = 200  # characters: torch lists every name


class RunFolder:
    """Names of the files of one run, and the way in and out of each.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.onnx, self.float_onnx = self.path / "model.onnx", self.path / "float.onnx"
        self.student, self.config = self.path / "student.safetensors", self.path / "config.json"
        self.images, self.samples = self.path / "images.safetensors", self.path / "samples.png"
        self.report, self.page = self.path / "report.json", self.path / "report.html"
        self.curve = self.path / "learning_curve.png"
        self.training, self.diversity = self.path / "training.ckpt", self.path / "diversity.png"
        self.reconstruction = self.path / "reconstruction.ckpt"
        self.mixed_precision = self.path / "mixed_precision.png"
        self.performance = self.path / "performance.json"

    def artifacts(self) -> list[Path]:
        return [value for value in vars(self).values() if isinstance(value, Path) and value != self.path]

    def prepare(self, config: dict, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder ready for a run of `config`; touches only files that a run writes.

        Raises:
            DfqError: it holds files already (and neither flag is set), it holds a run of other settings (resume), or
                it cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise DfqError(f"'{self.path}' is a file", "a folder for the results", "choose another with --out")
        occupied = self.path.is_dir() and any(self.path.iterdir())
        if resume and self.config.exists():
            self._check_same_run(config)
        elif occupied and not overwrite and not resume:
            raise DfqError(
                f"'{self.path}' is not empty",
                "a new or an empty folder, so that nothing is lost",
                "choose another with --out, go on with that run with --resume, or replace it with --overwrite",
            )
        else:
            for artifact in self.artifacts():
                artifact.unlink(missing_ok=True)
            write_json(self.config, config)

    def decide(self, **values: dict) -> None:
        """Records in `config.json` what was decided on the way; a resumed run keeps to it (`decided`)."""
        write_json(self.config, {**read_json(self.config), **values})

    def decided(self, name: str) -> dict | None:
        """What `decide` recorded under this name; None: nothing yet."""
        return read_json(self.config).get(name)

    def _check_same_run(self, config: dict) -> None:
        before = read_json(self.config)
        for part in ("scheme", "settings"):  # of runs from before there were targets
            if "target" in config.get(part, {}):
                before.setdefault(part, {}).setdefault("target", DEFAULT_TARGET)
        if "mixed_precision" in before:  # these widths were not asked for but chosen on the way
            before["scheme"]["weight_overrides"] = {}
        changed = [key for key in config if before.get(key) != json.loads(json.dumps(config[key]))]
        if changed:
            raise DfqError(
                f"'{self.path}' holds a run with other {', '.join(changed)}",
                "the same model and settings to go on with",
                "repeat the first command's options with --resume, or start afresh with --overwrite",
            )

    def save_images(self, batch: Batch, input_spec: InputSpec) -> None:
        """Pixels as uint8 (N, C, H, W) under 'images', labels as int64 (N,) under 'labels'."""
        tensors = {"images": (input_spec.to_pixels(batch.images.cpu()) * 255).round().to(torch.uint8).contiguous()}
        if batch.labels is not None:
            tensors["labels"] = batch.labels.cpu()
        save_tensors(self.images, tensors, {"input_spec": json.dumps(input_spec.to_dict())})

    def load_images(self, input_spec: InputSpec, device: torch.device) -> Batch:
        """The saved images, normalised again: bit for bit those that were used, whose pixels have 8 bits."""
        tensors = load_tensors(self.images)
        images = input_spec.normalize(tensors["images"].to(device).float() / 255)
        labels = tensors.get("labels")
        return Batch(images, None if labels is None else labels.to(device))

    def save_student(self, student: nn.Module) -> None:
        save_tensors(self.student, {n: t.detach().cpu().contiguous() for n, t in student.state_dict().items()}, {})

    def remove_scratch(self) -> None:
        self.training.unlink(missing_ok=True)
        self.reconstruction.unlink(missing_ok=True)


def load_run(folder: str | Path, *, arch: str | None = None, model: nn.Module | None = None) -> fx.GraphModule:
    """The quantized student of a run folder, bit for bit, in evaluation mode on the CPU (also `dfq.load`).

    Args:
        arch: the architecture, where the run's own is a Python file, which is not executed unless named here.
        model: a network of the run's architecture, where it was quantized from Python; its weights are not used.

    Raises:
        DfqError: not a run folder, a damaged file, or an architecture that cannot be built from its name.
    """
    run = RunFolder(folder)
    config = read_json(run.config)
    if config.get("kind") == "distilled":
        raise DfqError(
            f"'{run.path}' holds a distilled network in floating point",
            "a folder of `dfq quantize`",
            f"{run.path}/student.pt is an ordinary checkpoint: dfq quantize {run.path}/student.pt",
        )
    if config.get("format") != FORMAT:
        raise DfqError(
            f"'{run.path}' is a run folder of format {config.get('format')}",
            f"format {FORMAT}, which this version of dfq reads and writes",
            "quantize again; the folder's model.onnx stays valid",
        )
    network = model if model is not None else _build(config, arch)
    teacher = Teacher(network, InputSpec.from_dict(config["input_spec"]))
    student = quantize(teacher, Scheme(**config["scheme"]))
    tensors = load_tensors(run.student)
    for name, layer in student.named_modules():  # bias correction gives one to layers that had none
        if isinstance(layer, MATRIX_LAYERS) and layer.bias is None and f"{name}.bias" in tensors:
            give_bias(layer)
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DfqError(
            f"'{run.student}' does not fit the network: {reason[:MOST_OF_A_REASON]}",
            "the run's own architecture",
            "check --arch",
        ) from error
    return student.eval().requires_grad_(False)


def _build(config: dict, arch: str | None) -> nn.Module:
    recorded = config["arch"]
    if arch is None and (recorded is None or ".py:" in recorded or recorded.startswith("pickle/")):
        raise DfqError(
            f"a run whose architecture is {recorded or 'a Python object'}",
            "the network's code, which a run folder may not bring along",
            "name it: --arch path/to/net.py:factory, or dfq.load(folder, model=network)",
        )
    arch = arch or recorded
    is_fixed = is_file_name(arch) and not file_factory_takes_num_classes(arch)
    return build(arch, None if is_fixed else config["num_classes"])


def write_json(path: Path, values: dict | list) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DfqError(f"no '{path}'", "a folder that `dfq quantize` wrote", "check the path") from error
    except (OSError, ValueError) as error:
        raise DfqError(f"'{path}' cannot be read: {error}", "the file as dfq wrote it", "repeat the run") from error


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise DfqError(f"no '{path}'", "a folder that `dfq quantize` wrote", "check the path") from error
    except (OSError, SafetensorError) as error:
        raise DfqError(f"'{path}' cannot be read: {error}", "the file as dfq wrote it", "repeat the run") from error
