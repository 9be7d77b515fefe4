"""How many inputs of a kind are tried: a few in the suite, and as many as `DFQ_FUZZ` says by hand."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

BY_HAND = "DFQ_FUZZ"  # the environment variable
IN_SUITE = 20


def sliced(strategy: st.SearchStrategy[Any], test: Callable[[Any], object], in_suite: int = IN_SUITE) -> None:
    """Tries a number of inputs; those of the suite are always the same ones."""
    wanted = os.environ.get(BY_HAND)

    @settings(
        max_examples=int(wanted or in_suite),
        derandomize=wanted is None,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    @given(strategy)
    def run(value: Any) -> None:
        test(value)

    run()
