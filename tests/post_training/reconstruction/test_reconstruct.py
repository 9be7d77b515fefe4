"""Block reconstruction: cuts, learned rounding, dropped activations, stores, resuming."""

from dataclasses import replace

import pytest
import torch
from support.instant_nets import Mixed
from support.reconstruction_cases import Killed, KillsAtBlock, images, pair
from support.small_nets import SPEC, PreActivation, Residual, canonical, lived_in, plain
from torch import nn

from dfq.post_training.reconstruction import FitSettings, reconstruct
from dfq.post_training.reconstruction.adaround import LearnedRounding
from dfq.post_training.reconstruction.block_data import store_outputs
from dfq.post_training.reconstruction.blocks import cut_into_blocks
from dfq.post_training.reconstruction.fit_block import BlockData, fit_block, images_per_iteration
from dfq.post_training.reconstruction.qdrop import Dropping
from dfq.post_training.reconstruction.settings import StoreSettings
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.scheme import QuantSpec, make_scheme
from dfq.student.convert import activation_quantizers, make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.progress import Silent
from dfq.system.stage import Stage
from dfq.teacher import Teacher

FEW = FitSettings(iterations=40, batch_size=8)


@pytest.mark.parametrize("make", [Residual, PreActivation, plain])
@pytest.mark.parametrize("scheme", ["deploy", "paper-qat", "paper-ptq"])
def test_blocks_in_sequence_are_the_networks(make, scheme):
    teacher, student = pair(make, scheme=scheme)
    reference = canonical(teacher.model, SPEC)
    blocks = cut_into_blocks(student, reference)
    quantized = exact = images(4)
    for block in blocks:
        quantized, exact = block.student(quantized), block.teacher(exact)
    torch.testing.assert_close(quantized, student(images(4)))
    torch.testing.assert_close(exact, reference(images(4)))
    assert [layer for block in blocks for layer in block.layers] == list(weight_quantizers(student))


@pytest.mark.parametrize(("side", "expected"), [(8, 8), (32, 4), (56, 1), (112, 1)])
def test_large_maps_take_fewer_images_per_iteration(side, expected):
    spec = replace(SPEC, size=(3, side, side))
    student = make_student(Teacher(lived_in(plain()), spec), make_scheme(bits=4))
    first = cut_into_blocks(student, canonical(plain(), spec))[0]
    assert images_per_iteration(first, FitSettings()) == expected
    assert images_per_iteration(first, FitSettings(batch_size=2)) == min(expected, 2)


def test_a_gpu_is_given_as_many_images_as_published():
    on_gpu = FitSettings(iterations=7).on(torch.device("cuda"))
    assert (on_gpu.batch_size, on_gpu.iterations) == (32, 7)
    assert FitSettings(batch_size=64).on(torch.device("cuda")).batch_size == 64
    assert FitSettings().on(torch.device("cpu")) == FitSettings()


def test_a_residual_block_stays_whole():
    teacher, student = pair(Residual)
    blocks = cut_into_blocks(student, canonical(teacher.model, SPEC))
    assert ("conv1", "conv2") in [block.layers for block in blocks]


@pytest.mark.parametrize("symmetric", [True, False])
def test_learned_rounding_starts_at_the_weight_and_settles_on_the_grid(symmetric):
    weight = nn.Parameter(torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)))
    quantizer = FakeQuantize(QuantSpec(bits=4, signed=True, symmetric=symmetric, axis=0), channels=6)
    with torch.no_grad():
        quantizer.scale.fill_(0.5)  # wide enough for all values
    if not symmetric:
        quantizer.zero_point.fill_(2.0)
    rounding = LearnedRounding(quantizer, weight)
    inside = (weight / 0.5 > -7) & (weight / 0.5 < 5)
    torch.testing.assert_close(rounding(weight)[inside], weight[inside], atol=1e-3, rtol=0)
    with torch.no_grad():
        rounding.v.copy_(torch.randn_like(rounding.v).sign() * 10)  # decided, often against the nearest point
        rounding.scale.mul_(1.1)
    assert rounding.undecided(2.0).item() == 0
    hard = rounding(weight).detach()
    rounding.settle(quantizer, weight)
    torch.testing.assert_close(quantizer(weight).detach(), hard)
    assert not torch.equal(weight, hard), "weights stay within their cells, for training that goes on"


