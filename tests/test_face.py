"""The public face: `import dfq` is quick and offers what the documentation names."""

import subprocess
import sys

import pytest
from support.small_nets import small_teacher

import dfq


def test_importing_dfq_does_not_load_torch():
    code = "import sys, dfq; assert 'torch' not in sys.modules and dfq.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", dfq.__all__)
def test_every_name_is_there(name):
    assert getattr(dfq, name) is not None and name in dir(dfq)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        _ = dfq.quantise


def test_a_keyword_that_nobody_knows_names_the_nearest(tmp_path):
    with pytest.raises(dfq.DfqError, match="keyword 'bit'") as caught:
        dfq.quantize("model.pt", out=tmp_path / "run", bit=4)
    assert caught.value.way_out == "did you mean 'bits'?"


def test_a_state_dict_is_no_network(tmp_path):
    with pytest.raises(dfq.DfqError, match="a state dict") as caught:
        dfq.quantize({}, out=tmp_path / "run")
    assert "load_state_dict" in caught.value.way_out


def test_a_teacher_is_taken_as_it_is():
    teacher = small_teacher()
    assert dfq.load_teacher(teacher) is teacher
    with pytest.raises(dfq.DfqError, match="arch beside a teacher"):
        dfq.load_teacher(teacher, arch="dfq/resnet20")
