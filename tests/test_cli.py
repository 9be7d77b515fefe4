"""The command line: every command succeeds on a tiny net, and every bad input ends in one clear message."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

import dfq
from dfq.checkpoint import save_checkpoint
from dfq.cli import main
from dfq.cli.main import main as group
from dfq.models.registry import DIGITS_INPUT, build

COMMANDS = ("quantize", "inspect", "synthesize", "export", "validate", "methods", "demo")
SMALL = ("--images", "16", "--steps", "3", "--no-flip")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments: object, exit_code: int = 2) -> str:
    """The message of a command that must fail with found, needed and way out, and without a traceback."""
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    for part in ("found: ", "needed: ", "way out: "):
        assert part in result.stderr, result.output
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The digits net with random weights, which every command takes alone."""
    torch.manual_seed(0)
    return save_checkpoint(
        tmp_path_factory.mktemp("model") / "net.pt", build("dfq/digits_cnn"), "dfq/digits_cnn", DIGITS_INPUT
    )


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("labelled") / "digits.npz"
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(20) % 10)
    return path


@pytest.fixture(scope="module")
def run_folder(model, labelled, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    text = succeed("quantize", model, "--bits", "4", *SMALL, "--out", folder, "--data", labelled)
    (folder / "stdout.txt").write_text(text)
    return folder


class TestSuccess:
    def test_quantize_leaves_a_whole_run(self, run_folder):
        names = {path.name for path in run_folder.iterdir()}
        assert {"model.onnx", "student.safetensors", "config.json", "report.json", "samples.png"} <= names
        assert not any(name.startswith(".") for name in names)
        report = json.loads((run_folder / "report.json").read_text())
        assert 0 <= report["accuracy"]["onnx"] <= 1
        assert set(report["agreement"]["onnx_student"]) == {"synthetic", "labelled"}

    def test_quantize_prints_what_a_person_wants_to_know(self, run_folder):
        text = (run_folder / "stdout.txt").read_text()
        for part in (
            "W4A4",
            "teacher",
            "student",
            "ONNX file",
            "accuracy, labelled",
            "top-1 = student, synthetic",
            "file size",
            "latency",
            "Runs on integers",
            "Stayed in float",
            "model.onnx",
            "16 synthetic images",
        ):
            assert part in text  # fmt: skip
        assert max(map(len, text.splitlines())) <= 80

    def test_the_file_runs(self, run_folder):
        session = onnxruntime.InferenceSession(run_folder / "model.onnx", providers=["CPUExecutionProvider"])
        logits = session.run(None, {session.get_inputs()[0].name: np.zeros((3, 1, 8, 8), np.float32)})[0]
        assert logits.shape == (3, 10)

    def test_the_run_loads_in_python(self, run_folder):
        assert dfq.load(run_folder)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)

    def test_out_defaults_to_name_and_bits(self, model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        succeed("quantize", model, "--weight-bits", "4", *SMALL, "--method", "zeroq")
        assert (tmp_path / "net-w4a8" / "model.onnx").is_file()

    def test_resume_of_a_finished_run_repeats_nothing_but_the_end(self, model, tmp_path):
        folder = tmp_path / "run"
        succeed("quantize", model, *SMALL, "--out", folder)
        images = (folder / "images.safetensors").read_bytes()
        succeed("quantize", model, *SMALL, "--out", folder, "--resume")
        assert (folder / "images.safetensors").read_bytes() == images

    def test_overwrite_replaces_a_run_and_leaves_other_files(self, model, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        succeed("quantize", model, *SMALL, "--out", tmp_path, "--overwrite", "--layer-bits", "conv2=3")
        assert (tmp_path / "mine.txt").read_text() == "mine"
        layers = json.loads((tmp_path / "report.json").read_text())["layers"]
        assert next(layer for layer in layers if layer["name"] == "conv2")["weight_bits"] == 3

    def test_inspect_changes_nothing(self, model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = model.read_bytes()
        text = succeed("inspect", model, "--bits", "4")
        assert list(tmp_path.iterdir()) == [] and model.read_bytes() == before
        for part in ("conv1", "32×1×3×3", "9,248", "4 layers with statistics", "1x8x8", "4 at 8 bits"):
            assert part in text
        assert max(map(len, text.splitlines())) <= 80

    def test_synthesize(self, model, tmp_path):
        succeed("synthesize", model, "--images", "12", "--no-flip", "--budget", "2s", "--out", tmp_path / "images")
        tensors = load_file(tmp_path / "images" / "images.safetensors")
        assert tensors["images"].shape == (12, 1, 8, 8) and tensors["images"].dtype == torch.uint8
        assert tensors["labels"].shape == (12,)
        assert {path.name for path in (tmp_path / "images").iterdir()} == {"images.safetensors", "samples.png"}

    def test_export_writes_the_same_network_again(self, run_folder, tmp_path):
        out = tmp_path / "new" / "camera.onnx"
        succeed("export", run_folder, "--out", out, "--batch-size", "1")
        images = {"images": np.ones((1, 1, 8, 8), np.float32)}
        logits = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, images)[0]
                  for path in (out, run_folder / "model.onnx")]  # fmt: skip
        assert np.array_equal(*logits)

    def test_validate_repeats_the_run_s_agreement(self, run_folder, labelled):
        text = succeed("validate", run_folder, "--data", labelled, "--threads", str(torch.get_num_threads()))
        for part in ("accuracy, labelled", "top-1 = student, labelled", "Runs on integers", "steps of an 8-bit grid"):
            assert part in text

    def test_methods_lists_the_table(self):
        text = succeed("methods")
        for name in dfq.calibration.METHODS:
            assert name in text


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_has_examples_and_defaults(self, command):
        text = succeed(command, "--help")
        assert f"dfq {command}" in text and "Example" in text
        for parameter in group.commands[command].params:
            if parameter.param_type_name == "option" and not parameter.required:
                shown = getattr(parameter, "show_default", False) or "[default:" in (parameter.help or "")
                assert shown, f"--help does not tell the default of {parameter.opts}"

    def test_the_group_lists_every_command(self):
        text = succeed("--help")
        assert all(command in text for command in COMMANDS)

    def test_allow_pickle_says_that_it_runs_code(self):
        assert "RUNS CODE FROM THE FILE" in " ".join(succeed("quantize", "--help").split())

    def test_python_m_dfq(self):
        found = subprocess.run([sys.executable, "-m", "dfq", "--version"], capture_output=True, text=True, check=True)
        assert found.stdout.startswith("dfq ")


class TestBadInput:
    """Nothing is written in any of these."""

    @pytest.fixture(autouse=True)
    def nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        yield
        assert not list(tmp_path.rglob("*.onnx")) and not list(tmp_path.rglob(".*"))

    @pytest.mark.parametrize("command", ["quantize", "inspect", "synthesize"])
    def test_missing_file(self, command):
        assert "no file 'nope.pt'" in fail(command, "nope.pt")

    def test_empty_file(self, tmp_path):
        (tmp_path / "empty.pt").touch()
        assert "0 bytes" in fail("quantize", "empty.pt")

    def test_truncated_file(self, model, tmp_path):
        (tmp_path / "half.pt").write_bytes(model.read_bytes()[: model.stat().st_size // 2])
        assert "half.pt" in fail("quantize", "half.pt")

    @pytest.mark.parametrize("bits", [0, 1, 33, -4])
    @pytest.mark.parametrize("option", ["--bits", "--weight-bits", "--activation-bits"])
    def test_bits(self, model, option, bits):
        assert f"{bits} bits" in fail("quantize", model, option, bits)

    @pytest.mark.parametrize(
        "option, value, found",
        [
            ("--scheme", "deply", "did you mean deploy"),
            ("--method", "zeroqkd", "did you mean zeroq-kd"),
            ("--ranges", "maxmin", "one of"),
            ("--budget", "5x", "5x"),
            ("--budget", "0", "positive"),
            ("--images", "1", "1 images"),
            ("--steps", "-1", "-1 steps"),
            ("--threads", "0", "at least 1"),
            ("--device", "abacus", "abacus"),
            ("--input-size", "32", "channels x height x width"),
            ("--input-size", "3x8x8", "3 channels"),
            ("--mean", "a,b", "a,b"),
            ("--std", "0", "positive"),
            ("--layer-bits", "conv1", "NAME=BITS"),
            ("--layer-bits", "conv9=4", "conv9"),
            ("--layer-bits", "conv1=9", "9 bits"),
            ("--arch", "dfq/resnet21", "resnet21"),
            ("--data", "nope.npz", "nope.npz"),
        ],
    )
    def test_options(self, model, option, value, found):
        assert found in fail("quantize", model, option, value, "--out", "run")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
    def test_cuda_without_cuda(self, model):
        assert "cpu" in fail("quantize", model, "--device", "cuda")

    def test_unknown_options_and_commands_are_usage_errors(self, model):
        for arguments in (("quantize",), ("quantize", model, "--bit", "4"), ("quantise", model), ("export", "run")):
            assert run(*arguments).exit_code == 2
        assert run("quantize", model, "--resume", "--overwrite").exit_code == 2

    def test_out_that_holds_files(self, model, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("mine")
        message = fail("quantize", model, "--out", "run")
        assert "--overwrite" in message and "--resume" in message
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
        assert "--resume" not in fail("synthesize", model, "--out", "run")

    def test_out_is_checked_before_the_model_is_read(self, tmp_path):
        (tmp_path / "file").touch()
        assert "is a file" in fail("quantize", "nope.pt", "--out", "file")

    def test_no_write_permission(self, model, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        assert "Not a directory" in fail("quantize", model, "--out", "file/run", exit_code=1)

        def refuse(*arguments, **options):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("dfq.output.tempfile.TemporaryFile", refuse)
        for command in (("quantize", model), ("synthesize", model), ("demo",)):
            assert "Permission denied" in fail(*command, "--out", "run", exit_code=1)
        assert not (tmp_path / "run").exists()

    def test_bad_labelled_images(self, model, tmp_path):
        np.savez(tmp_path / "wrong.npz", images=np.zeros((4, 9, 9), np.uint8), labels=np.zeros(4, int))
        assert "(4, 9, 9" in fail("quantize", model, "--data", "wrong.npz", "--out", "run")
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("command", ["export", "validate"])
    def test_a_folder_that_is_no_run(self, command, tmp_path):
        options = ("--out", "new.onnx") if command == "export" else ()
        assert "config.json" in fail(command, tmp_path, *options)

    def test_export_to_a_name_that_exists(self, run_folder, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        assert "--overwrite" in fail("export", run_folder, "--out", "mine.txt")
        assert (tmp_path / "mine.txt").read_text() == "mine"

    def test_validate_of_a_damaged_file(self, run_folder, tmp_path):
        (tmp_path / "half.bin").write_bytes((run_folder / "model.onnx").read_bytes()[:500])
        assert "half.bin" in fail("validate", run_folder, "--onnx", "half.bin")


class TestFailureAtWork:
    @pytest.mark.parametrize("victim", ["dfq.run_folder.save_file", "dfq.pictures.FigureCanvasAgg.print_png"])
    def test_disk_full(self, model, tmp_path, monkeypatch, victim):
        def fill(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(victim, fill)
        message = fail("quantize", model, *SMALL, "--out", tmp_path / "run", exit_code=1)
        assert "No space left on device" in message
        assert {path.name for path in (tmp_path / "run").iterdir()} <= {"config.json", "images.safetensors"}

    def test_an_unexpected_error_is_one_line(self, model, tmp_path, monkeypatch):
        def fall(*arguments, **options):
            raise ZeroDivisionError("a bug\nof many lines")

        monkeypatch.setattr("dfq.cli.quantize.quantize_model", fall)
        monkeypatch.delenv("DFQ_DEBUG", raising=False)
        result = run("quantize", model, "--out", tmp_path / "run")
        assert result.exit_code == 1
        assert "Unexpected ZeroDivisionError: a bug\n" in result.stderr and "please report" in result.stderr
        assert "Traceback" not in result.output

        monkeypatch.setenv("DFQ_DEBUG", "1")
        assert "Traceback" in run("quantize", model, "--out", tmp_path / "run").output

    def test_ctrl_c(self, model, tmp_path, monkeypatch):
        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("dfq.cli.quantize.quantize_model", interrupt)
        result = run("quantize", model, "--out", tmp_path / "run")
        assert result.exit_code == 130
        assert result.stderr.strip().startswith("Interrupted.") and "Traceback" not in result.output
