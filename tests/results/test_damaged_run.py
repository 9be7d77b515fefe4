"""A run folder of which a file was damaged: one clear error that names the file, and never a bug of dfq."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.command_line import fail

import dfq
from dfq.errors import DfqError
from dfq.system.reading import reading


@pytest.fixture
def folder(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / "run")


CONFIGS = {
    "a list": "[]",
    "null": "null",
    "a number": "3",
    "deeply nested": "[" * 100_000,
    "half": '{"arch": ',
    "no text": "\udcff",
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_config_that_is_no_object(what, folder):
    (folder / "config.json").write_text(CONFIGS[what], encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DfqError, match=r"config\.json' cannot be read"):
        dfq.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, "missing") for key in ("arch", "num_classes", "is_classifier", "input_spec", "scheme")),
        ("arch", 3), ("num_classes", "ten"), ("is_classifier", "yes"), ("input_spec", []), ("input_spec", {"size": 3}),
        ("scheme", {"weight_bits": 4}), ("scheme", {"unknown": 1}), ("file_interface", 5),
    ],
)  # fmt: skip
def test_a_config_with_a_wrong_or_missing_value(key, value, folder):
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in config.items() if k != key} | ({} if value == "missing" else {key: value})
    (folder / "config.json").write_text(json.dumps(config))
    for call in (lambda: dfq.load(folder), lambda: dfq.validate(folder)):
        with pytest.raises(DfqError, match=r"config\.json' cannot be read"):
            call()


def test_the_command_line_says_it_in_three_lines(folder):
    (folder / "config.json").write_text("[]")
    assert "config.json" in fail("validate", folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.fill_(float("nan")), "not finite"),
        (lambda t: t.zero_(), "a scale of 0"),
        (lambda t: t.neg_(), "0 or"),
    ],
)
def test_a_student_with_impossible_numbers(change, said, folder):
    tensors = load_file(folder / "student.safetensors")
    change(next(tensor for name, tensor in tensors.items() if name.endswith(".scale")))
    save_file(tensors, folder / "student.safetensors")
    with pytest.raises(DfqError, match=said):
        dfq.load(folder)


def test_images_without_images(folder):
    save_file({"pictures": torch.zeros(1)}, folder / "images.safetensors")
    with pytest.raises(DfqError, match="holds no 'images'"):
        dfq.validate(folder)


def test_what_is_the_machines_fault_is_not_the_files(tmp_path):
    with pytest.raises(MemoryError), reading(tmp_path):
        raise MemoryError
    with pytest.raises(DfqError, match="KeyError") as caught, reading(tmp_path / "x"):
        raise KeyError("a" * 10_000)
    assert len(str(caught.value)) < 1000
