"""The run folder of a distillation, which holds a checkpoint in place of a quantized student."""

from pathlib import Path

from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.images.input_spec import InputSpec
from dfq.jobs.distill.student import FloatStudent
from dfq.results.run_folder import RunFolder


class DistillFolder(RunFolder):
    """The folder of one distillation, which knows the names of its files.

    `student.pt` is an ordinary checkpoint, which `dfq quantize` and every other command take. `model.onnx` is the
    student in floating point, and `float.onnx` is the teacher, with which size and speed are compared.
    """

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.checkpoint = self.path / "student.pt"

    def quantized(self, bits: int) -> Path:
        """Returns the run folder of the distilled student that is quantized to that many bits."""
        return self.path / f"w{bits}a{bits}"

    @property
    def is_finished(self) -> bool:
        """Whether the distillation has finished; the report is written last."""
        return self.report.exists() and self.checkpoint.exists()

    def save(self, student: FloatStudent, input_spec: InputSpec) -> None:
        """Writes the student as a checkpoint."""
        save_checkpoint(self.checkpoint, student.model, student.arch, input_spec)

    def restore(self, student: FloatStudent) -> None:
        """Loads the weights of a finished distillation into `student`."""
        loaded = load_checkpoint(self.checkpoint, arch=student.arch)
        student.model.load_state_dict(loaded.model.state_dict())
        student.model.eval()
