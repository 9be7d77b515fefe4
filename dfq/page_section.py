"""`Section`: one part of `report.html`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """One heading with a sentence, a picture (base64 PNG), a table, or some of these."""

    name: str
    text: str = ""
    picture: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
