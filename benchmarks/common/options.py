"""Options that several benchmarks share: one spelling, one help text."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click

RESULTS = Path("benchmarks/results")


def data_option(*, required: bool = True, what: str = "checkpoints and images") -> Callable:
    """Returns the option for the folder of checkpoints and images that lies beside the repository."""
    kind = click.Path(exists=True, path_type=Path)
    return click.option("--data", type=kind, required=required, help=f"Read {what} from this folder.")


def out_option(name: str, *, reads: bool = True) -> Callable:
    """Returns the option for the file of results, which is `benchmarks/results/NAME` unless a person says otherwise."""
    says = "Read and write the results here." if reads else "Write the results here."
    return click.option("--out", type=click.Path(path_type=Path), default=RESULTS / name, help=says)


def profile_option(profiles: Iterable[str], *, default: str) -> Callable:
    """Returns the option for the set of cells to run."""
    kind, says = click.Choice(list(profiles)), "Run the cells of this profile."
    return click.option("--profile", type=kind, default=default, show_default=True, help=says)


only_option = click.option("--only", default="", help="Run only the cells whose name contains all of these words.")
show_option = click.option("--show", is_flag=True, help="Print the tables of finished cells and stop.")
threads_option = click.option("--threads", default=2, show_default=True, help="Compute on that many threads.")
device_option = click.option("--device", default="cpu", show_default=True, help="Compute on this device.")
minutes_option = click.option(
    "--minutes", type=float, help="Stop after that time; the next call goes on where this one stopped."
)
