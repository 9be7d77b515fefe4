"""Draws how diverse the images of the methods are, from the results of `benchmarks.accuracy.run`.

    python -m benchmarks.accuracy.diversity [--bits 3]

The picture overlays what the images of each method look like to the teacher (first seed, ResNet-20, profile 5m), and
shows real images beside them.
"""

import json
from pathlib import Path

import click

from dfq.evaluation.diversity import Diversity
from dfq.results.diversity_plot import diversity_plot

RESULTS = Path("benchmarks/results")
SHOWN = ("zeroq-kd", "gdfq", "rgal", "rgal-zeroq", "real-1024")


@click.command()
@click.option(
    "--results",
    type=click.Path(exists=True, path_type=Path),
    default=RESULTS / "accuracy.json",
    help="Read the results here.",
)
@click.option("--bits", default=3, show_default=True, help="Take the images of the students of this width.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RESULTS / "diversity.png", help="Write the picture here."
)
def main(results: Path, bits: int, out: Path) -> None:
    """Draws how diverse the images of the methods are to the teacher."""
    rows = [r for r in json.loads(results.read_text()) if (r["profile"], r["bits"], r["seed"]) == ("5m", bits, 0)]
    found = {row["method"]: Diversity.from_dict(row["diversity"]) for row in rows if row["net"] == "resnet20"}
    diversity_plot({name: found[name] for name in SHOWN if name in found}, out)


if __name__ == "__main__":
    main()
