"""The demo: it keeps its promises, and what it never may do."""

import pytest
import torch

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.jobs import demo
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json
from dfq.system.progress import Silent


def test_the_split_is_fixed_and_disjoint():
    training, held_out = demo.digits("training"), demo.digits("held-out")
    assert len(training) + len(held_out) == 1797 and len(held_out) == 540
    assert training.images.shape[1:] == (8, 8, 1) and training.images.max() == 255
    again = demo.digits("held-out")
    assert (again.images == held_out.images).all() and (again.labels == held_out.labels).all()


def test_normalized_digits_lie_between_minus_one_and_one():
    images = demo.normalized(demo.digits("held-out"))
    assert images.shape == (540, 1, 8, 8)
    assert images.min() == -1 and images.max() == 1


def test_the_teacher_is_a_checkpoint_and_depends_on_the_seed_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DEMO_SETTINGS", demo.DemoSettings(epochs=1))
    state = torch.random.get_rng_state()
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        demo.save_teacher(tmp_path / f"{name}.pt", seed, Silent())
    assert torch.equal(state, torch.random.get_rng_state())
    weights = {name: load_checkpoint(tmp_path / f"{name}.pt").model.linear.weight for name in "abc"}
    assert torch.equal(weights["a"], weights["b"]) and not torch.equal(weights["a"], weights["c"])


def test_an_occupied_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DfqError, match="not empty"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_the_demo_keeps_its_promise(tmp_path, monkeypatch):
    opened = []
    read = demo.digits
    monkeypatch.setattr(
        demo, "digits", lambda part: opened.append((part, sorted(tmp_path.rglob("report.json")))) or read(part)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = demo.run_demo(tmp_path / "demo", seed=0)
    finally:
        torch.set_num_threads(threads)

    # The training digits are read before any run, the held-out ones once, when both reports are written.
    assert [(part, len(reports)) for part, reports in opened] == [("training", 0), ("held-out", 2)]
    teacher, int8, w4a4 = result.rows
    assert teacher.accuracy > 0.97
    assert int8.accuracy >= teacher.accuracy - 0.003
    assert w4a4.accuracy >= teacher.accuracy - 0.015  # one seed; the mean of three is in benchmarks/demo/
    assert int8.agreement >= 0.998 and w4a4.agreement >= 0.998
    assert w4a4.size_bytes < int8.size_bytes < teacher.size_bytes
    for name in ("int8", "w4a4"):
        report = read_json(RunFolder(tmp_path / "demo" / name).report)
        assert report["accuracy"] == {"teacher": None, "student": None, "onnx": None}  # the pipeline saw no digit
        assert report["nodes"]["float"] == []
