"""Mixed precision from the command line to the file, its reload, and a run that was killed."""

import json
from dataclasses import replace
from importlib.resources import files

import onnx
import pytest
import torch
from jsonschema import Draft202012Validator
from onnx import TensorProto
from support.command_line import SMALL, fail, succeed
from support.kills import Killed, Watch, lives
from torch import nn

import dfq
from dfq.cli.option_types import parse_bits, parse_bytes, parse_operations
from dfq.errors import DfqError
from dfq.export import processor_warnings
from dfq.images.input_spec import InputSpec
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize import widths as mixed_run
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.models.registry import build
from dfq.student.convert import activation_quantizers, weight_quantizers
from dfq.student.set_ranges import input_quantizer
from dfq.teacher import Teacher
from dfq.training.settings import LearningRateSettings

ARCH, SPEC = "dfq/digits_cnn", InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))
PROBING = "Probing layers"
FEW = {"images": 16, "steps": 3, "flip": False, "method": "zeroq-kd"}


def teacher() -> Teacher:
    """With random weights, and biases that are not all zero: equal ones would be stored once."""
    torch.manual_seed(0)
    model = build(ARCH, 10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, 0, 0.2)
    return Teacher(model, SPEC, arch=ARCH)


def stored_widths(folder) -> dict[str, int]:
    """Layer → bits of the container that its weight has in the file."""
    names = {TensorProto.INT4: ".weight.integers.int4", TensorProto.INT8: ".weight.integers"}
    tensors = [t for t in onnx.load(folder / "model.onnx").graph.initializer if t.data_type in names]
    return {
        t.name.removesuffix(names[t.data_type]): 4 if t.data_type == TensorProto.INT4 else 8
        for t in tensors if t.name.endswith(names[t.data_type])
    }  # fmt: skip


@pytest.fixture(scope="module")
def averaged(model_file, tmp_path_factory):
    """(run folder, what the terminal showed)."""
    folder = tmp_path_factory.mktemp("mixed") / "run"
    return folder, succeed("quantize", model_file, "--bits", "mixed", "--average-bits", "4.5", *SMALL, "--out", folder)


