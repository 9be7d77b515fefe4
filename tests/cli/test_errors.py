"""Every bad input and every failure at work ends in one clear message."""

import errno
import os

import numpy as np
import pytest
import torch
from support.command_line import SMALL, fail, run


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

    def test_truncated_file(self, model_file, tmp_path):
        (tmp_path / "half.pt").write_bytes(model_file.read_bytes()[: model_file.stat().st_size // 2])
        assert "half.pt" in fail("quantize", "half.pt")

    @pytest.mark.parametrize("bits", [0, 1, 33, -4])
    @pytest.mark.parametrize("option", ["--bits", "--weight-bits", "--activation-bits"])
    def test_bits(self, model_file, option, bits):
        assert f"{bits} bits" in fail("quantize", model_file, option, bits)

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
            ("--threads", "100000", "at most"),
            ("--seed", "-1", "from 0 to"),
            ("--seed", str(2**64), "from 0 to"),
            ("--device", "meta", "cannot use: "),
            ("--input-size", "²x8x8", "channels x height x width"),
            ("--input-size", "1x8x" + "9" * 400, "up to 6 digits"),
            ("--input-size", "1x9000x9000", "numbers in an image"),
            ("--layer-bits", "conv1=²", "NAME=BITS"),
            ("--budget", "9" * 400, "positive"),
            ("--images", "10000000000", "at most"),
            ("--out", "a" * 300, "too long"),
            ("--data", "a" * 300, "too long"),
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
    def test_options(self, model_file, option, value, found):
        out = () if option == "--out" else ("--out", "run")
        assert found in fail("quantize", model_file, option, value, *out)

    @pytest.mark.parametrize(
        "command",
        [("quantize",), ("inspect",), ("validate",), ("quantize", "MODEL", "--data"), ("validate", "RUN", "--onnx")],
    )
    def test_a_pipe_does_not_block(self, command, model_file, run_folder, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        whole = {"MODEL": model_file, "RUN": run_folder}
        assert "pipe" in fail(*(whole.get(part, part) for part in command), "pipe")

    @pytest.mark.parametrize(
        "command", [("quantize",), ("synthesize",), ("distill", "--student", "dfq/digits_cnn", "--steps", "1")]
    )
    def test_more_images_than_memory_holds(self, command, model_file, monkeypatch):
        monkeypatch.setattr("dfq.images.memory.memory_bytes", lambda: 8 * 2**30)
        name, *options = command
        assert "24 GiB" in fail(name, model_file, *options, "--images", 10**8, "--out", "run")

    def test_control_sequences_and_endless_names_are_not_shown(self, tmp_path):
        weights = {"\x1b[31mred": torch.full((8, 1, 3, 3), float("nan")), "a" * 10**6: torch.zeros(3, 3)}
        torch.save(weights, tmp_path / "odd.pt")
        shown = fail("inspect", "odd.pt", "--arch", "dfq/digits_cnn")
        assert "\\x1b[31mred" in shown and "\x1b" not in shown and len(shown) < 10_000

    @pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
    def test_cuda_without_cuda(self, model_file):
        assert "cpu" in fail("quantize", model_file, "--device", "cuda")

    def test_unknown_options_and_commands_are_usage_errors(self, model_file):
        for arguments in (
            ("quantize",),
            ("quantize", model_file, "--bit", "4"),
            ("quantise", model_file),
            ("export", "run"),
        ):
            assert run(*arguments).exit_code == 2
        assert run("quantize", model_file, "--resume", "--overwrite").exit_code == 2

    def test_out_that_holds_files(self, model_file, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine.txt").write_text("mine")
        message = fail("quantize", model_file, "--out", "run")
        assert "--overwrite" in message and "--resume" in message
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
        assert "--resume" not in fail("synthesize", model_file, "--out", "run")

    def test_out_is_checked_before_the_model_is_read(self, tmp_path):
        (tmp_path / "file").touch()
        assert "is a file" in fail("quantize", "nope.pt", "--out", "file")

    def test_no_write_permission(self, model_file, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        assert "Not a directory" in fail("quantize", model_file, "--out", "file/run", exit_code=1)

        def refuse(*arguments, **options):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("dfq.system.output_paths.tempfile.TemporaryFile", refuse)
        for command in (("quantize", model_file), ("synthesize", model_file), ("demo",)):
            assert "Permission denied" in fail(*command, "--out", "run", exit_code=1)
        assert not (tmp_path / "run").exists()

    def test_bad_labelled_images(self, model_file, tmp_path):
        np.savez(tmp_path / "wrong.npz", images=np.zeros((4, 9, 9), np.uint8), labels=np.zeros(4, int))
        assert "(4, 9, 9" in fail("quantize", model_file, "--data", "wrong.npz", "--out", "run")
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
    @pytest.mark.parametrize(
        "victim", ["dfq.results.stored_files.save_file", "dfq.results.plots.FigureCanvasAgg.print_png"]
    )
    def test_disk_full(self, model_file, tmp_path, monkeypatch, victim):
        def fill(*arguments, **options):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(victim, fill)
        message = fail("quantize", model_file, *SMALL, "--out", tmp_path / "run", exit_code=1)
        assert "No space left on device" in message
        whole = {"config.json", "student.safetensors", "images.safetensors", "start.ckpt"}
        assert {path.name for path in (tmp_path / "run").iterdir()} <= whole

    def test_an_unexpected_error_is_one_line(self, model_file, tmp_path, monkeypatch):
        def fall(*arguments, **options):
            raise ZeroDivisionError("a bug\nof many lines")

        monkeypatch.setattr("dfq.cli.quantize.quantize_model", fall)
        monkeypatch.delenv("DFQ_DEBUG", raising=False)
        result = run("quantize", model_file, "--out", tmp_path / "run")
        assert result.exit_code == 1
        assert "Unexpected ZeroDivisionError: a bug\n" in result.stderr and "please report" in result.stderr
        assert "Traceback" not in result.output

        monkeypatch.setenv("DFQ_DEBUG", "1")
        assert "Traceback" in run("quantize", model_file, "--out", tmp_path / "run").output

    def test_no_memory(self, model_file, tmp_path, monkeypatch):
        def fall(*arguments, **options):
            raise MemoryError

        monkeypatch.setattr("dfq.cli.quantize.quantize_model", fall)
        assert "memory" in fail("quantize", model_file, "--out", tmp_path / "run", exit_code=1)

    def test_ctrl_c(self, model_file, tmp_path, monkeypatch):
        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("dfq.cli.quantize.quantize_model", interrupt)
        result = run("quantize", model_file, "--out", tmp_path / "run")
        assert result.exit_code == 130
        assert result.stderr.strip().startswith("Interrupted.") and "Traceback" not in result.output
