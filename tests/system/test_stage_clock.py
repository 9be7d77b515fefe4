"""Clocks and budgets go on from what an earlier life of a run took."""

import time

import pytest

from dfq.system.budget import Budget
from dfq.system.stage_clock import Clock


def test_a_clock_counts_earlier_lives_and_the_stage_that_runs():
    clock = Clock({"synthesis": 5.0, "widths": 1.0, "total": 10.0})
    with clock.stage("synthesis"):
        time.sleep(0.01)
        within = clock.to_dict()
    after = clock.to_dict()
    assert 5.01 <= within["synthesis"] <= after["synthesis"] < 10 <= after["total"]
    assert after["widths"] == 1.0 and after["training"] == 0.0
    again = Clock(within).to_dict()
    assert again["synthesis"] == within["synthesis"] and again["total"] == pytest.approx(within["total"], abs=1.0)


def test_a_new_clock_starts_at_nothing():
    assert Clock().to_dict() | {"total": 0.0} == dict.fromkeys(
        ("synthesis", "training", "export", "validation", "total"), 0.0
    )


def test_what_was_spent_of_a_budget_is_gone():
    budget = Budget(10.0, spent=8.0)
    assert 1.0 < budget.remaining() <= 2.0 and budget.done(0, 100) >= 0.8
    assert Budget(10.0, spent=11.0).remaining() == 0.0 and budget.keeping(5.0).seconds == 0.0
