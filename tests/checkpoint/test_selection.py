"""Which entry of a file holds the weights: found, chosen where there are several, or taken by name."""

import pytest
import torch
from support.checkpoint_cases import refused
from support.checkpoint_networks import HALVES, assert_same, load, under, vgg, write_code
from support.command_line import succeed

from dfq.checkpoint import load_checkpoint
from dfq.models.registry import build
from dfq.teacher.load import load_teacher


@pytest.fixture
def arch(tmp_path):
    return write_code(tmp_path)


KEYS = ["state_dict", "model", "params", "ema", "state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "module"]


@pytest.mark.parametrize("key", [*KEYS, "generator"])
def test_only_entry(path, arch, key):
    network = vgg()
    torch.save({key: network.state_dict(), "optimizer": {"state": {0: {"exp_avg": torch.zeros(2, 2)}}}}, path)
    loaded = load(path, arch)
    assert_same(loaded, network)
    assert loaded.assumed == ()


@pytest.mark.parametrize("outer", ["model", "net", "checkpoint"])
def test_entry_inside_an_entry(path, outer):
    network = build("dfq/resnet20").eval()
    torch.save({outer: {"state_dict": network.state_dict(), "arch": "resnet20", "epoch": 3}, "mean": 0.5}, path)
    loaded = load_checkpoint(path)
    assert_same(loaded, network)
    assert (loaded.arch, loaded.input_spec.mean) == ("dfq/resnet20", (0.5, 0.5, 0.5))


PAIRS = [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("params", "params_ema"), ("model", "ema")]


@pytest.mark.parametrize(("raw_key", "averaged_key"), PAIRS)
def test_averaged_weights_go_before_raw_ones(path, arch, raw_key, averaged_key):
    raw, averaged = vgg(1), vgg(2)
    torch.save({raw_key: raw.state_dict(), averaged_key: under("module.", averaged.state_dict())}, path)
    loaded = load(path, arch)
    assert_same(loaded, averaged)
    assert loaded.assumed[0] == (
        f"the averaged weights under '{averaged_key}', because papers and timm report the accuracy of these; "
        f"not taken: '{raw_key}' (--weights {raw_key})"
    )
    for key, network in ((raw_key, raw), (averaged_key, averaged)):
        chosen = load(path, arch, weights=key)
        assert_same(chosen, network)
        assert not any("averaged" in sentence for sentence in chosen.assumed)


def test_weights_in_the_interface(path, arch):
    raw, averaged = vgg(1), vgg(2)
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": averaged.state_dict()}, path)
    images = torch.rand(2, 3, 16, 16)
    loaded = load_checkpoint(path, arch=arch, weights="state_dict", **HALVES)
    with torch.inference_mode():
        assert torch.equal(loaded.model(images), raw(images))


def test_first_part_of_the_names(path, arch):
    network = vgg()
    torch.save({"epoch": 1, "state_dict": {**under("net.", network.state_dict()), "head.weight": torch.eye(3)}}, path)
    for key in ("net", "state_dict.net"):
        loaded = load(path, arch, weights=key)
        assert_same(loaded, network)
        assert loaded.assumed == ()


@pytest.mark.parametrize("key", ["ema", "", "state", "features.0.weight"])
def test_unknown_key_lists_the_present_ones(path, arch, key):
    torch.save({"state_dict": vgg().state_dict(), "state_dict_ema": vgg().state_dict(), "epoch": 3}, path)
    error = refused(path, arch=arch, weights=key, **HALVES)
    assert "no weights under that key" in error.found
    assert "state_dict, state_dict_ema, classifier, features" in error.needed
    assert "--weights state_dict" in error.way_out


def test_several_unknown_entries(path, arch):
    first, second = vgg(1), vgg(2)
    torch.save({"student": first.state_dict(), "teacher": second.state_dict()}, path)
    error = refused(path, arch=arch, **HALVES)
    assert "weights under student, teacher" in error.found and "--weights student" in error.way_out
    assert_same(load(path, arch, weights="teacher"), second)


def test_several_known_entries_inside_entries(path, arch):
    content = {"a": {"state_dict": vgg(1).state_dict()}, "b": {"state_dict": vgg(2).state_dict()}}
    torch.save(content, path)
    assert "--weights a.state_dict" in refused(path, arch=arch, **HALVES).way_out
    assert_same(load(path, arch, weights="b"), vgg(2))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_become_float32_and_it_is_said(path, arch, kind):
    torch.save(vgg().to(kind).state_dict(), path)
    loaded = load(path, arch)
    assert loaded.assumed == (f"float32 in place of {str(kind)[6:]}, which 14 tensors have",)
    assert {tensor.dtype for tensor in loaded.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("stated", [True, False])
def test_float8_is_refused(path, arch, kind, stated):
    torch.save({"state_dict": {n: t.to(kind) if t.ndim > 1 else t for n, t in vgg().state_dict().items()}}, path)
    error = refused(path, arch=arch if stated else None)
    assert f"'features.0.weight' holds {str(kind)[6:]} numbers" in error.found
    assert "before quantization" in error.way_out


def test_one_number_for_all_channels(path, arch):
    torch.save(vgg().state_dict(), path)
    spec = load_checkpoint(path, arch=arch, input_size=(3, 16, 16), mean=0.4, std=(0.1, 0.2, 0.3)).input_spec
    assert (spec.mean, spec.std) == ((0.4, 0.4, 0.4), (0.1, 0.2, 0.3))
    assert "1 means" in refused(path, arch=arch, input_size=(3, 16, 16), mean=[0.4], std=0.5).found


def test_one_number_for_a_network_in_memory():
    teacher = load_teacher(vgg(), input_size=(3, 16, 16), mean=0.5, std=0.25)
    assert (teacher.input_spec.mean, teacher.input_spec.std) == ((0.5,) * 3, (0.25,) * 3)


def test_on_the_command_line(path, arch):
    torch.save({"model": vgg().state_dict(), "model_ema": vgg().half().state_dict()}, path)
    options = ("--arch", arch, "--input-size", "3x16x16", "--mean", "0.5", "--std", "0.25,0.5,0.25")
    text = " ".join(succeed("inspect", path, *options).split())
    assert "the averaged weights under 'model_ema'" in text and "float32 in place of float16" in text
    assert "mean 0.5, 0.5, 0.5, std 0.25, 0.5, 0.25" in text
    assert "Assumed" not in succeed("inspect", path, *options, "--weights", "model")
