"""Synthetic images reach the toolkits of others: files that they read, and adapters that they run with."""

import json

import numpy as np
import pytest
import torch
from onnxruntime import quantization
from safetensors.torch import save_file
from support.command_line import succeed
from support.export_cases import images
from support.small_nets import SPEC, small_teacher
from torch.utils.data import DataLoader

from dfq.calibration.adapters import ArrayBatches, CalibrationReader, ImageDataset
from dfq.calibration.stored_images import StoredImages, read_images, with_answers, write_images
from dfq.errors import DfqError
from dfq.export import export_float_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.images.batch import Batch
from dfq.images.input_spec import InputSpec
from dfq.images.labelled import read_labelled

CLASSES = 5


def stored(count: int = 12) -> StoredImages:
    batch = Batch(images(count), torch.arange(count) % (CLASSES - 1))  # the last class has no image
    return StoredImages.from_batch(batch, SPEC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("calib")
    assert [path.name for path in write_images(stored(), made, CLASSES)] == [
        "images.safetensors", "images.npz", "classes",
    ]  # fmt: skip
    return made


class TestFiles:
    def test_they_come_back_bit_for_bit(self, folder):
        before, back = stored(), read_images(folder)
        assert torch.equal(back.pixels, before.pixels) and torch.equal(back.labels, before.labels)
        assert back.input_spec == SPEC and torch.equal(back.normalized(), before.normalized())

    @pytest.mark.parametrize("name", ["images.npz", "classes"])
    def test_data_options_read_them(self, folder, name):
        found, expected = read_labelled(folder / name, SPEC, CLASSES), stored()
        order = np.argsort(expected.labels.numpy(), kind="stable") if name == "classes" else slice(None)
        assert np.array_equal(found.images, expected.pixels.permute(0, 2, 3, 1).numpy()[order])
        assert np.array_equal(found.labels, expected.labels.numpy()[order])

    def test_images_without_labels_are_stored_alone(self, tmp_path):
        unknown = StoredImages(stored().pixels, None, SPEC)
        assert [path.name for path in write_images(unknown, tmp_path, CLASSES)] == ["images.safetensors"]
        assert read_images(tmp_path).labels is None and ImageDataset(tmp_path)[0][1] == -1

    def test_other_channels_have_no_png(self, tmp_path):
        spec = InputSpec(size=(2, 4, 4), mean=(0.5, 0.5), std=(0.5, 0.5))
        two = StoredImages(torch.zeros(3, 2, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), spec)
        write_images(two, tmp_path, CLASSES)
        assert not (tmp_path / "classes").exists() and np.load(tmp_path / "images.npz")["images"].shape == (3, 4, 4, 2)

    def test_older_classes_are_replaced(self, tmp_path):
        write_images(stored(12), tmp_path, CLASSES)
        write_images(stored(4), tmp_path, CLASSES)
        assert len(list((tmp_path / "classes").rglob("*.png"))) == 4
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_the_teacher_answers_where_nobody_drew_labels(self):
        teacher = small_teacher()
        answered = with_answers(Batch(images(6)), teacher)
        assert torch.equal(answered.labels, teacher(images(6)).argmax(1))
        assert with_answers(answered, teacher) is answered

    @pytest.mark.parametrize("content", [None, b"", b"not images"])
    def test_bad_files(self, tmp_path, content):
        if content is not None:
            (tmp_path / "images.safetensors").write_bytes(content)
        with pytest.raises(DfqError, match=r"images\.safetensors") as caught:
            read_images(tmp_path)
        assert caught.value.needed and caught.value.way_out

    @pytest.mark.parametrize(
        ("tensors", "spec"),
        [
            ({"images": torch.zeros(4, *SPEC.size, dtype=torch.uint8)}, "[" * 200_000),
            ({"images": torch.zeros(4, *SPEC.size)}, json.dumps(SPEC.to_dict())),
            ({"labels": torch.zeros(4, dtype=torch.int64)}, json.dumps(SPEC.to_dict())),
        ],
    )
    def test_odd_files_are_refused_by_name(self, tensors, spec, tmp_path):
        save_file(tensors, tmp_path / "images.safetensors", {"input_spec": spec})
        with pytest.raises(DfqError, match=r"images\.safetensors"):
            read_images(tmp_path)


class TestAdapters:
    def test_reader_gives_every_image_once(self, folder):
        reader = CalibrationReader(folder, input_name="x", batch_size=5)
        batches = list(reader)
        assert [batch["x"].shape[0] for batch in batches] == [5, 5, 2] and len(reader) == 3
        assert np.array_equal(np.concatenate([batch["x"] for batch in batches]), stored().normalized().numpy())
        assert reader.get_next() is None
        reader.set_range(1, 9)
        assert len(list(reader)) == 2
        reader.rewind()
        assert len(list(reader)) == 3

    @torch.no_grad()
    @pytest.mark.parametrize("portions", [None, 8])
    def test_quantize_static_calibrates_with_it(self, tmp_path, portions):
        """`CalibStridedMinMax` asks for the images in portions."""
        teacher, files = small_teacher(), {name: tmp_path / f"{name}.onnx" for name in ("float", "prepared", "int8")}
        export_float_onnx(teacher.model, files["float"], SPEC)
        quantization.quant_pre_process(str(files["float"]), str(files["prepared"]))
        quantization.quantize_static(
            str(files["prepared"]), str(files["int8"]), CalibrationReader(stored(32), batch_size=4),
            per_channel=True, activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={} if portions is None else {"CalibStridedMinMax": portions},
        )  # fmt: skip
        float_logits, logits = Engine(files["float"]).run(images(64)), Engine(files["int8"]).run(images(64))
        assert (float_logits.argmax(1) == logits.argmax(1)).mean() >= 0.9
        assert np.abs(float_logits - logits).max() < 0.1 * np.abs(float_logits).max()

    def test_dataset_feeds_a_loader(self, folder):
        batch, labels = next(iter(DataLoader(ImageDataset(folder), batch_size=4)))
        assert torch.equal(batch, stored().normalized()[:4]) and labels.tolist() == [0, 1, 2, 3]
        assert len(ImageDataset(folder)) == 12

    def test_arrays_come_as_often_as_they_are_asked_for(self, folder):
        batches = ArrayBatches(folder, batch_size=8)
        assert len(batches) == 2 and [b.shape[0] for b in batches] == [b.shape[0] for b in batches] == [8, 4]
        assert batches[0].dtype == np.float32 and list(ArrayBatches(folder, input_name="images")[0]) == ["images"]

    def test_openvino_takes_them(self, folder, tmp_path):
        openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install openvino")
        teacher = small_teacher()
        path = export_float_onnx(teacher.model, tmp_path / "float.onnx", SPEC)
        compiled = openvino.Core().compile_model(str(path), "CPU")
        found = np.concatenate([compiled(batch)[0] for batch in ArrayBatches(folder, batch_size=4)])
        assert (found.argmax(1) == teacher(stored().normalized()).argmax(1).numpy()).all()


def test_synthesize_writes_all_of_them(model_file, tmp_path):
    out = tmp_path / "calib"
    text = succeed("synthesize", model_file, "--images", "8", "--no-flip", "--budget", "2s", "--method", "zeroq",
                   "--out", out)  # fmt: skip
    assert {path.name for path in out.iterdir()} == {"images.safetensors", "images.npz", "classes", "samples.png"}
    assert len(list((out / "classes").iterdir())) == 10 and len(list(out.rglob("classes/*/*.png"))) == 8
    assert len(ImageDataset(out)) == 8 and "images.npz" in text
