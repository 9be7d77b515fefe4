"""`dfq inspect` shows what a network consists of and what would become of it, and changes nothing."""

from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.command import command
from dfq.cli.config_file import config_option
from dfq.cli.layer_table import layer_table
from dfq.cli.option_types import PATH
from dfq.cli.output import Output
from dfq.cli.settings_options import SCHEME_OPTIONS, settings_options
from dfq.jobs.inspect import inspect as inspect_network
from dfq.jobs.inspect import scheme_of
from dfq.jobs.quantize.settings import Settings


@command
@click.argument("model", type=PATH)
@click.option(
    "--bits", type=int, default=8, show_default=True, metavar="N", help="Bits of weights and activations, 2 to 8."
)
@settings_options(Settings, *SCHEME_OPTIONS)
@options.strict_option
@config_option
@options.model_options
def inspect(output: Output, model: Path, strict: bool, **values) -> None:
    """Show MODEL's layers, and how many bits each would get. Nothing is changed or written.

    \b
    Examples:
      dfq inspect model.pt
      dfq inspect model.pt --bits 4
      dfq inspect resnet18.pth --arch torchvision/resnet18 --scheme paper-ptq --bits 4
    """
    model_options = options.take_model_options(values)
    values["layer_bits"] = dict(values["layer_bits"])
    scheme_of(values)  # Wrong options are told before anything is loaded.
    found = inspect_network(model_options.load(model), strict=strict, **values)
    output.write(found.to_dict())
    console.verdict(found.verdict)
    console.stdout.print(layer_table(f"{model.name}: {found.title}", found.student, found.coverage))
    console.stdout.print(
        "MACs: share of the multiply–accumulates. W: bits of the weight. A: bits of the tensor that the layer reads, "
        "or why it computes in floating point.\n",
        style="dim",
    )
    for name, text in found.facts():
        console.fact(name, text)
    console.facts("Assumed", found.teacher.assumed)
