"""The public face: `import dfq` is quick and offers what the documentation names."""

import subprocess
import sys
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from support.small_nets import small_teacher

import dfq
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.increment.settings import IncrementSettings
from dfq.jobs.keywords import COMPARED, CompareKeywords, DistillKeywords, IncrementKeywords, QuantizeKeywords
from dfq.jobs.quantize.settings import Settings
from dfq.quantizers.range_rules import RANGES
from dfq.quantizers.scheme import SCHEMES
from dfq.quantizers.targets import TARGETS
from dfq.teacher.load import LoadOptions


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


@pytest.mark.parametrize(
    "keywords, settings",
    [(QuantizeKeywords, Settings), (DistillKeywords, DistillSettings), (IncrementKeywords, IncrementSettings)],
)
def test_keywords_that_editors_complete_are_the_fields_of_the_settings(keywords, settings):
    hints, loading = get_type_hints(keywords), set(get_type_hints(LoadOptions))
    assert set(hints) - loading == {field.name for field in fields(settings)}
    assert loading <= set(hints)


def test_keywords_of_compare_are_the_fields_of_both_jobs_but_for_what_is_each_runs_own():
    found = set(get_type_hints(CompareKeywords)) - set(get_type_hints(LoadOptions)) - set(COMPARED)
    wanted = {field.name for kind in (Settings, DistillSettings) for field in fields(kind)}
    assert found == wanted - {"method", "seed", "bits", "average_bits", "target_size", "target_bops"}


@pytest.mark.parametrize("name, table", [("scheme", SCHEMES), ("target", TARGETS), ("ranges", RANGES)])
def test_their_literals_are_the_rows_of_the_tables(name, table):
    def literals(hint):
        return {value for part in get_args(hint) for value in (literals(part) if get_args(part) else {part})}

    assert literals(get_type_hints(QuantizeKeywords)[name]) - {type(None)} == set(table)