def test_an_undecided_weight_costs_more_than_a_decided_one():
    weight = torch.full((1, 1), 0.25)
    quantizer = FakeQuantize(QuantSpec(bits=4, signed=True, symmetric=True, axis=0), channels=1)
    half = LearnedRounding(quantizer, torch.full((1, 1), 0.5))
    quarter = LearnedRounding(quantizer, weight)
    assert half.undecided(2.0).item() > quarter.undecided(2.0).item() > 0


class Hurried(Budget):
    """As a time limit that lets a block make 200 iterations."""

    def done(self, step, steps):
        return step / 200


def fitted_layer(size: float, iterations: int = 200) -> tuple[float, torch.Tensor]:
    """(error ÷ that of the nearest grid points, grid points) of a linear layer with weights `size` times as large."""
    generator, spec = torch.Generator().manual_seed(0), replace(SPEC, size=(3, 4, 4))
    layer = nn.Linear(48, 10, bias=False)
    with torch.no_grad():
        layer.weight.copy_(size * torch.randn(10, 48, generator=generator))
    inputs = 2 + torch.randn(64, 3, 4, 4, generator=generator)  # with a mean, roundings must make up for each other
    teacher = Teacher(nn.Sequential(nn.Flatten(), layer), spec)
    student = calibrate(make_student(teacher, make_scheme("paper-qat", bits=3)), inputs).eval()
    (block,) = cut_into_blocks(student, canonical(teacher.model, spec))
    data = BlockData(inputs, inputs, block.teacher(inputs).detach())
    nearest = (block.student(inputs) - data.targets).square().mean().item()
    fit, generator = FitSettings(iterations=iterations, batch_size=32), torch.Generator().manual_seed(1)
    with Silent().task("", 200) as task:
        fit_block(block, data, fit, Stage(budget=Hurried()), task, generator)
    fitted = student.get_submodule(block.layers[0])
    error = (block.student(inputs) - data.targets).square().mean().item()
    return error / nearest, fitted.weight_quantizer.integers(fitted.weight)


def test_what_is_decided_does_not_depend_on_the_size_of_a_blocks_outputs():
    (small, of_small), (large, of_large) = fitted_layer(0.03), fitted_layer(30.0)
    assert small < 0.8 and large == pytest.approx(small, rel=0.1)
    assert (of_small == of_large).float().mean() > 0.97


def test_what_is_decided_when_time_runs_out_is_what_few_iterations_would_decide():
    (few, _), (hurried, _) = fitted_layer(1.0, iterations=200), fitted_layer(1.0, iterations=20_000)
    assert hurried == pytest.approx(few, rel=0.1) and few < 0.8


def test_elements_are_dropped_with_their_probability():
    exact, quantized = torch.zeros(200, 200), torch.ones(200, 200)
    assert float(Dropping(0.0).mixed(quantized, exact).mean()) == 1.0
    assert float(Dropping(1.0).mixed(quantized, exact).mean()) == 0.0
    assert float(Dropping(0.3).mixed(quantized, exact).mean()) == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_dropped_element_is_exactly_one_of_the_two(dtype):
    exact = torch.randn(3, 5, 7, 11).to(dtype).contiguous(memory_format=torch.channels_last)
    output = Dropping(0.3).mixed(exact.round(), exact)
    assert bool(((output == exact) | (output == exact.round())).all())
    assert output.dtype == dtype and output.stride() == exact.stride()


def test_elements_that_share_a_draw_are_dropped_independently():
    coins = Dropping(0.5).mixed(torch.zeros(40_000, 8), torch.ones(40_000, 8))
    assert coins.mean(0).tolist() == pytest.approx([0.5] * 8, abs=0.02)
    assert float((torch.corrcoef(coins.T) - torch.eye(8)).abs().max()) < 0.03


