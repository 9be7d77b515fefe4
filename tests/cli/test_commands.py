"""Every command succeeds on a tiny net, and its help tells all that it does."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from click import Context, Option
from click.shell_completion import ShellComplete
from safetensors.torch import load_file
from support.command_line import SMALL, find_command, succeed

import dfq
from dfq.cli import main
from dfq.cli.help_sections import example_of, section_of
from dfq.cli.main import COMMANDS as LISTED

COMMANDS = tuple(LISTED)


class TestSuccess:
    def test_quantize_leaves_a_whole_run(self, run_folder):
        names = {path.name for path in run_folder.iterdir()}
        assert {"model.onnx", "student.safetensors", "config.json", "report.json", "samples.png"} <= names
        assert not any(name.startswith(".") for name in names)
        report = json.loads((run_folder / "report.json").read_text())
        assert 0 <= report["accuracy"]["onnx"] <= 1
        assert set(report["agreement"]["onnx_student"]) == {"synthetic", "labelled", "pictures"}

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

    def test_out_defaults_to_name_and_bits(self, model_file, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        succeed("quantize", model_file, "--weight-bits", "4", *SMALL, "--method", "zeroq")
        assert (tmp_path / "net-w4a8" / "model.onnx").is_file()

    def test_resume_of_a_finished_run_repeats_nothing(self, model_file, tmp_path):
        folder = tmp_path / "run"
        succeed("quantize", model_file, *SMALL, "--out", folder)
        before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
        succeed("quantize", model_file, *SMALL, "--out", folder, "--resume")
        assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before

    def test_overwrite_replaces_a_run_and_leaves_other_files(self, model_file, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        succeed("quantize", model_file, *SMALL, "--out", tmp_path, "--overwrite", "--layer-bits", "conv2=3")
        assert (tmp_path / "mine.txt").read_text() == "mine"
        layers = json.loads((tmp_path / "report.json").read_text())["layers"]
        assert next(layer for layer in layers if layer["name"] == "conv2")["weight_bits"] == 3

    def test_inspect_changes_nothing(self, model_file, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        before = model_file.read_bytes()
        text = succeed("inspect", model_file, "--bits", "4")
        assert list(tmp_path.iterdir()) == [] and model_file.read_bytes() == before
        for part in ("conv1", "32×1×3×3", "9,248", "4 layers with statistics", "1x8x8", "5 at 8 bits"):
            assert part in text
        assert max(map(len, text.splitlines())) <= 80

    def test_synthesize(self, model_file, tmp_path):
        succeed("synthesize", model_file, "--images", "12", "--no-flip", "--budget", "2s", "--out", tmp_path / "images")
        tensors = load_file(tmp_path / "images" / "images.safetensors")
        assert tensors["images"].shape == (12, 1, 8, 8) and tensors["images"].dtype == torch.uint8
        assert tensors["labels"].shape == (12,)
        names = {"images.safetensors", "images.npz", "classes", "samples.png"}
        assert {path.name for path in (tmp_path / "images").iterdir()} == names

    def test_export_writes_the_same_network_again(self, run_folder, tmp_path):
        out = tmp_path / "new" / "camera.onnx"
        succeed("export", run_folder, "--out", out, "--batch-size", "1")
        images = {"images": np.ones((1, 1, 8, 8), np.float32)}
        logits = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, images)[0]
                  for path in (out, run_folder / "model.onnx")]  # fmt: skip
        assert np.array_equal(*logits)

    def test_validate_repeats_the_run_s_agreement(self, run_folder, labelled_file):
        text = succeed("validate", run_folder, "--data", labelled_file, "--threads", str(torch.get_num_threads()))
        for part in ("accuracy, labelled", "top-1 = student, labelled", "Runs on integers", "steps of an 8-bit grid"):
            assert part in text
        assert text.strip().startswith(("Ship it", "Check it", "Don't")), "the decision comes first"

    def test_methods_lists_the_table(self):
        text = succeed("methods")
        for name in dfq.methods:
            assert name in text


class TestHelp:
    @pytest.mark.parametrize("command", [name for name in COMMANDS if name != "env"])
    def test_help_has_examples_and_defaults(self, command):
        text = succeed(command, "--help")
        assert f"dfq {command}" in text and "Example" in text
        for parameter in find_command(command).params:
            if parameter.param_type_name == "option" and not parameter.required:
                shown = getattr(parameter, "show_default", False) or "[default:" in (parameter.help or "")
                assert shown, f"--help does not tell the default of {parameter.opts}"

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_stands_in_a_section_with_an_example_that_it_takes(self, command):
        found = find_command(command)
        text = " ".join(succeed(command, "--help").split())
        for option in (each for each in found.get_params(Context(found)) if isinstance(each, Option)):
            assert f"{section_of(option)}:" in text
            assert option.is_flag or example_of(option), f"{option.opts} has no example"
            if example := example_of(option):
                assert f"[example: {example}]" in text
                option.type(example.partition(" ")[2], option, Context(found))

    def test_the_group_lists_every_command(self):
        text = succeed("--help")
        assert all(command in text for command in COMMANDS)

    @pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
    def test_what_needs_no_network_does_not_load_torch(self, arguments):
        code = f"""
import sys
from dfq.cli import main
main({arguments}, standalone_mode=False)
assert "torch" not in sys.modules and "rich" not in sys.modules
"""
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    @pytest.mark.parametrize(
        "words, incomplete, expected",
        [
            ([], "qu", ["quantize"]),
            (["quantize", "--method"], "zero", ["zeroq", "zeroq-kd"]),
            (["quantize", "--target"], "ort", ["ort-cpu", "ort-cuda"]),
            (["quantize", "--arch"], "torchv", ["torchvision/"]),
            (["quantize", "--arch"], "dfq/resnet1", ["dfq/resnet18_cifar", "dfq/resnet110"]),
            (["compare", "--methods"], "auto,zeroq-", ["auto,zeroq-kd"]),
        ],
    )
    def test_completion_offers_commands_and_values(self, words, incomplete, expected):
        complete = ShellComplete(main, {}, "dfq", "_DFQ_COMPLETE")
        found = [item.value for item in complete.get_completions(words, incomplete)]
        assert sorted(found) == sorted(expected)

    def test_env_names_versions_and_hardware(self):
        text = succeed("env")
        assert f"torch        {torch.__version__.split('+')[0]}" in text and "processor" in text and "dfq" in text

    def test_allow_pickle_says_that_it_runs_code(self):
        assert "RUNS CODE FROM THE FILE" in " ".join(succeed("quantize", "--help").split())

    def test_python_m_dfq(self):
        found = subprocess.run([sys.executable, "-m", "dfq", "--version"], capture_output=True, text=True, check=True)
        assert found.stdout.startswith("dfq ")
