"""The parts of a page: `Page`, `Figure`, `Section`, `Table` and `Picture`."""

from dataclasses import dataclass, field

from dfq.results.decision import Decision
from dfq.results.page.layer_plot import LayerPlot
from dfq.results.verdict import Sentence

Row = tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """One of the figures by which a person decides.

    Attributes:
        value: The figure with its unit.
        name: What it is.
        basis: What it rests on: the number of images, and the interval.
    """

    value: str
    name: str
    basis: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        content: The file.
        text: What is seen, for those who do not see it.
        is_plot: Whether it is drawn in ink on white, so that a dark page may invert it.
        media_type: Kind of file.
    """

    content: bytes
    text: str
    is_plot: bool
    media_type: str = "image/png"


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        head: Names of the columns.
        rows: Rows, with one text for each column.
    """

    head: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """One part of a page: a heading, and below it, in this order, what there is.

    Attributes:
        name: Text of the heading.
        text: Sentences.
        plot: The plot of layers.
        table: A table.
        folded: A table that opens on a click.
        picture: A picture.
    """

    name: str
    text: str = ""
    plot: LayerPlot | None = None
    table: Table | None = None
    folded: Table | None = None
    picture: Picture | None = None


@dataclass(frozen=True)
class Page:
    """What a page shows above the content of `report.json`.

    Attributes:
        title: Heading of the page.
        subtitle: Sentence on how the run was made.
        figures: The figures by which a person decides.
        sections: Parts of the page, in their order.
        verdict: Sentences above the figures.
        decision: What to do with the file; None where a page has no such file.
    """

    title: str
    subtitle: str
    figures: list[Figure]
    sections: list[Section]
    verdict: list[Sentence] = field(default_factory=list)
    decision: Decision | None = None
