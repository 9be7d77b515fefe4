"""`dfq inspect`: what a network consists of, and what would become of it. Changes nothing."""

from collections import Counter
from pathlib import Path

import click

from dfq.cli import console, options
from dfq.cli.layer_table import layer_table
from dfq.quantizers.scheme import make_scheme
from dfq.quantizers.targets import find_target
from dfq.results.number_format import label, ratio, size
from dfq.results.verdict import check_strict, verdict
from dfq.student.convert import activation_quantizers, make_student
from dfq.student.coverage import measure_coverage
from dfq.student.size_estimate import estimated_bytes
from dfq.teacher.batch_norm_statistics import normalization_layers


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@options.bits_options
@options.strict_option
@options.model_options
def inspect(model: Path, strict: bool, **values) -> None:
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
    teacher = model_options.load(model)
    student = make_student(teacher, scheme)
    coverage = measure_coverage(student).to_dict()
    if strict:
        check_strict(coverage)
    console.verdict(verdict(coverage))
    title = f"{model.name}: {teacher.arch or type(teacher.model).__name__}, {label(scheme.to_dict())} {scheme.name}"
    console.stdout.print(layer_table(title, student, coverage))
    console.stdout.print(
        "MACs: share of the multiply–accumulates. W: bits of the weight. A: bits of the tensor that the layer reads, "
        "or why it computes in floating point.\n",
        style="dim",
    )
    spec = teacher.input_spec
    tensors = Counter(quantizer.spec.bits for quantizer in activation_quantizers(student).values())
    float_bytes, quantized_bytes = estimated_bytes(student, find_target(scheme.target))
    in_float = sum(layer["reason"] is not None for layer in coverage["layers"])
    counted = f"{len(coverage['layers'])} with weights"
    facts = (
        ("Layers", f"{counted}: {len(coverage['layers']) - in_float} on integers, {in_float} in floating point"),
        ("Input", f"{'x'.join(map(str, spec.size))}, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"),
        ("Classes", str(teacher.num_classes)),
        ("BatchNorm", f"{len(normalization_layers(teacher.model))} layers with statistics, folded before quantization"),
        ("Tensors", ", ".join(f"{count} at {bits} bits" for bits, count in sorted(tensors.items())) or "none"),
        ("Size", f"about {size(float_bytes)} → {size(quantized_bytes)}{ratio(quantized_bytes, float_bytes)}"),
    )
    for name, text in facts:
        console.fact(name, text)
    console.facts("Assumed", teacher.assumed)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
