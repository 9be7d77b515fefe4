"""Keeps freed memory in the process, because each training step frees hundreds of megabytes that the next one needs.

glibc gives every large block back to the kernel when it is freed. The block of the next step then arrives as pages that
do not exist yet; each of them costs a page fault and is filled with zeros. On MobileNetV2, this takes a fifth of the
time of synthesis (`benchmarks/speed/allocator.py`).
"""

import ctypes
import platform

from dfq.system.settings import MemorySettings

# Parameters of mallopt(3), as malloc.h numbers them.
MMAP_MAX = -4
TRIM_THRESHOLD = -1
TOP_PAD = -2
NEVER = 2**31 - 1  # With this threshold in bytes, the largest int, freed memory is never given back.


def keep_freed_memory(*, settings: MemorySettings = MemorySettings()) -> bool:
    """Lets this process reuse large blocks that it has freed; returns False where the C library is not glibc.

    It is for programs that do nothing else, because memory that was used once stays taken. The command line calls it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (TOP_PAD, settings.step_bytes))
    return all(bool(mallopt(option, value)) for option, value in options)
