"""Mixed precision: sensitivities are those of the definition, the choice is the best one, and its target is kept."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_nets import SPEC, PreActivation, Residual, canonical, small_teacher
from torch import nn
from torch.nn import functional as F

from dfq.errors import DfqError
from dfq.mixed_precision import (
    AverageBits,
    Candidates,
    ChosenWidths,
    FileSize,
    Point,
    Widths,
    choose_widths,
    mixed_precision_plot,
    monotone,
    pareto_front,
    width_sensitivity,
)
from dfq.mixed_precision.settings import SensitivitySettings, WidthSearchSettings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import Scheme, make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.system.budget import Budget
from dfq.system.stage import Stage
from dfq.training.losses import knowledge_distillation

WIDTHS = range(2, 9)


def images(count=20):
    return torch.randn(count, *SPEC.size, generator=torch.Generator().manual_seed(1))


def random_options(seed: int, layers: int = 4) -> dict[str, dict[int, tuple[int, float]]]:
    generator = np.random.default_rng(seed)
    return {
        f"layer{i}": {b: (int(generator.integers(1, 30)), float(generator.random())) for b in (2, 3, 4, 8)}
        for i in range(layers)
    }


def usual_options(layers: int) -> dict[str, dict[int, tuple[int, float]]]:
    """Costs and losses as networks have them: bits × weights, and a quarter of the loss with each bit more."""
    generator = np.random.default_rng(0)
    sizes, losses = generator.integers(100, 1000, layers), generator.random(layers)
    return {f"layer{i}": {b: (b * int(sizes[i]), losses[i] / 4**b) for b in WIDTHS} for i in range(layers)}


def summed(options, widths) -> tuple[int, float]:
    chosen = [options[layer][bits] for layer, bits in widths.items()]
    return sum(cost for cost, _ in chosen), sum(loss for _, loss in chosen)


def every_choice(options) -> list[tuple[int, float]]:
    return [summed(options, dict(zip(options, bits, strict=True))) for bits in product(*options.values())]


class TestAllocation:
    @pytest.mark.parametrize("seed", range(8))
    def test_every_limit_gets_what_trying_all_choices_finds(self, seed):
        options = random_options(seed)
        front, choices = pareto_front(options), every_choice(options)
        for limit in range(min(cost for cost, _ in choices), max(cost for cost, _ in choices) + 2):
            index = front.within(limit)
            cost, loss = summed(options, front.widths(index))
            assert cost <= limit and (cost, loss) == (front.costs[index], pytest.approx(front.losses[index]))
            assert loss == pytest.approx(min(loss for cost, loss in choices if cost <= limit))

    def test_the_front_rises_in_cost_and_falls_in_loss(self):
        front = pareto_front(usual_options(4))
        assert len(front) > 10 and (np.diff(front.costs) > 0).all() and (np.diff(front.losses) < 0).all()

    def test_below_the_cheapest_choice_there_is_none(self):
        options = random_options(0)
        cheapest = min(cost for cost, _ in every_choice(options))
        front = pareto_front(options)
        assert front.within(cheapest - 1) is None and front.within(cheapest) == 0

    def test_a_thinned_front_keeps_limits_and_its_ends(self):
        options = usual_options(6)
        exact = pareto_front(options)
        thinned = pareto_front(options, WidthSearchSettings(largest_front=25))
        assert len(thinned) <= 26 < len(exact)
        assert (thinned.costs[0], thinned.losses[-1]) == (exact.costs[0], pytest.approx(exact.losses[-1]))
        interval = (exact.costs[-1] - exact.costs[0]) / 25
        for limit in exact.costs:
            index = thinned.within(limit)
            assert summed(options, thinned.widths(index))[0] <= limit
            best = exact.within(int(limit - len(options) * (interval + 1)))
            assert best is None or thinned.losses[index] <= exact.losses[best] + 1e-9


class InPlace(nn.Module):
    """Works in place on a tensor that a layer further back has made, and calls one layer twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv1, self.conv2 = (nn.Conv2d(i, 6, 3, padding=1) for i in (3, 6, 6))
        self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(6, 5)

    def forward(self, images):
        x = self.stem(images)
        x += self.conv1(x)
        x += self.conv2(self.conv1(self.relu(x)))
        return self.head(x.mean((2, 3)))


def by_definition(teacher, scheme, layer: str, bits: int, inputs) -> float:
    """τ² · KL with one weight replaced, one forward pass of the whole network."""
    network = canonical(teacher.model, SPEC).requires_grad_(False)
    target, weight, spec = network(inputs), network.get_submodule(layer).weight, scheme.weight_spec(bits)
    scale, zero_point = RANGES["mse"](weight.detach().flatten(1), spec)
    steps = weight.detach().flatten(1) / scale[:, None]
    integers = (steps.round() + zero_point[:, None]).clamp(spec.q_min, spec.q_max) - zero_point[:, None]
    weight.data = (integers * scale[:, None]).view_as(weight)
    return float(knowledge_distillation(network(inputs), target, 4.0))


