"""Keeps freed memory in the process: a training step frees and asks again for the same hundreds of megabytes.

glibc gives every large block back to the kernel when it is freed. The next step's block then arrives as pages that do
not exist yet, each of which costs a fault and is filled with zeros: a fifth of the time of synthesis on MobileNetV2
(`benchmarks/allocator.py`).
"""

import ctypes
import platform

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # of mallopt(3)
NEVER, LARGE_STEP = 2**31 - 1, 2**28  # bytes


def keep_freed_memory() -> bool:
    """From now on, this process reuses large blocks that it has freed; False where the C library is not glibc.

    For programs that do nothing else: memory that was used once stays taken. The command line does this by itself.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (TOP_PAD, LARGE_STEP))
    return all(bool(mallopt(option, value)) for option, value in options)
