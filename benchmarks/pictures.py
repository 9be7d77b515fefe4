"""One picture of the methods' diversity, from the results of `accuracy.py`.

    python benchmarks/pictures.py [--bits 3]

Overlays what each method's images look like to the teacher (first seed, ResNet-20, profile 5m); real images beside.
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
    "--results", type=click.Path(exists=True, path_type=Path), default=Path("benchmarks/results/accuracy.json")
)
@click.option("--bits", default=3, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "diversity.png")
def main(results: Path, bits: int, out: Path) -> None:
    rows = [r for r in json.loads(results.read_text()) if (r["profile"], r["bits"], r["seed"]) == ("5m", bits, 0)]
    found = {row["method"]: Diversity.from_dict(row["diversity"]) for row in rows if row["net"] == "resnet20"}
    diversity_plot({name: found[name] for name in SHOWN if name in found}, out)


if __name__ == "__main__":
    main()
