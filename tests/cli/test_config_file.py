"""A file says what options say, is checked as they are, and gives way to what is typed."""

import json

import pytest
from support.command_line import fail, find_command, run

from dfq.jobs.quantize.config import config_of
from dfq.jobs.quantize.settings import Settings
from dfq.results.stored_files import read_json


@pytest.fixture
def taken(monkeypatch, model_file, tmp_path):
    """Returns the settings with which `quantize` would begin, given the text of a file and what is typed."""
    calls = []

    def stop(teacher, out, settings, options):
        calls.append((teacher, out, settings, options))
        raise KeyboardInterrupt

    def take(text: str, *typed: object) -> tuple:
        (tmp_path / "run.toml").write_text(text)
        monkeypatch.setattr("dfq.cli.quantize.quantize_model", stop)
        result = run("quantize", "--config", tmp_path / "run.toml", *typed)
        assert result.exit_code == 130, result.output
        return calls.pop()

    return take


TEXT = """
model = "{model}"
out = "{out}"
bits = "mixed"
target-size = "900kB"
layer_bits = {{ conv2 = 3 }}
method = "zeroq"
flip = false
budget = 90
mean = [0.25]
input-size = "1x8x8"
strict = true
"""


def test_everything_that_options_say(taken, model_file, tmp_path):
    teacher, out, settings, options = taken(TEXT.format(model=model_file, out=tmp_path / "run"))
    assert settings == Settings(
        bits="mixed", target_size=900_000, layer_bits={"conv2": 3}, method="zeroq", flip=False, budget=90.0
    )
    assert out == tmp_path / "run" and options.strict and teacher.input_spec.mean == (0.25,)


def test_what_is_typed_wins(taken, model_file):
    _, _, settings, options = taken(
        'model = "nope.pt"\nbits = 4\nflip = false\nseed = 7\nresume = true', model_file, "--bits", 3, "--flip"
    )
    assert (settings.bits, settings.flip, settings.seed, options.resume) == (3, True, 7, True)


@pytest.mark.parametrize(
    "text, found, way_out",
    [
        ("bit = 4", "holds 'bit'", "did you mean bits?"),
        ("config = 'a.toml'", "holds 'config'", ""),
        ("[quantize]\nbits = 4", "holds 'quantize'", ""),
        ("bits = 4.5", "bits in", "--bits 4"),
        ("bits = true", "bits in", ""),
        ("seed = 1.5", "seed in", ""),
        ("flip = 'no'", "flip in", "quotation marks"),
        ("method = 'zeroqkd'", "method 'zeroqkd'", "did you mean zeroq-kd"),
        ("images = 1", "1 images", ""),
        ("layer_bits = { conv1 = [1] }", "layer_bits in", ""),
        ("bits = ", "cannot be read", "an example"),
    ],
)
def test_what_options_refuse(text, found, way_out, model_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(text)
    message = fail("quantize", model_file, "--config", "run.toml")
    assert found in message and way_out in message
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_a_finished_run_is_given_back(run_folder, model_file, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("dfq.cli.quantize.quantize_model", lambda *arguments: seen.append(arguments) or 1 / 0)
    run("quantize", model_file, "--config", run_folder / "config.json", "--out", tmp_path / "again")
    ((teacher, _, settings, _),) = seen
    recorded = read_json(run_folder / "config.json")
    del recorded["student_digest"]
    assert json.loads(json.dumps(config_of(teacher, settings))) == recorded


def test_a_run_of_another_command_is_not(run_folder, model_file):
    for command in ("distill", "synthesize", "inspect"):
        assert "records no run of" in fail(command, model_file, "--config", run_folder / "config.json")
    assert "records no run of" in fail("quantize", model_file, "--config", run_folder / "report.json")


def test_code_is_not_named_by_a_run_folder(run_folder, model_file, tmp_path, monkeypatch):
    monkeypatch.setattr("dfq.cli.quantize.quantize_model", lambda *_: 1 / 0)
    values = {**read_json(run_folder / "config.json"), "arch": "evil.py:net"}
    (tmp_path / "config.json").write_text(json.dumps(values))
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(tmp_path)
    result = run("quantize", model_file, "--config", "config.json", "--out", "run")
    assert "ZeroDivisionError" in result.stderr and "it ran" not in result.output


def test_lists_and_required_options(tmp_path, model_file, monkeypatch):
    seen = []
    monkeypatch.setattr("dfq.cli.compare.compare_methods", lambda *arguments, **_: seen.append(arguments[2]) or 1 / 0)
    (tmp_path / "run.toml").write_text(f'model = "{model_file}"\nmethods = ["zeroq", "rgal"]\nbits = [8, 4]\nseeds = 1')
    run("compare", "--config", tmp_path / "run.toml", "--out", tmp_path / "out")
    assert (seen[0].methods, seen[0].variants, seen[0].seeds) == (("zeroq", "rgal"), (8, 4), 1)
    (tmp_path / "run.toml").write_text('methods = "zeroq"\nstudent = "dfq/resnet20"')
    assert "--student with --job quantize" in fail("compare", model_file, "--config", tmp_path / "run.toml")


@pytest.mark.parametrize("command", ["quantize", "distill", "increment", "compare", "synthesize", "inspect"])
def test_every_command_with_settings_takes_a_file(command):
    assert "config" in {parameter.name for parameter in find_command(command).params}
