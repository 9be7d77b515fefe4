"""The run folder that `dfq quantize --out run/` leaves behind. Every file in it is whole or absent."""

import json
from pathlib import Path

import torch
from torch import nn

from dfq.errors import DfqError
from dfq.export import ExportedFiles
from dfq.graph.file_interface import FileInterface
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.images.stored import check_stored
from dfq.quantizers.targets import DEFAULT_TARGET
from dfq.results.stored_files import load_tensors, read_json, save_tensors, write_json
from dfq.system.atomic_files import remove_leftovers
from dfq.system.content_hash import digest_of_tensors
from dfq.system.output_paths import check_folder
from dfq.system.reading import reading
from dfq.system.state_file import AFRESH, part_of
from dfq.system.torch_file import check_torch_file

# In format 1, quantizers stood at other places, so that some tensors would fit and mean another student. In format 2,
# they had other names. In format 3, networks with a class token had other widths, and attention had no quantizers.
FORMAT = 4
CARD_MARK = "<!-- dfq wrote this card, and the next run in this folder replaces it. -->"
# Values of `config.json` that older runs of this format lack, and what they stand for there.
ADDED: dict[str, dict] = {
    "scheme": {"target": DEFAULT_TARGET, "activation_overrides": {}},
    "settings": {"target": DEFAULT_TARGET, "target_bops": None},
}


class RunFolder:
    """The names of the files of one run, and what reads and writes them.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.onnx, self.float_onnx = self.path / "model.onnx", self.path / "float.onnx"
        self.student, self.config = self.path / "student.safetensors", self.path / "config.json"
        self.images, self.samples = self.path / "images.safetensors", self.path / "samples.png"
        self.report, self.page = self.path / "report.json", self.path / "report.html"
        self.curve = self.path / "learning_curve.png"
        self.training, self.diversity = self.path / "training.ckpt", self.path / "diversity.png"
        self.synthesis, self.start = self.path / "synthesis.ckpt", self.path / "start.ckpt"
        self.reconstruction, self.widths = self.path / "reconstruction.ckpt", self.path / "widths.ckpt"
        self.block = part_of(self.reconstruction, "block")
        self.mixed_precision = self.path / "mixed_precision.png"
        self.clock = self.path / "clock.ckpt"
        self.performance = self.path / "performance.json"
        self.source = self.path / "source.onnx"

    @property
    def card(self) -> Path:
        """The model card. It has the name of a file that a user may have written (`card_is_ours`)."""
        return self.path / "README.md"

    @property
    def card_is_ours(self) -> bool:
        """Whether a run wrote the card that is there."""
        return self.card.is_file() and CARD_MARK in self.card.read_text(encoding="utf-8", errors="replace")

    def artifacts(self) -> list[Path]:
        return [value for value in vars(self).values() if isinstance(value, Path) and value != self.path]

    def prepare(self, config: dict, *, resume: bool, overwrite: bool) -> None:
        """Makes the folder ready for a run of `config`; changes only what runs write.

        Raises:
            DfqError: The folder is not empty and neither flag is set, it holds a run with other settings (`resume`), or
                it cannot be written to.
        """
        check_folder(self.path, overwrite=overwrite, resume=resume)
        remove_leftovers(self.artifacts())
        if resume and self.config.exists():
            self._check_same_run(config)
            for state in self.scratch():
                if state.exists():
                    with reading(state, way_out=AFRESH):
                        check_torch_file(state)
        else:
            for artifact in self.artifacts():
                artifact.unlink(missing_ok=True)
            if self.card_is_ours:
                self.card.unlink()
            write_json(self.config, config)

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished; the report is written last."""
        return self.report.exists()

    @property
    def files(self) -> ExportedFiles:
        """The student's file and the teacher's."""
        return ExportedFiles(self.onnx, self.float_onnx)

    def decide(self, **values: dict | str) -> None:
        """Records in `config.json` what was decided during the run; a resumed run keeps to it (`decided`)."""
        write_json(self.config, {**read_json(self.config), **values})

    def decided(self, name: str) -> dict | None:
        """Returns what `decide` recorded under this name; None where there is nothing yet."""
        return read_json(self.config).get(name)

    def _check_same_run(self, config: dict) -> None:
        before = read_json(self.config)
        for part, added in ADDED.items():
            for name, value in added.items():
                if name in config.get(part, {}):
                    before.setdefault(part, {}).setdefault(name, value)
        if "mixed_precision" in before:  # These widths were chosen during the run and not asked for.
            before["scheme"] |= {"weight_overrides": {}, "activation_overrides": {}}
        before.setdefault("file_interface", config.get("file_interface"))  # Older runs have the default names.
        before["file_interface"] = (
            before["file_interface"] and FileInterface.from_dict(before["file_interface"]).to_dict()
        )
        for part in ("network", "outputs", "is_classifier", "source"):  # Older runs have no record of these.
            before.setdefault(part, config.get(part))
        changed = [key for key in config if before.get(key) != json.loads(json.dumps(config[key]))]
        if changed:
            raise DfqError(
                f"'{self.path}' holds a run with other {', '.join(changed)}",
                "the same model and settings, to continue that run",
                "repeat the options of the first command with --resume, or start afresh with --overwrite",
            )

    def save_images(self, batch: Batch, input_spec: InputSpec) -> None:
        """Saves pixels as uint8 (N, C, H, W) under 'images', and labels as int64 (N,) under 'labels'."""
        tensors = {"images": (input_spec.to_pixels(batch.images.cpu()) * 255).round().to(torch.uint8).contiguous()}
        if batch.labels is not None:
            tensors["labels"] = batch.labels.cpu()
        save_tensors(self.images, tensors, {"input_spec": json.dumps(input_spec.to_dict())})

    def load_images(self, input_spec: InputSpec, device: torch.device) -> Batch:
        """Loads the saved images and normalises them again.

        They are bit for bit those that were used, whose pixels have 8 bits.
        """
        tensors = load_tensors(self.images)
        with reading(self.images):
            if "images" not in tensors:
                raise ValueError("it holds no 'images'")
            check_stored(tensors["images"], tensors.get("labels"), input_spec)
        images = input_spec.normalize(tensors["images"].to(device).float() / 255)
        labels = tensors.get("labels")
        return Batch(images, None if labels is None else labels.to(device))

    def save_student(self, student: nn.Module) -> str:
        """Saves the student's tensors; returns their digest, by which all files of the run know it."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
        found = digest_of_tensors(tensors)
        save_tensors(self.student, tensors, {})
        return found

    def check_student(self, found: str, recorded: str | None, where: Path) -> None:
        """Raises `DfqError` where a file of the folder belongs to another student.

        Args:
            found: Digest of the student's tensors.
            recorded: Digest that the file records; None: an older file, which records none.
            where: The file.
        """
        if recorded is not None and recorded != found:
            raise DfqError(
                f"'{where}' belongs to another student than '{self.student}'",
                "files of one run",
                "files of several runs were mixed: quantize again",
                exit_code=1,
            )

    def scratch(self) -> list[Path]:
        """Returns the files from which a killed run goes on."""
        return [self.synthesis, self.start, self.widths, self.reconstruction, self.block, self.training, self.clock]

    def remove_scratch(self) -> None:
        for state in self.scratch():
            state.unlink(missing_ok=True)
