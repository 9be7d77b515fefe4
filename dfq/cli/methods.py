"""`dfq methods` prints the table of methods."""

from rich.padding import Padding

from dfq.calibration import METHODS
from dfq.calibration.methods import AUTO
from dfq.cli import console
from dfq.cli.command import command
from dfq.cli.output import Output


@command
def methods(output: Output) -> None:
    """List what --method takes: how each method makes images and trains the student, and where it was published.

    \b
    Example:
      dfq methods
    """
    table = [{"name": each.name, "summary": each.summary, "paper": each.paper} for each in METHODS.values()]
    output.write({"methods": table})
    console.stdout.print(AUTO, style="bold")
    console.stdout.print(Padding("the default, which chooses by bits, budget and network, and says why", (0, 0, 0, 2)))
    for method in METHODS.values():
        console.stdout.print(method.name, style="bold")
        console.stdout.print(Padding(method.summary, (0, 0, 0, 2)))
        console.stdout.print(Padding(method.paper, (0, 0, 0, 2)), style="dim")
