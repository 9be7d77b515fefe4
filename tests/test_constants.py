"""Numbers that decide behaviour are fields of settings; what stays beside them has a name and a line of its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def is_number(value: ast.expr) -> bool:
    if isinstance(value, ast.UnaryOp):
        return is_number(value.operand)
    if isinstance(value, ast.BinOp):
        return is_number(value.left) and is_number(value.right)
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float)


@pytest.mark.parametrize("folder", ["dfq", "calibration", "export", "benchmarks"])
def test_a_line_holds_one_constant(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line.lineno}"
        for path in (ROOT / folder).rglob("*.py")
        for line in ast.parse(path.read_text()).body
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Tuple)
        if isinstance(line.value, ast.Tuple) and any(map(is_number, line.value.elts))
    ]
    assert not found
