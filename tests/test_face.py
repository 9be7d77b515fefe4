"""The public face: `import dfq` is quick and offers what the documentation names."""

import subprocess
import sys

import pytest

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
