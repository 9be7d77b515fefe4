"""Networks that give several tensors: names, order, and clear refusals."""

import pytest
import torch
from support.output_nets import SPEC, Detector, Segmenter, trained
from torch import nn

from dfq.errors import DfqError
from dfq.graph.capture.capture import capture
from dfq.graph.file_interface import FileInterface, interface_of
from dfq.graph.outputs import for_each, joined, named_outputs
from dfq.graph.same_outputs import off_by, same_outputs
from dfq.teacher import Teacher

ROWS = torch.arange(6.0).view(2, 3)


class Changed(Segmenter):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, images):
        return self.change(super().forward(images))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (ROWS, ["logits"]),
        (ROWS[:, :, None], ["output"]),
        ([ROWS, ROWS], ["output_0", "output_1"]),
        ({"out": ROWS, "aux": ROWS}, ["out", "aux"]),
        ({"a": [ROWS, (ROWS,)], "b.c": ROWS}, ["a_0", "a_1_0", "b_c"]),
        ({"a": [ROWS], "a_0": ROWS}, ["a_0_", "a_0"]),
        ({"images": ROWS, "": ROWS}, ["images_", "_"]),
        ([{"boxes": ROWS}], ["output_0_boxes"]),
    ],
)
def test_names(given, names):
    assert list(named_outputs(given, 2, "Net").tensors) == names


def test_what_is_no_tensor_is_left_out():
    found = named_outputs({"a": ROWS, "b": None, "c": 3}, 2, "Net")
    assert list(found.tensors) == ["a"] and found.left_out == ("b", "c")
    with pytest.raises(DfqError, match="gives no tensor"):
        named_outputs({"b": None}, 2, "Net")


def test_a_captured_network_gives_a_tuple_in_the_order_of_the_network():
    model = trained(Detector())
    network = capture(model, SPEC)
    images = torch.randn(3, *SPEC.size)
    expected = named_outputs(model(images), 3, "").tensors
    assert interface_of(network).outputs == tuple(expected) == ("features", "heads_0", "heads_2", "answers")
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(network(images), expected.values(), strict=True))
    teacher = Teacher(model, SPEC)
    assert teacher.assumed == ("that heads_1, which the network gives but which is no tensor, is left out",)
    assert [output.shape for output in teacher.outputs] == [(8, 8, 8), (64, 4), (3,), ()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda maps: (maps, maps.sum()), r"'output_1' of shape \(\) for 2 images"),
        (lambda maps: maps.flatten(0, 1), r"of shape \(8, 16, 16\) for 2 images"),
        (lambda maps: maps[maps > 0], "a row for each image"),
        (lambda maps: maps.argmax(1), "whole numbers only"),
        (lambda maps: maps - maps.mean(0), "depend"),
        (lambda maps: (maps, maps[:, :0]), r"'output_1' of shape \(2, 0, 16, 16\)"),
        (lambda maps: (maps, torch.complex(maps, maps)), "'output_1' of type complex64"),
        (lambda maps: maps.bfloat16(), "of type bfloat16"),
        (lambda maps: maps.masked_fill(maps > maps.mean((1, 2, 3), True), -torch.inf), "not finite"),
    ],
    ids=[
        *(
            "scalar",
            "joined images",
            "dynamic",
            "argmax",
            "across images",
            "nothing",
            "complex",
            "bfloat16",
            "infinite",
        ),
    ],
)
def test_refusals(change, message):
    with pytest.raises(DfqError, match=message):
        Teacher(trained(Changed(change)), SPEC)


def test_outputs_of_16_bits_differ_by_their_rounding():
    teacher = Teacher(trained(Changed(lambda maps: (maps.half(), maps))), SPEC)
    found = teacher.traced(torch.randn(2, *SPEC.size))
    assert found[0].dtype is torch.float16 and torch.allclose(found[0].float(), found[1], atol=1e-2)


def test_features_have_a_row_for_each_image():
    class RowsFirst(Segmenter):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(8, 6)

        def forward(self, images):
            features = self.body(images).permute(0, 2, 3, 1)
            return self.last(features.reshape(-1, 8)).reshape(-1, 8, 8, 6)

    assert Teacher(trained(RowsFirst()), SPEC).features(torch.randn(3, *SPEC.size)).penultimate.shape == (3, 8)


def test_whole_numbers_may_differ_where_two_values_are_nearly_equal():
    found, expected = torch.zeros(2000, dtype=torch.int64), torch.zeros(2000, dtype=torch.int64)
    expected[:2] = 1
    assert same_outputs((found, ROWS), (expected, ROWS))
    expected[:3] = 1
    assert not same_outputs((found, ROWS), (expected, ROWS))
    assert "0.15%" in off_by((found, ROWS), (expected, ROWS))


def test_each_output_is_compared():
    assert same_outputs((ROWS, ROWS), (ROWS, ROWS + 1e-5))
    assert not same_outputs((ROWS, ROWS), (ROWS, ROWS + 0.1)) and not same_outputs((ROWS,), (ROWS, ROWS))
    assert off_by((ROWS,), (ROWS, ROWS)) == "1 outputs instead of 2"
    assert off_by((ROWS, ROWS), (ROWS, ROWS + 0.5)).startswith("up to 0.5,")


def test_outputs_of_batches_are_joined():
    assert joined([(ROWS, ROWS), (ROWS[:1], ROWS[:1])])[1].shape == (3, 3)
    assert joined([ROWS.numpy(), ROWS.numpy()]).shape == (4, 3)
    assert for_each(lambda each: each + 1, (ROWS, ROWS))[0][0, 0] == 1


def test_an_interface_of_an_older_run_is_read():
    assert FileInterface.from_dict({"images": "x", "logits": "y", "softmax": True}) == FileInterface("x", ("y",), True)
    both = FileInterface("x", ("y", "z"))
    assert FileInterface.from_dict(both.to_dict()) == both


def test_a_program_with_several_outputs(tmp_path):
    """A .pt2 file of a network with several outputs is read as the network itself is."""
    model = trained(Detector())
    images = torch.randn(2, *SPEC.size)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, tmp_path / "net.pt2")
    from dfq.models.exported_program import read_exported

    network = read_exported(tmp_path / "net.pt2")
    assert isinstance(network, nn.Module)
    assert interface_of(network).outputs == ("features", "heads_0", "heads_2", "answers")