def test_a_mapped_file_holds_the_same_outputs():
    network, inputs = nn.Conv2d(3, 4, 3), images(10)
    in_memory = store_outputs(network, inputs, StoreSettings(batch_size=4))
    mapped = store_outputs(network, inputs, StoreSettings(batch_size=4, memory_limit=0))
    assert torch.equal(in_memory, mapped)
    torch.testing.assert_close(mapped.float(), network(inputs).detach(), atol=2e-3, rtol=2e-3)


def output_error(teacher: Teacher, student) -> float:
    fresh = images(64)[32:]
    with torch.no_grad():
        return float((student(fresh) - teacher(fresh)).square().mean())


@pytest.mark.parametrize("make", [Residual, plain])
def test_reconstruction_brings_the_student_closer_to_its_teacher(make):
    teacher, student = pair(make)
    before = output_error(teacher, student)
    history = reconstruct(student, teacher, images(), FEW)
    assert all(block.after < block.before for block in history.blocks if block.kept)
    assert any(block.kept for block in history.blocks)
    assert output_error(teacher, student) < 0.8 * before


@pytest.mark.parametrize("learned, fixed", [("weights", "activations"), ("activations", "weights")])
def test_scales_at_rate_zero_stay(learned, fixed):
    def scales() -> dict:
        of = {"weights": weight_quantizers(student), "activations": activation_quantizers(student)}
        return {kind: torch.cat([q.scale.detach().flatten() for q in found.values()]) for kind, found in of.items()}

    teacher, student = pair(Residual)
    before = scales()
    rate = {"weights": "step_rate", "activations": "scale_rate"}[learned]
    fit = FitSettings(iterations=40, batch_size=8, least_squares=False, **{rate: 0.0})
    history = reconstruct(student, teacher, images(), fit)
    assert any(block.kept for block in history.blocks)
    after = scales()
    assert torch.equal(before[fixed], after[fixed]) and not torch.equal(before[learned], after[learned])


def test_a_block_that_got_worse_keeps_what_it_had():
    teacher, student = pair(Residual)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    wild = FitSettings(iterations=20, batch_size=8, scale_rate=5.0, step_rate=5.0)
    history = reconstruct(student, teacher, images(), wild)
    lost = [block for block in history.blocks if not block.kept]
    assert lost and all(block.after >= block.before for block in lost)
    if len(lost) == len(history.blocks):
        assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    path = tmp_path / "reconstruction.ckpt"
    teacher, whole = pair(Residual)
    reconstruct(whole, teacher, images(), FEW)
    _, student = pair(Residual)
    with pytest.raises(Killed):
        reconstruct(student, teacher, images(), FEW, stage=Stage(checkpoint=path, progress=KillsAtBlock(2)))
    _, resumed = pair(Residual)
    history = reconstruct(resumed, teacher, images(), FEW, stage=Stage(checkpoint=path))
    assert len(history.blocks) == len(cut_into_blocks(resumed, canonical(teacher.model, SPEC)))
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor)


def test_the_budget_ends_it():
    teacher, student = pair(Residual)
    history = reconstruct(student, teacher, images(), FitSettings(iterations=10**6), stage=Stage(budget=Budget(1.0)))
    assert history.blocks[0].iterations > 0
    assert all(block.iterations < 10**6 for block in history.blocks)


def test_layers_without_bias_get_one_and_a_killed_run_goes_on(tmp_path):
    """Also where a block is put back to its state before."""
    fit, checkpoint = FitSettings(iterations=5), tmp_path / "unfinished.pt"
    results = []
    for _ in range(2):
        teacher, student = pair(Mixed)
        history = reconstruct(student, teacher, images(), fit, stage=Stage(checkpoint=checkpoint))
        results.append((history.to_dict(), student.state_dict()))
    assert all(student.get_submodule(name).bias is not None for name in weight_quantizers(student))
    assert results[0][0] == results[1][0]
    for name, value in results[0][1].items():
        assert torch.equal(value, results[1][1][name])
