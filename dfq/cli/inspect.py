"""`dfq inspect`: what a network consists of, and what would become of it. Changes nothing."""

from collections import Counter
from pathlib import Path

import click
from torch import fx

from dfq.batch_norm_statistics import normalization_layers
from dfq.cli import console, options
from dfq.convert import activation_quantizers, quantize
from dfq.formatting import label, ratio, size
from dfq.report import layers
from dfq.scheme import make_scheme
from dfq.size_estimate import estimated_bytes
from dfq.targets import find_target


@click.command(short_help="Layers, and to how many bits each would go.")
@click.argument("model", type=click.Path(path_type=Path))
@options.bits_options
@options.model_options
def inspect(model: Path, **values) -> None:
    """Show MODEL's layers, and to how many bits each would go. Changes nothing, writes nothing.

    \b
    Examples:
      dfq inspect model.pt
      dfq inspect model.pt --bits 4
      dfq inspect resnet18.pth --arch torchvision/resnet18 --scheme paper-ptq --bits 4
    """
    model_options = options.take_model_options(values)
    overrides = dict(values.pop("layer_bits"))
    scheme = make_scheme(values.pop("scheme"), overrides=overrides, **values)
    teacher, arch, assumed = model_options.load(model)
    student = quantize(teacher, scheme)
    title = f"{model.name}: {arch or type(teacher.model).__name__}, {label(scheme.to_dict())} {scheme.name}"
    console.stdout.print(
        console.table(title, ("layer", "type", "weight", "parameters", "W", "A"), _rows(student), left=2)
    )
    console.stdout.print("W, A: bits of the weight and of the tensor that the layer reads.\n", style="dim")
    spec = teacher.input_spec
    tensors = Counter(quantizer.spec.bits for quantizer in activation_quantizers(student).values())
    float_bytes, quantized_bytes = estimated_bytes(student, find_target(scheme.target))
    facts = (
        ("Input", f"{'x'.join(map(str, spec.size))}, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"),
        ("Classes", str(teacher.num_classes)),
        ("BatchNorm", f"{len(normalization_layers(teacher.model))} layers with statistics, folded before quantization"),
        ("Tensors", ", ".join(f"{count} at {bits} bits" for bits, count in sorted(tensors.items())) or "none"),
        ("Size", f"about {size(float_bytes)} → {size(quantized_bytes)}{ratio(quantized_bytes, float_bytes)}"),
    )
    for name, text in facts:
        console.fact(name, text)
    console.facts("Assumed", assumed)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _rows(student: fx.GraphModule) -> list[tuple[str, ...]]:
    return [
        (
            layer["name"],
            layer["type"],
            "×".join(map(str, layer["shape"])),
            f"{_parameters(student, layer['name']):,}",
            str(layer["weight_bits"]),
            "float" if layer["input_bits"] is None else str(layer["input_bits"]),
        )
        for layer in layers(student)
    ]


def _parameters(student: fx.GraphModule, layer: str) -> int:
    """Of weight and bias, BatchNorm folded into them."""
    module = student.get_submodule(layer)
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))
