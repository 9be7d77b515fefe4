"""Pictures for a page: read from the run folder, and made smaller where all together would be too large."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from PIL import Image

from dfq.results.page.parts import Picture

MOST_BYTES = 1_000_000  # of all pictures of a page, in base64
QUALITY = 85  # of a JPEG, in percent
SMALLER = 0.75  # what the sides of a picture are multiplied by


def picture(path: Path, text: str, *, is_plot: bool = True) -> Picture | None:
    """Returns the PNG at `path`, which shows what `text` says; None where there is none."""
    return Picture(path.read_bytes(), text, is_plot) if path.exists() else None


def base64_size(one: Picture) -> int:
    return 4 * -(-len(one.content) // 3)


def fitted(pictures: Sequence[Picture], most: int = MOST_BYTES) -> list[Picture]:
    """Returns the pictures; while they are too large, the largest one becomes a JPEG, then a smaller one.

    Args:
        pictures: The pictures of one page.
        most: Largest size of all together in base64, in bytes.
    """
    found = list(pictures)
    while sum(map(base64_size, found)) > most:
        index = max(range(len(found)), key=lambda each: base64_size(found[each]))
        found[index] = _smaller(found[index])
    return found


def _smaller(one: Picture) -> Picture:
    factor = 1.0 if one.media_type == "image/png" else SMALLER
    with Image.open(BytesIO(one.content)) as image:
        width, height = (max(round(side * factor), 1) for side in image.size)
        content = BytesIO()
        image.convert("RGB").resize((width, height)).save(content, "JPEG", quality=QUALITY)
    return replace(one, content=content.getvalue(), media_type="image/jpeg")
