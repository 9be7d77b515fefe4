"""Freed memory stays with the process: large feature maps then cost no page faults when the next step needs them."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
NEVER, ONE_GIGABYTE = -1, 2**30


def keep_freed_memory() -> bool:
    """Whether glibc agreed; elsewhere nothing happens.

    By default it gives each freed block of more than 32 MB back to the system. A process-wide setting, so only programs
    ask for it (the command line, the benchmarks), not the library. On MobileNetV2, 224×224, it saves 18 % of the time
    of synthesis, 8 % of reconstruction; on 32×32 images nothing. What the process holds stays at its peak.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, ONE_GIGABYTE) and mallopt(M_TRIM_THRESHOLD, NEVER))
