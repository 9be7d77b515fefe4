"""`dfq env` prints versions and hardware, for a bug report."""

import platform

import torch

from dfq.cli import console
from dfq.cli.command import command
from dfq.cli.output import Output
from dfq.results import report


@command
def env(output: Output) -> None:
    """Print the versions and the hardware that a bug report needs. No path and no name of this machine is in it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    versions, hardware, system = report.versions(), report.hardware(device), platform.platform()
    output.write({"versions": versions, "system": system, "hardware": hardware})
    installed = {name: found or "not installed" for name, found in versions.items()}
    parts = {name: "none" if found is None else found for name, found in hardware.items()}
    for name, found in {**installed, "system": system, **parts}.items():
        console.stdout.print(f"{name:12} {found}", markup=False, highlight=False)
