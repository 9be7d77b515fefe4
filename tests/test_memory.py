"""Freed memory that stays with the process."""

import subprocess
import sys

import pytest

ALLOCATE = """
import resource, sys
from dfq.memory import keep_freed_memory
agreed = keep_freed_memory() if sys.argv[1] == "keep" else True
import torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(16_000_000)
print(agreed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> tuple[bool, int]:
    """(whether glibc agreed, faults of twenty tensors of 64 MB, each freed before the next)."""
    output = subprocess.run(
        [sys.executable, "-c", ALLOCATE, mode], capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    return output[0] == "True", int(output[1])


def test_large_tensors_cost_their_page_faults_once():
    agreed, kept = page_faults("keep")
    if not agreed:
        pytest.skip("not glibc: there is nothing to set")
    assert kept < page_faults("default")[1] / 4
