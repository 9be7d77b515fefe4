"""A limit on bit operations: what is counted, the sensitivity of activations, the best choice, and its student."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from PIL import Image
from support.small_nets import SPEC, Residual, canonical, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.errors import DfqError
from dfq.mixed_precision import (
    BitOperations,
    Candidates,
    ChosenWidths,
    Widths,
    choose_widths,
    mixed_precision_plot,
    width_sensitivity,
)
from dfq.mixed_precision.settings import SensitivitySettings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import Scheme, make_scheme
from dfq.results.plots import BLUE, FAINT, ORANGE
from dfq.results.report import layers
from dfq.student.bit_operations import bit_operations
from dfq.student.convert import activation_quantizers, make_student
from dfq.teacher import Teacher
from dfq.training.losses import knowledge_distillation

WIDTHS = range(2, 9)


class Shared(nn.Module):
    """Two layers read one tensor, and one layer reads two."""

    def __init__(self, twice: bool = False):
        super().__init__()
        self.first, self.inner = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.wide, self.narrow, self.head = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1), nn.Linear(6, 5)
        self.again, self.twice = nn.Conv2d(6, 6, 1), twice

    def forward(self, images):
        x = F.relu(self.inner(F.relu(self.first(images))))
        x = F.relu(self.wide(x)) + F.relu(self.narrow(x))
        for _ in range(2 * self.twice):
            x = F.relu(self.again(x))
        return self.head(x.mean((2, 3)))


def shared(twice: bool = False) -> Teacher:
    model = Shared(twice)
    model.head.weight.data *= 30  # large logits: divergences far above the rounding of float32
    return small_teacher(model)


def images(count: int = 20) -> torch.Tensor:
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


def counted_macs(model: nn.Module) -> dict[str, int]:
    """Multiply–accumulates of each layer for one image, from the outputs of one pass."""
    found: dict[str, int] = {}

    def count(name):
        def hook(layer, _, output):
            found[name] = found.get(name, 0) + output.numel() * layer.weight[0].numel()

        return hook

    named = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count(name)) for name, layer in named]
    model(images(1))
    for hook in hooks:
        hook.remove()
    return found


def counted(teacher: Teacher, scheme: Scheme) -> int:
    """Bit operations of the student of a scheme, from what its layers hold and read."""
    rows, macs = {row["name"]: row for row in layers(make_student(teacher, scheme))}, counted_macs(teacher.model)
    return sum(macs[name] * row["weight_bits"] * row["input_bits"] for name, row in rows.items())


class TestCount:
    @pytest.mark.parametrize("scheme", ["deploy", "paper-ptq"])
    @pytest.mark.parametrize("net", [Residual, Shared])
    def test_it_is_the_sum_over_the_layers_of_the_student(self, net, scheme):
        teacher = small_teacher(net())
        for weights, activations in product((3, 8), (4, 8)):
            made = make_scheme(scheme, weight_bits=weights, activation_bits=activations)
            assert bit_operations(teacher.traced, made) == counted(teacher, made)

    def test_by_hand(self):
        """The image has 16 × 16 pixels, and max pooling leaves 8 × 8 of them."""
        stem, inner, head = 256 * 8 * 27, 64 * 8 * 72, 8 * 5
        wide = stem * 8 * 8 + inner * 4 * 8 + inner * 4 * 4 + head * 8 * 8  # what the stem writes has its 8 bits
        assert bit_operations(small_teacher().traced, make_scheme(bits=4)) == wide
        no_grids = stem * 4 * 8 + 2 * inner * 4 * 4 + head * 4 * 32  # the image, and the average behind the last ReLU
        assert bit_operations(small_teacher().traced, make_scheme("paper-qat", bits=4)) == no_grids

    def test_a_layer_that_is_called_twice_counts_twice(self):
        teacher = shared(twice=True)
        once, made = shared(), make_scheme(bits=4)
        again = 2 * 256 * 6 * 6
        # The layer stands in front of the head, which reads 8 bits with it and without it.
        assert bit_operations(teacher.traced, made) == bit_operations(once.traced, made) + again * 4 * 4


class TestOverrides:
    def test_they_reach_the_quantizers_of_what_the_layers_read(self):
        scheme = replace(make_scheme(), activation_overrides={"conv1": 3, "conv2": 5})
        student = make_student(small_teacher(), scheme)
        assert {row["name"]: row["input_bits"] for row in layers(student)} == {
            "stem": 8, "conv1": 8, "conv2": 5, "head": 8  # what the first layer writes keeps its bits
        }  # fmt: skip
        student = make_student(small_teacher(), replace(scheme, first_last_bits=None))
        bits = {name: quantizer.spec.bits for name, quantizer in activation_quantizers(student).items()}
        # An addition reads 8 bits of the tensor of which `conv1` reads 3.
        assert (bits["relu"], bits["max_pool2d_narrow"], bits["relu_1"]) == (8, 3, 5)
        assert sorted(bits.values()) == [3, 5, 8, 8, 8, 8, 8]

    def test_a_tensor_has_the_most_bits_that_a_layer_asks_for(self):
        scheme = replace(make_scheme(), activation_overrides={"wide": 3, "narrow": 6})
        rows = {row["name"]: row["input_bits"] for row in layers(make_student(shared(), scheme))}
        assert (rows["wide"], rows["narrow"]) == (6, 6)

    def test_they_are_checked(self):
        with pytest.raises(DfqError, match="9 bits"):
            replace(make_scheme(), activation_overrides={"conv1": 9})
        with pytest.raises(DfqError, match="conv9"):
            make_student(small_teacher(), replace(make_scheme(), activation_overrides={"conv9": 4}))

    def test_json_and_back(self):
        scheme = replace(make_scheme(), activation_overrides={"conv1": 3})
        values = json.loads(json.dumps(scheme.to_dict()))
        assert Scheme.from_dict(values) == scheme
        del values["activation_overrides"]  # a file from before there were any
        assert Scheme.from_dict(values) == make_scheme()

    def test_training_follows_the_median(self):
        scheme = replace(make_scheme(), activation_overrides={"a": 2, "b": 5, "c": 6}, weight_overrides={"a": 7})
        assert (scheme.lowest_bits, scheme.training_bits) == (2, 5)


def by_definition(teacher: Teacher, scheme: Scheme, names: tuple[str, ...], bits: int, inputs: torch.Tensor) -> float:
    """τ² · KL where these layers read their input on a grid, and everything else is as it was."""
    network, spec = canonical(teacher.model, SPEC).requires_grad_(False), scheme.activation_spec(bits)

    def rounded(_, arguments):
        (values,) = arguments
        scale, zero_point = RANGES["mse"](values.flatten()[None], spec)
        integers = ((values / scale).round() + zero_point).clamp(spec.q_min, spec.q_max)
        return ((integers - zero_point) * scale,)

    expected = network(inputs)
    for name in names:
        network.get_submodule(name).register_forward_pre_hook(rounded)
    return float(knowledge_distillation(network(inputs), expected, 4.0))


class TestSensitivity:
    @pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
    def test_it_is_what_the_definition_says(self, scheme):
        """Also where an addition reads the same tensor, and where max pooling moves it: `conv1` reads `relu`."""
        model = Residual()
        model.head.weight.data *= 30
        teacher, scheme, read = small_teacher(model), make_scheme(scheme), {"relu": "conv1", "relu_1": "conv2"}
        candidates = Candidates({"conv2": (3,)}, dict.fromkeys(read, (2, 4)))
        found = width_sensitivity(teacher, scheme, candidates, images(), SensitivitySettings(batch_size=10))
        for tensor, layer in read.items():
            wide, narrow = (by_definition(teacher, scheme, (layer,), bits, images()) for bits in (4, 2))
            assert found.tensors[tensor] == pytest.approx({4: wide, 2: max(narrow, wide)}, rel=0.05, abs=1e-6)
            assert narrow > 2 * wide > 0

    def test_all_layers_that_read_a_tensor_read_it_rounded(self):
        teacher, scheme = shared(), make_scheme()
        found = width_sensitivity(teacher, scheme, Candidates({}, {"relu_1": (3,)}), images(10))
        wanted = by_definition(teacher, scheme, ("wide", "narrow"), 3, images(10))
        assert found.tensors["relu_1"][3] == pytest.approx(wanted, rel=0.1)

    def test_a_tensor_may_be_named_like_a_method_of_a_module(self):
        model = nn.Sequential()
        for name, width in (("first", 3), ("keys", 6), ("values", 6)):
            model.add_module(name, nn.Conv2d(width, 6, 3))
        model.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(6, 5))
        found = width_sensitivity(small_teacher(model), make_scheme(), Candidates({}, {"keys": (2, 8)}), images(4))
        assert found.tensors["keys"][2] > found.tensors["keys"][8]


class TestChoice:
    @pytest.mark.parametrize("share", [0.0, 0.15, 0.4, 0.8, 1.0])
    def test_it_is_the_best_of_all_choices(self, share):
        teacher, scheme = shared(), make_scheme()
        ends = BitOperations(teacher, scheme, 1e12)
        most = ends.smallest + share * (ends.largest - ends.smallest)
        choice = choose_widths(teacher, scheme, BitOperations(teacher, scheme, most), images(8))
        macs, weights = counted_macs(teacher.model), choice.sensitivities
        (read,) = [group for group in choice.activations if group.sensitivities]
        fixed = 64 * (macs["first"] + macs["head"])
        best = min(
            weights["inner"][i] + weights["wide"][w] + weights["narrow"][n] + read.sensitivities[a]
            for i, w, n, a in product(WIDTHS, repeat=4)
            if fixed + macs["inner"] * i * 8 + (macs["wide"] * w + macs["narrow"] * n) * a <= most
        )
        assert read.layers == ["wide", "narrow"] and set(choice.fixed) == {"first", "head"}
        assert choice.chosen.sensitivity == pytest.approx(best, rel=1e-9, abs=1e-15)
        assert choice.chosen.cost == counted(teacher, choice.applied_to(scheme)) <= most

    @pytest.mark.parametrize("scheme", ["deploy", "paper-qat", "paper-ptq"])
    @pytest.mark.parametrize("twice", [False, True])
    def test_no_width_for_all_beats_it_and_the_student_keeps_the_limit(self, twice, scheme):
        teacher, scheme = shared(twice), make_scheme(scheme)
        most = bit_operations(teacher.traced, replace(scheme, weight_bits=4, activation_bits=4))
        choice = choose_widths(teacher, scheme, BitOperations(teacher, scheme, most), images(8))
        assert choice.chosen.cost == bit_operations(teacher.traced, choice.applied_to(scheme)) <= most
        assert choice.uniform[4].cost == most and choice.chosen in choice.front
        for point in choice.uniform.values():
            assert point.cost > most or choice.chosen.sensitivity <= point.sensitivity

    def test_the_tensors_of_a_layer_that_is_called_twice_share_a_width(self):
        teacher, scheme = shared(twice=True), make_scheme()
        limit = BitOperations(teacher, scheme, 1e12)
        wanted = [["first"], ["inner"], ["wide", "narrow"], ["again"], ["head"]]
        assert [group.layers for group in limit.groups] == wanted
        assert len(limit.groups[3].tensors[4]) == 2
        widths = Widths({"again": 3}, {"again": 5})
        assert {row["input_bits"] for row in layers(make_student(teacher, widths.applied_to(scheme)))
                if row["name"] == "again"} == {5}  # fmt: skip

    def test_a_layer_of_a_fixed_width_holds_the_width_of_its_tensor(self):
        scheme = make_scheme(overrides={"narrow": 6})
        limit = BitOperations(shared(), scheme, 1e12)
        group = limit.groups[2]
        assert list(group.costs) == [6, 7, 8] and list(group.costs[6]["narrow"]) == [6]
        choice = choose_widths(shared(), scheme, BitOperations(shared(), scheme, limit.smallest), images(4))
        chosen = choice.applied_to(scheme)
        assert chosen.activation_overrides == {"wide": 6} and chosen.weight_overrides == {"inner": 2, "wide": 2}
        assert counted(shared(), chosen) == choice.chosen.cost == limit.smallest

    def test_a_number_that_cannot_be_reached(self):
        teacher = small_teacher()
        with pytest.raises(DfqError, match=r"1\.00 M bit operations, which this network cannot") as caught:
            BitOperations(teacher, make_scheme(), 1e6)
        assert caught.value.needed == "from 4.28 M to 8.26 M for one image: 2 of its layers have a fixed width"
        assert caught.value.way_out.startswith("--target-bops 4.28M or more")
        assert BitOperations(teacher, make_scheme(), 4.28e6).limit == 4_280_000

    def test_json_and_back(self):
        teacher, scheme = shared(), make_scheme()
        choice = choose_widths(teacher, scheme, BitOperations(teacher, scheme, 4e6), images(4))
        values = json.loads(json.dumps(choice.to_dict()))
        assert ChosenWidths.from_dict(values) == choice and values["unit"] == "bops"
        del values["activations"]  # a run from before they were chosen
        assert ChosenWidths.from_dict(values).activations == []

    def test_picture(self, tmp_path):
        teacher, scheme = shared(), make_scheme()
        choice = choose_widths(teacher, scheme, BitOperations(teacher, scheme, 4e6), images(4))
        for factor in (1, 1000):
            front = [replace(point, cost=factor * point.cost) for point in choice.front]
            mixed_precision_plot(replace(choice, front=front), tmp_path / "mixed_precision.png")
            with Image.open(tmp_path / "mixed_precision.png") as picture:
                assert picture.size == (1080, 456)
                bars = picture.convert("RGB").crop((540, 0, 1080, 456)).getcolors(maxcolors=10**6)
            drawn = {"#{:02x}{:02x}{:02x}".format(*colour): count for count, colour in bars}
            assert min(drawn[BLUE], drawn[ORANGE], drawn[FAINT]) > 1000  # weights, inputs, and what is fixed
