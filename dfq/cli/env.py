"""`dfq env` prints versions and hardware, for a bug report."""

import platform

import click
import torch

from dfq.cli import console
from dfq.results import report


@click.command()
def env() -> None:
    """Print the versions and the hardware that a bug report needs. No path and no name of this machine is in it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    versions = {name: found or "not installed" for name, found in report.versions().items()}
    hardware = {name: "none" if found is None else found for name, found in report.hardware(device).items()}
    for name, found in {**versions, "system": platform.platform(), **hardware}.items():
        console.stdout.print(f"{name:12} {found}", markup=False, highlight=False)
