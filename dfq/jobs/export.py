"""`export_run` writes the student of a run as ONNX once more."""

from pathlib import Path

from dfq.export import export_onnx
from dfq.results.load_run import load_run
from dfq.results.run_config import read_run_config
from dfq.results.run_folder import FORMAT, RunFolder
from dfq.system.output_paths import check_file, make_folder
from dfq.system.run_lock import check_not_written, writing_file_alone


def export_run(
    run: str | Path,
    *,
    out: str | Path,
    batch_size: int | None = None,
    target: str | None = None,
    arch: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the student of a run folder as an ONNX file, as the command `dfq export` does, and returns its path.

    Args:
        run: The run folder.
        out: The file to write.
        batch_size: Number of images that the file takes at a time; None: any number.
        target: Runtime that the file is for, a key of `dfq.quantizers.targets.TARGETS`; None: that of the run.
        arch: Architecture of the network, as `dfq.load` takes it.
        overwrite: Whether a file that exists may be replaced.

    Raises:
        DfqError: An argument cannot be used; the file appears whole or not at all.

    Examples:
        ```python
        file = dfq.export_onnx("run/", out="camera.onnx", batch_size=1)
        print(file.stat().st_size)
        ```
    """
    file = Path(out)
    check_file(file, overwrite=overwrite)
    check_not_written(Path(run))
    student, config = load_run(run, arch=arch), read_run_config(RunFolder(run).config, FORMAT)
    make_folder(file.parent)
    with writing_file_alone(file):
        return export_onnx(
            student, file, config.input_spec, batch_size=batch_size, target=target or config.scheme.target,
            interface=config.interface,
        )  # fmt: skip
