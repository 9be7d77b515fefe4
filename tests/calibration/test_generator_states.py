"""A generator that goes on from its state learns exactly what it would have learned, whatever it remembers."""

from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from support.small_nets import small_teacher
from support.synthesis_cases import SMALL_GENERATOR

from dfq.calibration import METHODS
from dfq.calibration.generators.gdfq import GDFQ
from dfq.calibration.generators.unconditional import GeneratorSynthesizer
from dfq.system.stage import Stage

LEARNING = [name for name, row in METHODS.items() if issubclass(row.synthesizer.func, GeneratorSynthesizer | GDFQ)]


def synthesizer_of(name: str, seed: int):
    row = METHODS[name].synthesizer
    config = replace(row.args[0], **SMALL_GENERATOR)
    if "epoch" in {field.name for field in fields(config)}:
        config = replace(config, epoch=3)  # so that the state is taken in the second of several
    return row.func(config, small_teacher(), Stage(seed=seed), batch_size=8)


def losses(synthesizer, steps: int) -> list[dict[str, float]]:
    step = synthesizer.update if isinstance(synthesizer, GDFQ) else synthesizer.learn
    return [dict(step(None)) for _ in range(steps)]


@pytest.mark.parametrize("name", LEARNING)
def test_the_state_holds_all_that_a_step_depends_on(name):
    first, second = synthesizer_of(name, seed=0), synthesizer_of(name, seed=1)
    losses(first, 5)
    second.load_state_dict(deepcopy(first.state_dict()))
    expected = losses(first, 8)
    assert losses(second, 8) == expected
    assert all(torch.equal(a, b) for a, b in zip(first.generator.network.parameters(),
                                                 second.generator.network.parameters(), strict=True))  # fmt: skip


def test_all_generators_are_tried():
    assert {"gdfq", "rgal-gdfq", "adadfkd", "rdskd", "retain", "qimera"} <= set(LEARNING)
