"""External data behind links: the cache of Hugging Face is read, and nothing else that leaves the folder."""

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from support.onnx_files import SHAPE, one_operator

from dfq.errors import DfqError
from dfq.models.onnx_file.network import OnnxNetwork
from dfq.models.onnx_file.reading import read_onnx_file
from dfq.models.onnx_file.runtime import check_same_outputs
from dfq.models.onnx_file.settings import ReadOnnxSettings

WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)


def saved(folder: Path, *, small: bool = False) -> Path:
    """Writes a convolution with its weight in a file beside it; `small` stores it as bfloat16."""
    model = one_operator("Conv", WEIGHT)
    if small:
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT.astype(ml_dtypes.bfloat16), "small"))
        model.graph.node.insert(0, helper.make_node("Cast", ["small"], ["constant_0"], to=TensorProto.FLOAT))
    external_data_helper.convert_model_to_external_data(model, location="model.onnx_data", size_threshold=0)
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def in_cache(folder: Path, **options) -> Path:
    """Writes the file as the cache of Hugging Face keeps it: links in one folder to files of other names in another."""
    path = saved(folder / "blobs", **options)
    snapshot = folder / "snapshots" / "1a2b"
    snapshot.mkdir(parents=True)
    for place, name in enumerate(("model.onnx", "model.onnx_data")):
        (path.parent / name).rename(path.parent / f"{place}")
        (snapshot / name).symlink_to(Path("..", "..", "blobs", f"{place}"))
    return snapshot / "model.onnx"


def refused(path: Path) -> str:
    with pytest.raises(DfqError) as caught:
        read_onnx_file(path)
    return caught.value.found


@pytest.mark.parametrize("small", [False, True], ids=["float32", "bfloat16"])
def test_the_cache_of_hugging_face_is_read_and_compared(small, tmp_path):
    file = read_onnx_file(in_cache(tmp_path, small=small))
    assert file.elsewhere == ("small" if small else "constant_0",)
    assert np.array_equal(file.tensors[file.elsewhere[0]].astype(np.float32), WEIGHT) != small
    check_same_outputs(OnnxNetwork(file, SHAPE), file, SHAPE, ReadOnnxSettings())


def test_the_runtime_computes_with_the_numbers_that_were_read(tmp_path):
    file = read_onnx_file(in_cache(tmp_path))
    network = OnnxNetwork(file, SHAPE)
    file.tensors["constant_0"][:] = 0
    with pytest.raises(DfqError, match="gives another 'result'"):
        check_same_outputs(network, file, SHAPE, ReadOnnxSettings())


def test_a_link_to_data_beside_the_file_itself(tmp_path):
    path = saved(tmp_path / "in")
    (path.parent / "model.onnx_data").rename(path.parent / "data")
    (path.parent / "model.onnx_data").symlink_to("data")
    file = read_onnx_file(path)
    assert file.elsewhere == ()
    check_same_outputs(OnnxNetwork(file, SHAPE), file, SHAPE, ReadOnnxSettings())


def test_a_linked_folder(tmp_path):
    path = saved(tmp_path / "in")
    (tmp_path / "linked").symlink_to("in")
    file = read_onnx_file(tmp_path / "linked" / path.name)
    assert file.elsewhere == ()
    check_same_outputs(OnnxNetwork(file, SHAPE), file, SHAPE, ReadOnnxSettings())


def test_data_in_another_folder_than_the_target_of_the_file(tmp_path):
    path = in_cache(tmp_path)
    (tmp_path / "secret").write_bytes(b"\x00" * 1000)
    (path.parent / "model.onnx_data").unlink()
    (path.parent / "model.onnx_data").symlink_to(tmp_path / "secret")
    assert "outside of its own folder" in refused(path)


def test_a_linked_file_without_a_link_to_its_data(tmp_path):
    path = in_cache(tmp_path)
    (path.parent / "model.onnx_data").unlink()
    assert "'model.onnx_data', which is no file" in refused(path)


@pytest.mark.parametrize("location", ["../../blobs/1", "{blobs}/1"])
def test_a_path_to_the_data_that_is_not_plain(location, tmp_path):
    path = in_cache(tmp_path)
    model = onnx.load(path, load_external_data=False)
    entry = next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location")
    entry.value = location.format(blobs=tmp_path / "blobs")
    (tmp_path / "blobs" / "0").write_bytes(model.SerializeToString())
    assert "outside of its own folder" in refused(path)
