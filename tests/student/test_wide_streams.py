"""In networks of LayerNorm, operators in floating point never read the narrow grid of a matrix layer."""

import pytest
import torch
from support.norm_nets import PostNorm, Tokens, norm_teacher, spread_images
from support.small_nets import SPEC
from torch import nn
from torch.nn import functional as F

from dfq.export import export_onnx
from dfq.export.engines.onnxruntime_engine import Engine
from dfq.quantizers.fake_quantize import FakeQuantize
from dfq.quantizers.scheme import Scheme, make_scheme
from dfq.student.convert import make_student, weight_quantizers
from dfq.student.set_ranges import calibrate
from dfq.teacher import Teacher


class NormOfMaps(nn.Module):
    """A convolution writes the stream, which a convolution and, through a norm, an addition read, as in ConvNeXt."""

    def __init__(self, norm: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.conv, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3)
        self.norm, self.head = nn.GroupNorm(4, 16) if norm else nn.Identity(), nn.Linear(16, 5)

    def forward(self, images):
        x = self.stem(images)
        x = self.last(F.gelu(x))
        x = x + F.gelu(self.norm(self.conv(x)))
        return self.head(x.mean((2, 3)))


def summands(student):
    """The bits that each operand of the last addition was rounded to; None: it was not."""
    modules = dict(student.named_modules())
    addition = [n for n in student.graph.nodes if n.name.startswith("add") and len(n.all_input_nodes) == 2][-1]
    called = [modules.get(str(source.target)) for source in addition.args]
    return [module.spec.bits if isinstance(module, FakeQuantize) else None for module in called]


def with_field(wide, **bits):
    return Scheme.from_dict({**make_scheme(target="onnx-generic", **bits).to_dict(), "wide_streams": wide})


@pytest.mark.parametrize(("bits", "wide", "found"), [(4, True, None), (4, False, 4), (8, True, 8)])
def test_a_stream_of_tokens_stays_as_it_is(bits, wide, found):
    student = make_student(norm_teacher(PostNorm), with_field(wide, bits=bits))
    assert summands(student) == [found, None]


@pytest.mark.parametrize(("wide", "found"), [(True, 8), (False, 4)])
def test_a_stream_that_a_convolution_writes_has_8_bits(wide, found):
    student = make_student(Teacher(NormOfMaps().eval(), SPEC), with_field(wide, bits=4))
    assert summands(student)[0] == found
    assert student.get_submodule("activation_quantizers.last_narrow" if wide else "conv") is not None


def test_networks_without_such_norms_are_as_before():
    teacher = Teacher(NormOfMaps(norm=False).eval(), SPEC)
    wide, narrow = (make_student(teacher, with_field(wide, bits=4)) for wide in (True, False))
    assert str(wide.graph) == str(narrow.graph)


def test_a_stored_scheme_without_the_field_keeps_its_places():
    stored = make_scheme(bits=4).to_dict()
    assert Scheme.from_dict(stored).wide_streams
    del stored["wide_streams"]
    assert not Scheme.from_dict(stored).wide_streams


def test_a_class_token_makes_no_layer_the_first():
    """The token is repeated for each image, so that it asks the images for their number."""
    student = make_student(norm_teacher(Tokens), make_scheme(bits=4, target="onnx-generic"))
    bits = {name: quantizer.spec.bits for name, quantizer in weight_quantizers(student).items()}
    assert {name for name, width in bits.items() if width == 8} == {"patches", "head"}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("model", [PostNorm, Tokens])
def test_the_file_computes_what_the_student_does(model, bits, tmp_path):
    teacher, images = norm_teacher(model), spread_images(8)
    student = calibrate(make_student(teacher, make_scheme(bits=bits)), images).eval()
    export_onnx(student, tmp_path / "model.onnx", SPEC)
    with torch.no_grad():
        wanted = student(images)
    found = torch.from_numpy(Engine(tmp_path / "model.onnx").run(images))
    errors = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert errors.median() < 1e-3, "a tie that is rounded the other way concerns single images"
