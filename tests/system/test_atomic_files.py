"""What killed writes leave is removed by the next run in the folder."""

from dfq.results.run_folder import RunFolder
from dfq.system.atomic_files import remove_leftovers


def test_only_temporary_files_of_these_paths_go(tmp_path):
    gone = [".model.onnx.ab12_x9z.onnx", ".report.json.aaaaaaaa.json", ".training.ckpt.12345678.ckpt"]
    kept = ["model.onnx", ".model.onnx.ab.onnx", ".mine", "report.json", ".other.onnx.ab12_x9z.onnx"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    remove_leftovers(RunFolder(tmp_path).artifacts())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_the_next_run_removes_them(tmp_path):
    (tmp_path / ".student.safetensors.ab12_x9z.safetensors").touch()
    RunFolder(tmp_path).prepare({}, resume=False, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
