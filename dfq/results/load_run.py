"""`load_run` loads the quantized student of a run folder as a torch module."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor, fx, nn

from dfq.errors import DfqError
from dfq.graph.largest_tensor import check_largest_tensor
from dfq.images.input_spec import is_unusual
from dfq.models.onnx_file.read import read_onnx
from dfq.models.registry import build
from dfq.models.user_file import file_factory_takes_num_classes, is_file_name
from dfq.post_training.bias_correction import give_bias
from dfq.quantizers.quantized_layers import MATRIX_LAYERS
from dfq.results.run_config import RunConfig, read_run_config
from dfq.results.run_folder import FORMAT, RunFolder
from dfq.results.stored_files import load_tensors
from dfq.student.convert import make_student
from dfq.system.content_hash import digest_of_tensors
from dfq.system.exchange import of_first
from dfq.system.reading import reading
from dfq.teacher import Teacher

MAX_REASON_LENGTH = 200  # Number of characters of torch's message that are shown; it lists every name.


def load_run(folder: str | Path, *, arch: str | None = None, model: nn.Module | None = None) -> fx.GraphModule:
    """Loads the quantized student of a run folder (also `dfq.load`).

    The student is the same bit for bit, in evaluation mode, on the CPU.

    Args:
        arch: Name of the architecture. It is needed where that of the run is a Python file, which is not executed
            unless it is named here.
        model: A network of the run's architecture. It is needed where the network was quantized from Python; its
            weights are not used.

    Raises:
        DfqError: The folder is not a run folder, a file is damaged, or the architecture cannot be built from its name.

    Examples:
        ```python
        student = dfq.load("run/")
        print(sum(parameter.numel() for parameter in student.parameters()))
        ```
    """
    run = RunFolder(folder)
    config = read_run_config(run.config, FORMAT)
    with reading(run.config):  # Whatever fails here was built as the file says.
        network = model if model is not None else _build(config, arch, run)
        _check_size(network, config, run)
        teacher = Teacher(network, config.input_spec, classifies=config.is_classifier)
        return stored_student(teacher, run, config)


def stored_student(teacher: Teacher, run: RunFolder, config: RunConfig) -> fx.GraphModule:
    """Returns the student of a run folder, made from a teacher of the run's architecture, in evaluation mode.

    Args:
        teacher: The teacher; its weights are not used.
        run: The run folder.
        config: The content of its `config.json`.

    Raises:
        DfqError: The stored tensors do not fit the network, or their file is damaged.
    """
    student = make_student(teacher, config.scheme)
    tensors = of_first(lambda: load_tensors(run.student), teacher.device)
    _check_numbers(run, tensors)
    run.check_student(digest_of_tensors(tensors), config.student_digest, run.config)
    for name, layer in student.named_modules():  # Bias correction gives a bias to layers that had none.
        if isinstance(layer, MATRIX_LAYERS) and layer.bias is None and f"{name}.bias" in tensors:
            give_bias(layer)
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise DfqError(
            f"'{run.student}' does not fit the network: {reason[:MAX_REASON_LENGTH]}",
            "the run's own architecture",
            "check --arch",
        ) from error
    return student.eval().requires_grad_(False)


def _check_size(network: nn.Module, config: RunConfig, run: RunFolder) -> None:
    """Raises an error for an unusual size of images that `config.json` alone states, and no stored images have."""
    if not is_unusual(config.input_spec.size):
        return
    if run.images.is_file():
        with safe_open(run.images, framework="pt") as file:
            if tuple(file.get_slice("images").get_shape()[1:]) == config.input_spec.size:
                return
    check_largest_tensor(network, (1, *config.input_spec.size))


def _check_numbers(run: RunFolder, tensors: dict[str, Tensor]) -> None:
    """Raises `DfqError` where a stored student holds numbers that no student has."""
    for name, tensor in tensors.items():
        is_scale = name.rpartition(".")[2] == "scale"
        if not tensor.isfinite().all() or (is_scale and not (tensor > 0).all()):
            what = "a scale of 0 or less" if is_scale and tensor.isfinite().all() else "numbers that are not finite"
            raise DfqError(
                f"'{run.student}' holds {what} in '{name}'", "the file as dfq wrote it", "quantize again", exit_code=1
            )


def _build(config: RunConfig, arch: str | None, run: RunFolder) -> nn.Module:
    if arch is None and run.source.exists():
        return read_onnx(run.source, config.input_spec.size, allow_float_ops=True)
    recorded = config.arch
    if arch is None and (recorded is None or ".py:" in recorded or recorded.startswith("pickle/")):
        raise DfqError(
            f"a run whose architecture is {recorded or 'a Python object'}",
            "the network's code, which is never taken from a run folder",
            "name it: --arch path/to/net.py:factory, or dfq.load(folder, model=network)",
        )
    name = arch or recorded
    assert name is not None
    is_fixed = is_file_name(name) and not file_factory_takes_num_classes(name)
    return build(name, None if is_fixed else config.num_classes)
