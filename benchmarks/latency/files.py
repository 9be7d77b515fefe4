"""The files that are compared: a network with random weights, written by dfq and by other toolkits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import onnx
import torch
import torchvision
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from dfq.export import export_float_onnx, export_onnx
from dfq.export.engines.kernel_report import count_nodes
from dfq.images.input_spec import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from dfq.quantizers.scheme import make_scheme
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate, round_biases_to_kernel_grid
from dfq.student.settings import CalibrationSettings
from dfq.teacher import Teacher

INPUT = InputSpec(size=(3, 224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD)
# Settings of quantize_static: as documented; only operators with products; no graph optimization before it.
STATIC = {
    "static": {},
    "static-products": {"op_types_to_quantize": ["Conv", "Gemm", "MatMul"]},
    "static-plain": {"optimize": False},
}
WIDTHS = {"int8": 8, "w4a4": 4}


@dataclass(frozen=True)
class Entry:
    """One column of the comparison: which engine runs which file."""

    engine: str
    file: str


ENTRIES = {
    "float": Entry("onnxruntime", "float.onnx"),
    "int8": Entry("onnxruntime", "int8.onnx"),
    "w4a4": Entry("onnxruntime", "w4a4.onnx"),
    **{label: Entry("onnxruntime", f"{label}.onnx") for label in STATIC},
    "nncf": Entry("onnxruntime", "nncf.onnx"),
    "openvino-float": Entry("openvino", "float.onnx"),
    "openvino-int8": Entry("openvino", "int8.onnx"),
    "openvino-nncf": Entry("openvino", "nncf.xml"),
}


class RandomImages(quantization.CalibrationDataReader):
    """Feeds `images` (N, C, H, W) to `quantize_static`, one by one."""

    def __init__(self, images: Tensor):
        self._images = iter(images.numpy()[:, None])

    def get_next(self) -> dict | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}


def random_network(name: str, images: Tensor) -> nn.Module:
    """Returns a network of random weights whose BatchNorm statistics, those of `images`, keep activations sane."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # running statistics become plain averages
    if norms:
        with torch.no_grad():
            model.train()(images)
    return model.eval()


def write_files(name: str, folder: Path) -> dict[str, str]:
    """Writes what is not there yet and did not fail before; returns why files are missing, by label."""
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.randn(8, *INPUT.size, generator=torch.Generator().manual_seed(0))
    model: list[nn.Module] = []
    skipped = {}
    for label, write in _writers(images):
        path = folder / ENTRIES[label].file
        failed = path.with_name(f"{path.name}.failed")
        if failed.exists():
            skipped[label] = failed.read_text()
        if path.exists() or failed.exists():
            continue
        if not model:
            model.append(random_network(name, images))
        try:
            write(model[0], path)
        except Exception as error:  # other people's toolkits fail in their own ways; the reason goes into the table
            if label in ("float", *WIDTHS):
                raise
            skipped[label] = f"{type(error).__name__}: {error}".splitlines()[0][:160]
            failed.write_text(skipped[label])
    return skipped


def nodes_of(folder: Path, label: str) -> dict:
    """Counts the operators on integers and in float as ONNX Runtime runs the file; the counts are kept beside it."""
    path = folder / ENTRIES[label].file
    remembered = path.with_suffix(".nodes.json")
    if not remembered.exists():
        counted = count_nodes(path)
        islands: dict[str, int] = {}
        for node in counted["float"]:
            islands[node["op"]] = islands.get(node["op"], 0) + 1
        remembered.write_text(json.dumps({"integer": counted["integer"], "float": islands}))
    return json.loads(remembered.read_text())


def _writers(images: Tensor) -> Iterator[tuple]:
    """Yields each label with its writer; the float file comes first, because others start from it."""
    yield "float", lambda model, path: export_float_onnx(model, path, INPUT)
    for label, bits in WIDTHS.items():
        yield label, lambda model, path, bits=bits: _write_ours(model, path, bits, images)
    for label, settings in STATIC.items():
        yield label, lambda model, path, settings=settings: _write_static(path, images, **settings)
    yield "nncf", lambda model, path: _write_nncf_onnx(path, images)
    yield "openvino-nncf", lambda model, path: _write_nncf_openvino(path, images)


def _write_ours(model: nn.Module, path: Path, bits: int, images: Tensor) -> None:
    student = make_student(Teacher(model, INPUT), make_scheme("deploy", bits=bits))
    calibrate(student, images[:4], ranges="minmax", settings=CalibrationSettings(batch_size=2))
    round_biases_to_kernel_grid(student)
    export_onnx(student, path, INPUT)


def _write_static(path: Path, images: Tensor, optimize: bool = True, **settings) -> None:
    """Runs ONNX Runtime's tool: QDQ, uint8 activations, int8 weights per channel."""
    prepared, written = path.with_suffix(".prepared"), path.with_suffix(".part")
    quant_pre_process(str(path.with_name("float.onnx")), str(prepared), skip_optimization=not optimize)
    quantization.quantize_static(
        str(prepared),
        str(written),
        RandomImages(images[:4]),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        **settings,
    )
    prepared.unlink()
    written.rename(path)


def _nncf():
    if not find_spec("nncf"):
        raise ImportError("nncf is not installed (pip install nncf)")
    import nncf

    return nncf


def _write_nncf_onnx(path: Path, images: Tensor) -> None:
    nncf = _nncf()
    samples = nncf.Dataset([{"images": image[None].numpy()} for image in images[:4]])
    quantized = nncf.quantize(onnx.load(path.with_name("float.onnx")), samples, subset_size=4)
    onnx.save(quantized, path)


def _write_nncf_openvino(path: Path, images: Tensor) -> None:
    nncf = _nncf()
    import openvino

    model = openvino.Core().read_model(str(path.with_name("float.onnx")))
    samples = nncf.Dataset([image[None].numpy() for image in images[:4]])
    openvino.save_model(nncf.quantize(model, samples, subset_size=4), str(path), compress_to_fp16=False)
