"""The run folder: everything written whole, reloaded bit for bit, resumed, and never overwritten by accident."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from support.small_nets import SPEC, small_teacher
from support.synthesis_cases import quick
from torch import nn

import dfq
from dfq.calibration import METHODS
from dfq.calibration.inversion.inversion import Inversion
from dfq.errors import DfqError
from dfq.graph.global_pooling import GlobalAveragePool
from dfq.images.batch import Batch
from dfq.jobs.context import RunOptions
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.models.registry import build
from dfq.post_training.steps_after_ranges import CorrectBiases
from dfq.results.run_folder import RunFolder
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.atomic_files import replacing
from dfq.system.run_lock import writing_alone
from dfq.teacher import Teacher

FEW = {"images": 24, "steps": 4, "method": "zeroq-kd"}


def teacher_by_name():
    torch.manual_seed(0)
    return Teacher(build("dfq/digits_cnn", 10), small_spec(), arch="dfq/digits_cnn")


def small_spec():
    from dfq.images.input_spec import InputSpec

    return InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return quantize_model(teacher_by_name(), folder, Settings(bits=4, **FEW))


def test_a_run_leaves_what_the_contract_names(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "model.onnx", "float.onnx", "student.safetensors", "config.json", "report.json", "report.html", "samples.png",
        "learning_curve.png", "images.safetensors", "diversity.png", "README.md",
    }  # fmt: skip
    report = json.loads((finished.folder / "report.json").read_text())
    assert {"accuracy", "agreement", "size_bytes", "latency_ms", "nodes", "seconds", "settings", "seed", "versions",
            "hardware", "diversity", "warnings"} <= report.keys()  # fmt: skip
    assert report["accuracy"] == {"teacher": None, "student": None, "onnx": None}
    assert report["seconds"]["total"] >= report["seconds"]["training"] > 0
    assert report["size_bytes"]["onnx"] < report["size_bytes"]["float_onnx"]


def test_reload_bit_for_bit(finished):
    student = dfq.load(finished.folder)
    images = torch.randn(8, 1, 8, 8)
    assert torch.equal(student(images), finished.student(images))
    expected = finished.student.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in student.state_dict().items())


def test_images_reload_bit_for_bit(tmp_path):
    from dfq.calibration import METHODS

    teacher, run = small_teacher(), RunFolder(tmp_path)
    batch = METHODS["zeroq-kd"].synthesizer(teacher, batch_size=8).sample(8)
    run.save_images(batch, SPEC)
    again = run.load_images(SPEC, torch.device("cpu"))
    assert torch.equal(again.images, batch.images) and torch.equal(again.labels, batch.labels)


def test_same_seed_same_file(tmp_path, finished):
    again = quantize_model(teacher_by_name(), tmp_path / "run", Settings(bits=4, **FEW))
    assert (again.folder / "model.onnx").read_bytes() == (finished.folder / "model.onnx").read_bytes()


def test_a_used_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(DfqError, match="not empty"):
        quantize_model(teacher_by_name(), tmp_path, Settings(**FEW))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_overwrite_replaces_artifacts_only(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    (tmp_path / "model.onnx").write_text("old")
    quantize_model(teacher_by_name(), tmp_path, Settings(images=8, steps=0), options=RunOptions(overwrite=True))
    assert (tmp_path / "thesis.txt").read_text() == "dear" and (tmp_path / "model.onnx").stat().st_size > 1000


def test_a_run_killed_after_synthesis_goes_on(tmp_path, monkeypatch, finished):
    from dfq.jobs.quantize import fit_student as tune

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tune, "calibrate", lambda *a, **k: dies())
        with pytest.raises(KeyboardInterrupt):
            quantize_model(teacher_by_name(), tmp_path, Settings(bits=4, **FEW))
    assert (tmp_path / "start.ckpt").exists() and not (tmp_path / "report.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Inversion, "sample", lambda *a, **k: dies())
        result = quantize_model(teacher_by_name(), tmp_path, Settings(bits=4, **FEW), options=RunOptions(resume=True))
    assert (tmp_path / "model.onnx").read_bytes() == (finished.folder / "model.onnx").read_bytes()
    assert any("resumed" in warning for warning in result.report["warnings"])


def test_resume_with_other_settings_is_refused(finished):
    with pytest.raises(DfqError, match="other scheme, settings"):
        quantize_model(teacher_by_name(), finished.folder, Settings(bits=3, **FEW), options=RunOptions(resume=True))


def test_full_disk_leaves_no_half_file(tmp_path):
    target = tmp_path / "student.safetensors"
    target.write_text("before")
    with pytest.raises(DfqError, match="No space left") as caught, replacing(target) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 1
    assert target.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["config.json", "student.safetensors"])
def test_damaged_run_folders(tmp_path, finished, name):
    for path in finished.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:200] if path.name == name else path.read_bytes())
    with pytest.raises(DfqError, match=name.split(".")[0]):
        dfq.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DfqError, match="no file '"):
        dfq.load(tmp_path)


def test_a_folder_of_another_format_is_refused(tmp_path, finished):
    for path in finished.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(DfqError, match=r"(?s)of format 2\n.*format 4.*quantize again"):
        dfq.load(tmp_path)


def test_a_run_folder_cannot_name_code_to_execute(tmp_path, finished):
    marker = tmp_path / "ran"
    code = tmp_path / "net.py"
    code.write_text(f"open({str(marker)!r}, 'w')\ndef factory(): pass\n")
    for path in finished.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "arch": f"{code}:factory"}))
    with pytest.raises(DfqError, match="never taken from a run folder"):
        dfq.load(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("signature", ["", "num_classes=3"])
def test_code_that_is_named_is_run_with_or_without_num_classes(tmp_path, finished, signature):
    code = tmp_path / "net.py"
    network = "from dfq.models.registry import build\n\ndef factory({}):\n    return build('dfq/digits_cnn', {})\n"
    code.write_text(network.format(signature, "num_classes" if signature else 10))
    student = dfq.load(finished.folder, arch=f"{code}:factory")
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(student(images), dfq.load(finished.folder)(images))


def test_python_api_with_a_network_in_memory(tmp_path):
    model = build("dfq/digits_cnn", 10)
    with pytest.raises(DfqError, match="size and normalisation"):
        dfq.quantize(model, bits=8, out=tmp_path / "run")
    result = dfq.quantize(
        model, bits=8, out=tmp_path / "run", input_size=(1, 8, 8), mean=(0.5,), std=(0.5,), images=8, steps=2
    )
    student = dfq.load(tmp_path / "run", model=build("dfq/digits_cnn", 10))
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(student(images), result.student(images))


def test_given_images_are_used(tmp_path):
    batch = Batch(torch.zeros(16, 1, 8, 8))
    result = quantize_model(teacher_by_name(), tmp_path / "run", Settings(steps=0), options=RunOptions(batch=batch))
    assert result.report["settings"]["images"] == 16 and not (result.folder / "images.safetensors").exists()


def test_calibrating_an_unquantized_range_of_images_is_needed():
    student = make_student(small_teacher(), Settings(bits=8).make_scheme())
    images = torch.randn(16, *SPEC.size)
    before = (student(images) - small_teacher()(images)).norm()
    assert (calibrate(student, images)(images) - small_teacher()(images)).norm() < before / 10


def test_a_bias_that_the_network_did_not_have_comes_back(tmp_path):
    teacher = small_teacher(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), GlobalAveragePool(False), nn.Linear(4, 5))
    )
    row = replace(METHODS["zeroq"], synthesizer=quick("zeroq"), images=16, post_training=(CorrectBiases(),))
    result = quantize_model(teacher, tmp_path / "run", Settings(bits=4, method=row))
    assert result.student.get_submodule("0").bias is not None
    loaded = dfq.load(tmp_path / "run", model=teacher.model)
    images = torch.randn(4, *teacher.input_spec.size)
    assert torch.equal(loaded(images), result.student(images))


def test_another_network_of_the_same_architecture_does_not_resume(finished):
    torch.manual_seed(1)
    other = Teacher(build("dfq/digits_cnn", 10), small_spec(), arch="dfq/digits_cnn")
    with pytest.raises(DfqError, match="other network"):
        quantize_model(other, finished.folder, Settings(bits=4, **FEW), options=RunOptions(resume=True))


@pytest.mark.parametrize("file", ["model.onnx", "student.safetensors", "report.json", "config.json"])
def test_files_of_two_runs_do_not_pass_for_one(file, finished, tmp_path):
    """Two runs that wrote to one folder could leave one's student beside the other's ONNX file."""
    other = quantize_model(teacher_by_name(), tmp_path / "other", Settings(bits=4, **FEW | {"seed": 1})).folder
    mixed = tmp_path / "mixed"
    shutil.copytree(finished.folder, mixed)
    assert dfq.validate(mixed).agreement
    shutil.copy(other / file, mixed / file)
    with pytest.raises(DfqError, match="belongs to another student") as caught:
        dfq.validate(mixed)
    assert caught.value.exit_code == 1


def test_a_second_run_keeps_out_of_a_folder_in_use(tmp_path):
    with writing_alone(tmp_path / "run"), pytest.raises(DfqError, match="in use by process"):
        quantize_model(teacher_by_name(), tmp_path / "run", Settings(bits=4, **FEW), RunOptions(overwrite=True))