class TestSensitivity:
    @pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
    @pytest.mark.parametrize("net", [Residual, PreActivation, InPlace])
    def test_it_is_what_the_definition_says(self, net, scheme):
        model = net()
        model.head.weight.data *= 30  # large logits: divergences far above the rounding of float32
        teacher, scheme = small_teacher(model), make_scheme(scheme)
        layers = [name for name, module in teacher.model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        candidates = Candidates(dict.fromkeys(layers, (2, 4)))
        found = width_sensitivity(teacher, scheme, candidates, images(), SensitivitySettings(batch_size=8))
        assert found.images == 20 and not found.tensors
        for layer in layers:
            wide, narrow = (by_definition(teacher, scheme, layer, bits, images()) for bits in (4, 2))
            assert found.weights[layer] == pytest.approx({4: wide, 2: max(narrow, wide)}, rel=0.02, abs=1e-6)

    def test_more_bits_are_never_worse(self):
        assert monotone({2: 3.0, 3: 0.5, 4: 1.0, 8: 0.1}) == {2: 3.0, 3: 1.0, 4: 1.0, 8: 0.1}
        found = width_sensitivity(small_teacher(), make_scheme(), Candidates({"conv1": WIDTHS}), images(4))
        lost = found.weights["conv1"]
        assert list(lost) == list(WIDTHS) and np.all(np.diff(list(lost.values())) <= 0)

    def test_the_budget_ends_it_after_a_batch(self):
        teacher, spent = small_teacher(), Budget(1e-9)
        candidates, settings = Candidates({"conv1": (4,)}), SensitivitySettings(batch_size=8)
        found = width_sensitivity(teacher, make_scheme(), candidates, images(), settings, Stage(budget=spent))
        assert found.images == 8

    def test_the_teacher_stays_as_it_was(self):
        teacher = small_teacher()
        before = teacher(images())
        width_sensitivity(teacher, make_scheme(), Candidates({"conv1": (2,)}, {"relu_1": (2,)}), images())
        assert torch.equal(teacher(images()), before)


class Unequal(nn.Module):
    """Two layers of the same size, of which the second hardly reaches the logits."""

    def __init__(self):
        super().__init__()
        self.loud, self.faint = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.first, self.head = nn.Conv2d(3, 3, 1), nn.Linear(6, 5)
        for parameter in self.faint.parameters():
            parameter.data.mul_(0.01)

    def forward(self, images):
        x = self.first(images)
        return self.head((F.relu(self.loud(x)) + F.relu(self.faint(x))).mean((2, 3)))


class TestChoice:
    def test_the_sensitive_layer_gets_more_bits(self):
        teacher, scheme = small_teacher(Unequal()), make_scheme()
        target = AverageBits(teacher, scheme, 5.5)
        choice = choose_widths(teacher, scheme, target, images())
        assert choice.widths["loud"] > choice.widths["faint"]
        assert choice.widths["first"] == choice.widths["head"] == 8 and set(choice.fixed) == {"first", "head"}

    @pytest.mark.parametrize("average", [2.0, 3.3, 4.5, 8.0])
    def test_the_average_is_kept_and_no_uniform_width_beats_it(self, average):
        teacher, scheme = small_teacher(), make_scheme("paper-qat")
        choice = choose_widths(teacher, scheme, AverageBits(teacher, scheme, average), images())
        counts = {name: teacher.model.get_submodule(name).weight.numel() for name in choice.widths}
        mean = sum(counts[name] * bits for name, bits in choice.widths.items()) / sum(counts.values())
        assert mean == pytest.approx(choice.average_bits) and mean <= average
        assert choice.chosen.cost == pytest.approx(mean) and choice.fixed == []
        for point in choice.uniform.values():
            assert point.cost > average or choice.chosen.sensitivity <= point.sensitivity + 1e-12
        assert choice.chosen in choice.front

    def test_overrides_are_fixed_and_count(self):
        teacher, scheme = small_teacher(), make_scheme(overrides={"conv1": 6})
        target = AverageBits(teacher, scheme, 6.0)
        assert target.layers.fixed == {"stem": 8, "conv1": 6, "head": 8} and target.layers.free == ["conv2"]
        with pytest.raises(DfqError, match="leave nothing to choose"):
            AverageBits(teacher, make_scheme(overrides={"conv1": 6, "conv2": 6}), 6.0)

    def test_an_average_below_the_fixed_layers(self):
        teacher = small_teacher()
        with pytest.raises(DfqError, match="average of 2 bits") as caught:
            AverageBits(teacher, make_scheme(), 2)
        low = float(caught.value.needed.split()[1])
        assert AverageBits(teacher, make_scheme(), low).asked == low
        with pytest.raises(DfqError):
            AverageBits(teacher, make_scheme(), low - 0.011)

    def test_json_and_back(self):
        import json

        teacher, scheme = small_teacher(), make_scheme()
        choice = choose_widths(teacher, scheme, AverageBits(teacher, scheme, 5.0), images(4))
        assert ChosenWidths.from_dict(json.loads(json.dumps(choice.to_dict()))) == choice
        assert Scheme.from_dict(json.loads(json.dumps(choice.applied_to(scheme).to_dict()))).weight_overrides == {
            layer: choice.widths[layer] for layer in ("conv1", "conv2")
        }


class TestFileSize:
    @pytest.fixture(scope="class")
    @staticmethod
    def wide():
        """Layers large enough to be worth packing."""
        torch.manual_seed(0)
        return small_teacher(
            nn.Sequential(
                nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.ReLU(), nn.Conv2d(32, 24, 3), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
            )
        )  # fmt: skip

    def test_only_the_widest_width_of_each_container_is_a_candidate(self, wide):
        target = FileSize(wide, make_scheme(), 10**6)
        assert {group.name: group.widths for group in target.groups} == {"2": {4, 8}, "4": {4, 8}}
        mixed = {"2": 4, "4": 8}
        predicted = target.base + sum(group.cost((None, (mixed[group.name],))) for group in target.groups)
        assert abs(predicted - target.cost(Widths(mixed))) < 200
        assert target.cost(Widths({"2": 3, "4": 7})) == target.cost(Widths(mixed))

    def test_a_prediction_that_is_too_small_is_corrected(self, wide):
        target = FileSize(wide, make_scheme(), 10**6)
        one_narrow = min(target.cost(Widths({"2": 4, "4": 8})), target.cost(Widths({"2": 8, "4": 4})))
        target.limit, target.asked = one_narrow - 1, float(one_narrow - 1)
        target.base -= 300
        choice = choose_widths(wide, make_scheme(), target, images(4))
        assert choice.chosen.cost <= target.limit and choice.widths["2"] == choice.widths["4"] == 4

    def test_a_size_that_cannot_be_reached(self, wide):
        with pytest.raises(DfqError, match="target of 900 bytes") as caught:
            FileSize(wide, make_scheme(), 900)
        smallest, largest = (int(word.replace(",", "")) for word in caught.value.needed.split()[1:4:2])
        assert 900 < smallest < largest and FileSize(wide, make_scheme(), smallest).smallest == smallest


def test_weight_overrides_leave_activations_alone():
    scheme = make_scheme(bits=8, overrides={"conv2": 6})
    changed = replace(scheme, weight_overrides={"conv1": 3, "conv2": 5, "stem": 4})
    before, after = (make_student(small_teacher(), s) for s in (scheme, changed))
    assert {n: q.spec.bits for n, q in weight_quantizers(after).items()} == {
        "stem": 4, "conv1": 3, "conv2": 5, "head": 8
    }  # fmt: skip
    bits = [[q.spec.bits for q in activation_quantizers(student).values()] for student in (before, after)]
    assert bits[0] == bits[1] and (scheme.lowest_bits, changed.lowest_bits) == (6, 3)
    with pytest.raises(DfqError, match="conv9"):
        make_student(small_teacher(), replace(scheme, weight_overrides={"conv9": 4}))


@pytest.mark.parametrize("unit, factor", [("bits", 1), ("bytes", 10**4), ("bytes", 10**6)])
@pytest.mark.parametrize("layers", [3, 60])
def test_picture(tmp_path, unit, factor, layers):
    names = [f"layer{i}" for i in range(layers)]
    front = [Point(factor * (2 + i / 10), 3.0 * 0.5**i) for i in range(50)] + [Point(factor * 8.0, 0.0)]
    choice = ChosenWidths(
        unit=unit, target=factor * 4.5, chosen=front[24], widths={name: 2 + i % 7 for i, name in enumerate(names)},
        weights=dict.fromkeys(names, 10), activations=[], fixed=names[:1], sensitivities={}, images=8, front=front,
        uniform={b: Point(factor * b, 5 * 0.2**b) for b in WIDTHS},
    )  # fmt: skip
    mixed_precision_plot(choice, tmp_path / "mixed_precision.png")
    with Image.open(tmp_path / "mixed_precision.png") as picture:
        assert picture.size == (1080, 456)
        assert len(picture.convert("RGB").getcolors(maxcolors=10**6)) > 20


def test_a_file_that_outgrew_its_target_is_reported():
    doubts = ChosenWidths.doubts
    assert doubts(SimpleNamespace(unit="bytes", target=1000.0), 1000) == []
    assert "1,001" in doubts(SimpleNamespace(unit="bytes", target=1000.0), 1001)[0]
    assert doubts(SimpleNamespace(unit="bits", target=4.0), 10**6) == []
