"""A budget is a limit: the end of a run is reserved, what is too short is refused, and an overrun is said."""

from types import SimpleNamespace

import pytest
from support.attention_nets import Attending, attending_teacher, fused
from support.small_nets import SPEC, small_teacher

from dfq.errors import DfqError
from dfq.export.writing.write import is_written_directly
from dfq.jobs.context import RunOptions
from dfq.jobs.finishing import FinishingSettings, check_feasible, seconds_to_finish
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.results.time_limit import overrun
from dfq.system.budget import Budget

RUN = "dfq.jobs.quantize.run"


def test_the_end_follows_from_the_capture_and_from_one_pass(monkeypatch):
    monkeypatch.setattr("dfq.jobs.finishing._pass_seconds", lambda teacher, count: 0.01)
    settings = FinishingSettings(captures=1.0, captures_traced=4.0, passes=20.0, passes_given=6.0, seconds=3.0)
    teacher = SimpleNamespace(capture_seconds=2.0, traced=None, input_spec=None)
    for is_direct, writing in ((True, 2.0), (False, 8.0)):
        monkeypatch.setattr("dfq.jobs.finishing.is_written_directly", lambda *_, known=is_direct: known)
        assert seconds_to_finish(teacher, 10, 5, settings=settings) == pytest.approx(3.0 + writing + 2.0 + 0.3)


def test_convolutions_are_written_directly_and_attention_is_not():
    assert is_written_directly(small_teacher().traced, SPEC)
    assert not is_written_directly(attending_teacher(Attending(fused)).traced, SPEC)


def test_a_budget_below_the_least_is_refused_with_the_least():
    check_feasible(Budget(None), 10.0)
    check_feasible(Budget(60.0), 10.0)
    with pytest.raises(DfqError) as caught:
        check_feasible(Budget(1.0), 9.9)
    assert caught.value.found == "a budget of 1 s" and "at least 10 s" in caught.value.needed
    assert "--budget 12s" in caught.value.way_out


def test_a_refusal_leaves_an_earlier_run_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("dfq.jobs.make_ready.check_feasible", check_feasible)
    monkeypatch.setattr(f"{RUN}.seconds_to_finish", lambda *_: 1e6)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(DfqError, match="a budget of 60 s"):
        quantize_model(small_teacher(), tmp_path, Settings(bits=8, budget=60.0), RunOptions(overwrite=True))
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_images_and_learning_have_what_is_not_reserved(tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def see(context, given):
        raise Seen(context.budget.seconds)

    monkeypatch.setattr(f"{RUN}.seconds_to_finish", lambda *_: 900.0)
    monkeypatch.setattr(f"{RUN}.find_images", see)
    with pytest.raises(Seen) as caught:
        quantize_model(small_teacher(), tmp_path / "run", Settings(bits=8, budget=1000.0))
    assert 0 < caught.value.args[0] <= 100.0


def test_an_overrun_is_said_and_nothing_else():
    def report(total, limit):
        return {"seconds": {"total": total}, "budget": None if limit is None else {"limit": limit, "reserved": 5.0}}

    assert overrun(report(66.0, None)) == overrun(report(59.0, 60.0)) == overrun({"seconds": {"total": 9.0}}) == []
    (said,) = overrun(report(66.0, 60.0))
    assert said.text == "The run took 66.0 s, 6.0 s more than its budget of 60.0 s." and said.is_loud
