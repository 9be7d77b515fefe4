"""The examples in the docstrings of the public functions run, one after the other, as a reader would try them."""

import inspect

import pytest
from support.snippets import blocks_of, run_python

import dfq

# In this order, because some need the run folder of another.
FUNCTIONS = (
    "inspect", "quantize", "load", "validate", "export_onnx", "synthesize", "load_teacher", "distill", "increment",
    "compare",
)  # fmt: skip


def examples(name: str) -> list:
    return list(blocks_of(inspect.getdoc(getattr(dfq, name)) or ""))


def test_every_public_function_has_an_example():
    functions = {name for name in dfq.__all__ if inspect.isfunction(getattr(dfq, name))}
    assert functions == set(FUNCTIONS)
    assert all(len(examples(name)) == 1 for name in FUNCTIONS)


@pytest.mark.slow
def test_the_examples_run(folder):
    for name in FUNCTIONS:
        for block in examples(name):
            run_python(block, {"__name__": "__main__", "dfq": dfq}, name)
