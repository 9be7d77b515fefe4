"""What the tests of checkpoints share: a network's name, its input, and how a file must be refused."""

import pytest

from dfq.checkpoint import load_checkpoint
from dfq.errors import DfqError
from dfq.images.input_spec import InputSpec

ARCH = "dfq/digits_cnn"
SPEC = InputSpec(size=(1, 8, 8), mean=(0.25,), std=(0.75,))


def refused(path, **options) -> DfqError:
    with pytest.raises(DfqError) as caught:
        load_checkpoint(path, **options)
    error = caught.value
    assert error.found and error.needed and error.way_out and error.exit_code == 2
    return error
