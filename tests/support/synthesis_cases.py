"""The methods' synthesizers with less work, for tests of whatever needs some images."""

from dataclasses import replace
from functools import partial

from dfq.calibration import METHODS
from dfq.calibration.generators.adadfkd import AdaDFKD
from dfq.calibration.generators.dafl import DAFL
from dfq.calibration.generators.gdfq import GDFQ
from dfq.calibration.generators.qimera import Qimera
from dfq.calibration.generators.rdskd import RDSKD
from dfq.calibration.generators.retain import Retain
from dfq.calibration.inversion.inversion import Inversion

SMALL_GENERATOR = {"warm_up": 10, "width": 16}
QUICK = {Inversion: {"iterations": 25}, **dict.fromkeys((GDFQ, AdaDFKD, RDSKD, Retain, Qimera, DAFL), SMALL_GENERATOR)}


def quick(name):
    """The method's synthesizer with less work."""
    row = METHODS[name].synthesizer
    first = row.args[0][0] if isinstance(row.args[0], tuple) else row.args[0]
    return partial(row.func, replace(first, **QUICK[row.func]), batch_size=16)
