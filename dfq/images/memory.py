"""Images that no memory holds are refused before any work."""

import math
import os

from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec

PIXEL_BYTES = 4  # float32


def memory_bytes() -> int | None:
    """Returns the size of the machine's memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_image_memory(count: int, input_spec: InputSpec) -> None:
    """Raises `DfqError` where so many images of that size do not fit into the machine's memory."""
    each, memory = PIXEL_BYTES * math.prod(input_spec.size), memory_bytes()
    if memory is not None and count * each > memory:
        size = "x".join(map(str, input_spec.size))
        raise DfqError(
            f"{count:,} images of {size}, which take {count * each / 2**30:,.0f} GiB",
            f"images that fit into the memory of this machine, {memory / 2**30:,.0f} GiB",
            f"--images with a smaller number, at most {memory // each // 2:,}",
        )
