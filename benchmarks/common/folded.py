"""A network as the person has it who was given its ONNX file alone: without BatchNorm, and without modules."""

from pathlib import Path

from dfq.export import export_float_onnx
from dfq.teacher import Teacher
from dfq.teacher.load import load_teacher


def folded(whole: Teacher, file: Path) -> Teacher:
    """Exports a network to `file`, with its BatchNorm layers folded, and returns what is read back."""
    file.parent.mkdir(parents=True, exist_ok=True)
    export_float_onnx(whole.traced, file, whole.input_spec)
    spec = whole.input_spec
    teacher = load_teacher(file, input_size=spec.size, mean=spec.mean, std=spec.std)
    assert not teacher.has_batch_norm
    return teacher
