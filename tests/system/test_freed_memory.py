"""Freed memory is used again instead of being given back to the kernel page by page."""

import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys, torch
from dfq.system.freed_memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(20):  # where each block lies settles after a few
    torch.ones(2**24)  # 64 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(arm: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT_FAULTS, arm], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc: only its allocator can be told")
def test_blocks_that_were_freed_cost_no_page_faults():
    assert faults("kept") < 0.2 * faults("plain"), "pages are asked for once, not for each of ten tensors"