def test_the_run_has_the_chosen_widths(averaged):
    folder, text = averaged
    report = json.loads((folder / "report.json").read_text())
    mixed = report["mixed_precision"]
    assert {layer["name"]: layer["weight_bits"] for layer in report["layers"]} == mixed["widths"]
    assert {layer["input_bits"] for layer in report["layers"]} == {8}
    assert stored_widths(folder) == {name: 4 if bits <= 4 else 8 for name, bits in mixed["widths"].items()}
    assert mixed["average_bits"] <= 4.5 and set(mixed["fixed"]) == {"conv1", "linear"} and mixed["images"] == 14
    assert set(mixed["uniform"]) == {str(bits) for bits in range(2, 9)} and mixed["chosen"] in mixed["front"]
    assert report["seconds"]["widths"] > 0 and (folder / "mixed_precision.png").is_file()
    for part in (f"{mixed['average_bits']:.2f} bits on average", "A8 (deploy", "mixed_precision.png", "widths"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80


def test_it_reloads_with_these_widths(averaged):
    folder, _ = averaged
    widths = json.loads((folder / "report.json").read_text())["mixed_precision"]["widths"]
    student = dfq.load(folder)
    assert {name: q.spec.bits for name, q in weight_quantizers(student).items()} == widths
    assert {q.spec.bits for q in activation_quantizers(student).values()} == {8}
    images = torch.randn(4, 1, 8, 8)
    assert "same class" not in succeed("export", folder, "--out", folder.parent / "again.onnx")
    again = (folder.parent / "again.onnx").read_bytes()
    assert again == (folder / "model.onnx").read_bytes() and student(images).shape == (4, 10)


@pytest.mark.parametrize("scheme", ["deploy", "paper-qat"])
def test_the_file_keeps_its_target_size(tmp_path, scheme):
    settings = Settings(bits="mixed", target_size=41_500, scheme=scheme, activation_bits=6, **FEW)
    result = quantize_model(teacher(), tmp_path / "run", settings)
    size = (result.folder / "model.onnx").stat().st_size
    mixed = result.report["mixed_precision"]
    assert size == result.report["size_bytes"]["onnx"] and size <= mixed["chosen"]["cost"] <= 41_500
    biases = sum(layer["shape"][0] for layer in result.report["layers"])  # may take 2 bytes instead of 4
    assert mixed["chosen"]["cost"] - size < 300 + 2 * biases and result.report["warnings"] == processor_warnings()
    assert set(mixed["widths"].values()) == {4, 8} == set(stored_widths(result.folder).values())
    assert 6 in {q.spec.bits for q in activation_quantizers(result.student).values()}


def dies(*_, **__):
    raise KeyboardInterrupt


def kill_once_chosen(settings, folder, monkeypatch) -> None:
    """Runs until the widths are chosen, and dies before the student is made."""
    with monkeypatch.context() as patch:
        patch.setattr("dfq.jobs.quantize.run.tune", dies)
        with pytest.raises(KeyboardInterrupt):
            quantize_model(teacher(), folder, settings)


def test_a_killed_run_keeps_the_widths_it_has_chosen(tmp_path, monkeypatch):
    settings = Settings(bits="mixed", average_bits=5, **FEW)
    kill_once_chosen(settings, tmp_path, monkeypatch)
    config = tmp_path / "config.json"
    recorded = json.loads(config.read_text())
    recorded["mixed_precision"]["widths"]["conv3"] = 2  # no choice made again would come to this
    config.write_text(json.dumps(recorded))
    monkeypatch.setattr(mixed_run, "choose_widths", dies)
    result = quantize_model(teacher(), tmp_path, settings, RunOptions(resume=True))
    assert weight_quantizers(result.student)["conv3"].spec.bits == 2
    assert result.report["mixed_precision"] == recorded["mixed_precision"] | {
        "average_bits": result.report["mixed_precision"]["average_bits"]
    }
    with pytest.raises(DfqError, match="other settings"):
        quantize_model(teacher(), tmp_path, Settings(bits="mixed", average_bits=6, **FEW), RunOptions(resume=True))


@pytest.mark.parametrize("limit", [{"average_bits": 5}, {"target_bops": 3e7}])
def test_a_run_that_is_killed_while_it_measures_ends_the_same_and_measures_nothing_twice(limit, tmp_path, saves_always):
    settings, watch = Settings(bits="mixed", **limit, **FEW), Watch()
    whole = quantize_model(teacher(), tmp_path / "whole", settings, RunOptions(progress=watch))
    probes = watch.steps[PROBING]
    kills = {(PROBING, probes // 3), (PROBING, probes // 2), ("Training the student", 2)}
    dying = Watch(kills)
    options = RunOptions(resume=True, progress=dying)
    again, count = lives(lambda: quantize_model(teacher(), tmp_path / "killed", settings, options))
    assert count == len(kills) and not dying.kills
    most = max(len(widths) for widths in whole.report["mixed_precision"]["sensitivities"].values())
    assert probes <= dying.steps[PROBING] <= probes + 2 * most, "more than the place of each kill was measured again"
    assert again.report["mixed_precision"] == whole.report["mixed_precision"]
    assert again.report["student_digest"] == whole.report["student_digest"]
    assert not (tmp_path / "killed" / "widths.ckpt").exists()


@pytest.mark.parametrize("change", [{"sums": []}, {"batches": "many"}, {"probed": [1000]}])
def test_damaged_measurements_are_refused(change, tmp_path, saves_always):
    settings, path = Settings(bits="mixed", average_bits=5, **FEW), tmp_path / "widths.ckpt"
    with pytest.raises(Killed):
        quantize_model(teacher(), tmp_path, settings, RunOptions(progress=Watch({(PROBING, 9)})))
    torch.save(torch.load(path) | change, path)
    with pytest.raises(DfqError, match=r"widths\.ckpt"):
        quantize_model(teacher(), tmp_path, settings, RunOptions(resume=True))


def student_operations(student) -> int:
    """Bit operations of a student of `dfq/digits_cnn`, whose layers all read integers, from one pass of an image."""
    modules, counts = dict(student.named_modules()), []
    for node in student.graph.nodes:
        if node.target in weight_quantizers(student):
            layer, bits = modules[node.target], input_quantizer(node, modules).spec.bits
            both = bits * layer.weight_quantizer.spec.bits
            layer.register_forward_hook(
                lambda layer, _, output, both=both: counts.append(output.numel() * layer.weight[0].numel() * both)
            )
    student(torch.zeros(1, *SPEC.size))
    return sum(counts)


def test_a_run_within_bit_operations(model_file, tmp_path):
    options = ("--bits", "mixed", "--target-bops", "30M", *SMALL)
    text = succeed("quantize", model_file, *options, "--out", tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    mixed, student = report["mixed_precision"], dfq.load(tmp_path / "run")
    read = {layer: group["bits"] for group in mixed["activations"] for layer in group["layers"]}
    assert {row["name"]: (row["weight_bits"], row["input_bits"]) for row in report["layers"]} == {
        layer: (bits, read[layer]) for layer, bits in mixed["widths"].items()
    }
    assert student_operations(student) == mixed["chosen"]["cost"] <= mixed["target"] == 30_000_000
    assert len(set(read.values())) > 1 and mixed["unit"] == "bops"
    overrides = report["settings"]["scheme"]["activation_overrides"]
    chosen = {layer for group in mixed["activations"] if group["sensitivities"] for layer in group["layers"]}
    assert overrides == {layer: read[layer] for layer in chosen} and "conv1" not in chosen
    schema = json.loads((files("dfq.results") / "report.schema.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(report)] == []
    for part in ("bits on average", "Bit operations", "of at most 30.00 M", "Activations", "layers read"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_killed_run_keeps_the_widths_of_activations_that_it_has_chosen(tmp_path, monkeypatch):
    settings = Settings(bits="mixed", target_bops=3e7, **FEW)
    kill_once_chosen(settings, tmp_path, monkeypatch)
    config = json.loads((tmp_path / "config.json").read_text())
    (group,) = [group for group in config["mixed_precision"]["activations"] if group["layers"] == ["conv3"]]
    group["bits"] = other = 2 if group["bits"] > 2 else 3  # another choice would not come to this
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(mixed_run, "choose_widths", dies)
    result = quantize_model(teacher(), tmp_path, settings, RunOptions(resume=True))
    assert {row["name"]: row["input_bits"] for row in result.report["layers"]}["conv3"] == other
    assert result.report["mixed_precision"]["activations"] == config["mixed_precision"]["activations"]
    with pytest.raises(DfqError, match="other settings"):
        changed = replace(settings, target_bops=3.1e7)
        quantize_model(teacher(), tmp_path, changed, RunOptions(resume=True))


def test_a_run_of_an_older_version_goes_on(tmp_path, monkeypatch):
    """Its `config.json` knows nothing of bit operations and of widths of activations."""
    settings = Settings(bits="mixed", average_bits=5, **FEW)

    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dfq.jobs.quantize.run.tune", dies)
        quantize_model(teacher(), tmp_path, settings)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["settings"]["target_bops"], config["scheme"]["activation_overrides"]
    del config["mixed_precision"]["activations"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = quantize_model(teacher(), tmp_path, settings, RunOptions(resume=True))
    assert result.report["mixed_precision"]["activations"] == []


@pytest.mark.parametrize(
    "widths, activation_bits, bits", [((2, 3, 6), 8, 3), ((2, 3), 8, 2), ((4, 8, 8), 8, 8), ((6, 8), 4, 4)]
)
def test_training_follows_the_median_width_of_weights(widths, activation_bits, bits):
    settings = Settings(bits="mixed", average_bits=5, activation_bits=activation_bits, method="zeroq-kd")
    chosen = {f"layer{i}": width for i, width in enumerate(widths)}
    training = settings.training(SPEC, replace(settings.make_scheme(), weight_overrides=chosen))
    assert training.learning_rate == LearningRateSettings().by_bits[bits]
    assert training.steps == {2: 600, 3: 600, 4: 400, 8: 200}[bits]


def test_mixed_precision_gets_the_images_of_few_bits():
    settings = Settings(bits="mixed", average_bits=5, method="zeroq-kd")
    assert settings.image_count(SPEC) == 1024 and replace(settings, bits=8, average_bits=None).image_count(SPEC) == 256


@pytest.mark.parametrize(
    "options, part",
    [
        (["--bits", "mixed"], "without a limit"),
        (["--bits", "4", "--average-bits", "4"], "with 4 bits"),
        (["--target-size", "30kB"], "with 8 bits"),
        (["--bits", "mixed", "--average-bits", "4", "--target-size", "30kB"], "one limit"),
        (["--bits", "mixed", "--average-bits", "4", "--target-bops", "30M"], "--average-bits and --target-bops"),
        (["--target-bops", "30M"], "with 8 bits"),
        (["--bits", "mixed", "--target-bops", "30M", "--activation-bits", "4"], "4 bits for all activations"),
        (["--bits", "mixed", "--target-bops", "1k"], "cannot reach"),
        (["--bits", "mixed", "--target-bops", "many"], "1.2G"),
        (["--bits", "mixed", "--average-bits", "4", "--weight-bits", "3"], "3 bits for all weights"),
        (["--bits", "mixed", "--average-bits", "9"], "from 2 to 8"),
        (["--bits", "mixed", "--average-bits", "nan"], "from 2 to 8"),
        (["--bits", "mixed", "--average-bits", "2"], "cannot reach"),
        (["--bits", "mixed", "--target-size", "9kB"], "cannot reach"),
        (["--bits", "mixed", "--target-size", "big"], "1.2MB"),
        (["--bits", "some"], "or mixed"),
    ],
)
def test_errors_come_before_any_work(model_file, tmp_path, options, part):
    assert part in fail("quantize", model_file, *options, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_texts_of_the_command_line():
    sizes = {"1.2MB": 1_200_000, "900kB": 900_000, "2 GB": 2 * 10**9, "512": 512, "64B": 64, "0.3mb": 300_000}
    assert {text: parse_bytes(text) for text in sizes} == sizes
    assert (parse_bits("4"), parse_bits("Mixed")) == (4, "mixed")
    for text in ("", "MB", "-1MB", "1.2MiB", "1.2.3", "0"):
        with pytest.raises(DfqError, match="target-size"):
            parse_bytes(text)


def test_numbers_of_operations_of_the_command_line():
    numbers = {"1.2G": 12 * 10**8, "350M": 350 * 10**6, "2.5e9": 25 * 10**8, "1 t": 10**12, "7k": 7000, "123": 123}
    assert {text: parse_operations(text) for text in numbers} == numbers
    assert Settings(bits="mixed", target_bops=parse_operations("1.2G")).target_bops == 1_200_000_000
    for text in ("", "G", "-1G", "1.2GB", "1.2.3", "0", "1e-3", "1e999", "nan", "inf"):
        with pytest.raises(DfqError, match="target-bops"):
            parse_operations(text)


@pytest.mark.parametrize("number", [0, -1.0, float("nan"), float("inf")])
def test_numbers_of_operations_that_are_none(number):
    with pytest.raises(DfqError, match="a positive number"):
        Settings(bits="mixed", target_bops=number)
