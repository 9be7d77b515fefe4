"""`make_student` makes the fake-quantized student of a teacher."""

import copy
import re
from collections.abc import Iterable

from torch import fx, nn

from dfq.graph.operators import QUANTIZERS, is_quantizer
from dfq.quantizers.fake_quantize import FakeQuantize, SharedQuantize
from dfq.quantizers.quantized_layers import quantize_layer
from dfq.quantizers.scheme import Scheme
from dfq.student.attention_products import quantize_attention
from dfq.student.placement import TensorPlan, plan_quantizers
from dfq.teacher import Teacher


def make_student(teacher: Teacher, scheme: Scheme) -> fx.GraphModule:
    """Returns a fake-quantized copy of the teacher, to be calibrated before use (`dfq.student.set_ranges.calibrate`).

    The student is an fx graph. Layers keep the teacher's module names, BatchNorm is folded, weights pass through
    `<layer>.weight_quantizer`, and activations through `activation_quantizers.<node>`. Where matrix layers read fewer
    bits than other operators do, they read through `activation_quantizers.<node>_narrow`, too. Where the target
    multiplies the factors of attention as integers (`Target.min_keys`), they pass through
    `activation_quantizers.<node>_query`, `_key`, `_probabilities` and `_value`.

    Raises:
        DfqError: The network has nothing to quantize.
    """
    student = copy.deepcopy(teacher.traced).requires_grad_(True)
    planned = plan_quantizers(student, scheme)
    for layer, spec in planned.weights.items():
        quantize_layer(student.get_submodule(layer), spec, planned.float_layers.get(layer))
    student.add_submodule(QUANTIZERS, nn.ModuleDict())
    for tensor in planned.tensors:
        _insert(student, tensor)
    quantize_attention(student, scheme)
    student.graph.lint()
    student.recompile()
    return student.to(teacher.device)


def _insert(student: fx.GraphModule, tensor: TensorPlan) -> None:
    quantizer = FakeQuantize(tensor.spec, scale_limit=tensor.scale_limit)
    calls = [_call_after(student, tensor.node, quantizer, [u for u in tensor.node.users if u not in tensor.spared])]
    for node in tensor.shared:
        calls.append(_call_after(student, node, SharedQuantize(quantizer), node.users))
    for call in calls:
        readers = [user for user in call.users if user in tensor.matrix_readers]
        if tensor.narrow is not None and readers:
            _call_after(student, call, FakeQuantize(tensor.narrow), readers)


def _call_after(student: fx.GraphModule, node: fx.Node, module: nn.Module, users: Iterable[fx.Node]) -> fx.Node:
    """Inserts a call of `module` between `node` and some of its users, and returns the call."""
    of_quantizer = str(node.target).rpartition(".")[2] + "_narrow"
    name = of_quantizer if is_quantizer(node) else re.sub(r"\W", "_", node.name)
    while hasattr(student.get_submodule(QUANTIZERS), name):  # Layers may be called "keys" or "values".
        name += "_"
    path = f"{QUANTIZERS}.{name}"
    student.add_submodule(path, module)
    readers = list(users)
    with student.graph.inserting_after(node):
        call = student.graph.call_module(path, (node,))
    call.meta = dict(node.meta)
    for reader in readers:
        reader.replace_input_with(node, call)
    return call


def activation_quantizers(student: nn.Module) -> dict[str, FakeQuantize]:
    """Returns the activation quantizers of a student by name, in the order of the graph."""
    return {n: m for n, m in student.get_submodule(QUANTIZERS).named_children() if isinstance(m, FakeQuantize)}


def weight_quantizers(student: nn.Module) -> dict[str, FakeQuantize]:
    """Returns the weight quantizers of a student by the name of their layer."""
    suffix = ".weight_quantizer"
    return {n.removesuffix(suffix): m for n, m in student.named_modules() if n.endswith(suffix)}
