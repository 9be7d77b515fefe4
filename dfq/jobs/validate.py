"""`validate_run` checks whether the ONNX file of a run does what its student does."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dfq.errors import DfqError
from dfq.export import ENGINES, Agreement, ComparedImages, ExportedFiles, ValidationSettings, further_images, validate
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.export.identity import student_in
from dfq.graph.outputs import Outputs, for_each
from dfq.images.input_spec import InputSpec
from dfq.images.labelled_data import LabelledData, take_labelled
from dfq.images.pictures import Pictures, take_pictures
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.results.load_run import load_run
from dfq.results.run_config import read_run_config
from dfq.results.run_folder import FORMAT, RunFolder
from dfq.results.stored_files import read_json
from dfq.system.content_hash import digest_of_tensors
from dfq.system.progress import Progress
from dfq.system.reading import check_is_file
from dfq.system.run_lock import check_not_written
from dfq.system.terminal_progress import chosen_progress

SMALLEST = 1e-30  # probabilities below it are taken for it, so that their logarithm is finite


class _RuntimeNetwork(nn.Module):
    """The float ONNX file of a run as a network, which gives logits also where the file ends in a softmax."""

    def __init__(self, path: Path, threads: int, *, softmax: bool):
        super().__init__()
        self.engine, self.softmax = Engine(path, threads), softmax
        self.device_marker = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, images: Tensor) -> Outputs:
        outputs = for_each(torch.from_numpy, self.engine.run(images))
        return outputs.clamp(min=SMALLEST).log() if self.softmax else outputs


@dataclass(frozen=True)
class _RuntimeTeacher:
    """A stand-in for the teacher: a run folder holds no checkpoint of it, and an ONNX file cannot be captured."""

    model: _RuntimeNetwork
    input_spec: InputSpec


def validate_run(  # noqa: PLR0913 (keywords of the public face)
    run: str | Path,
    *,
    data: LabelledData = None,
    pictures: Pictures = None,
    onnx: str | Path | None = None,
    settings: ValidationSettings | None = None,
    arch: str | None = None,
    progress: Progress | bool | None = None,
) -> Agreement:
    """Compares the ONNX file of a run folder with its student and its teacher, as the command `dfq validate` does.

    Student and teacher are compared on the synthetic images that training did not see, file and student on more of
    them, and all three on real images where there are some. Where the network came from an ONNX file, that file gives
    one more opinion.

    Args:
        run: The run folder.
        data: Labelled images, as `dfq.quantize` takes them.
        pictures: Real pictures without labels, as `dfq.quantize` takes them.
        onnx: The file to check; None: that of the run.
        settings: How the networks are compared; None: in every installed engine, on torch's number of threads.
        arch: Architecture of the network, as `dfq.load` takes it.
        progress: Where progress is shown, as `dfq.quantize` takes it.

    Raises:
        DfqError: The folder is no run, a file is missing or damaged, or images have the wrong shape.

    Examples:
        ```python
        agreement = dfq.validate("run/", data="test.npz").agreement
        print(agreement["onnx_student"])
        ```
    """
    folder, settings = (
        RunFolder(run),
        settings or ValidationSettings(engines=tuple(ENGINES), threads=torch.get_num_threads()),
    )
    check_not_written(folder.path)
    config = read_run_config(folder.config, FORMAT)
    spec, is_classifier, interface = config.input_spec, config.is_classifier, config.interface
    if data is not None and not is_classifier:
        raise DfqError(
            "labelled images for a network that is no classifier", "pictures", "pass them as --pictures FOLDER"
        )
    if onnx is not None:
        check_is_file(Path(onnx), "an ONNX file", "check the path")
    labelled = take_labelled(data, spec, config.num_classes or 0)
    student = load_run(run, arch=arch)
    _check_one_run(folder, student, Path(onnx) if onnx is not None else folder.onnx)
    batch = folder.load_images(spec, torch.device("cpu"))
    training, held_out = batch.split(QUANTIZE_DEFAULTS.held_out_of(len(batch)))
    if not folder.float_onnx.is_file():
        raise DfqError(f"no '{folder.float_onnx}'", "the float twin that `dfq quantize` wrote", "repeat the run")
    teacher = _RuntimeTeacher(_RuntimeNetwork(folder.float_onnx, settings.threads, softmax=interface.softmax), spec)
    files = ExportedFiles(
        onnx=Path(onnx) if onnx is not None else folder.onnx,
        float_onnx=folder.float_onnx,
        softmax=interface.softmax,
        is_classifier=is_classifier,
        original=folder.source if folder.source.is_file() else None,
    )
    further = further_images(training.images, held_out.images)
    compared = ComparedImages(held_out.images, labelled, take_pictures(pictures, spec), further)
    return validate(files, student, compared, teacher, settings, chosen_progress(progress))


def _check_one_run(folder: RunFolder, student: nn.Module, onnx: Path) -> None:
    """Raises `DfqError` where the ONNX file or the report belongs to another student."""
    found = digest_of_tensors(student.state_dict())
    folder.check_student(found, student_in(onnx), onnx)
    if folder.report.is_file():
        folder.check_student(found, read_json(folder.report).get("student_digest"), folder.report)
