"""Whether a method works for a network."""

from dfq.calibration.method import Method
from dfq.calibration.methods import AUTO, METHODS
from dfq.errors import DfqError
from dfq.graph.attention import find_attention
from dfq.teacher import Teacher

ANY_OUTPUT = tuple(name for name, method in METHODS.items() if not (method.needs_classes or method.needs_attention))


def check_method(method: Method, teacher: Teacher) -> None:
    """Raises `DfqError` where a method needs classes or attention and the teacher has none."""
    if method.needs_classes:
        way_out = f"take --method {AUTO}, or one of {', '.join(ANY_OUTPUT)}"
        teacher.check_classifier(f"method {method.name}", method.needs_classes, way_out)
    if method.needs_attention and not find_attention(teacher.model):
        raise DfqError(
            f"method {method.name} for a network without attention",
            f"a transformer: {method.needs_attention}",
            f"take --method {AUTO}",
        )
