"""What is compiled for a fit cannot creep back: counts are exact, and held to a table."""

import json
from pathlib import Path

import pytest

from benchmarks.compile import measured

BUDGET = json.loads((Path(__file__).parent / "compile_budget.json").read_text())
# More than this is another table, in a commit that says why: `benchmarks compile`.
SLACK = 1.1


@pytest.mark.slow
@pytest.mark.parametrize("fit", BUDGET)
def test_no_more_is_compiled_than_the_table_says(fit):
    found = measured(*fit.split())
    told = {count: found[count] for count in BUDGET[fit]}
    for count, most in BUDGET[fit].items():
        assert told[count] <= SLACK * most, f"{fit}: {told}, where the table has {BUDGET[fit]}"
        assert told[count] >= most / SLACK - 2, f"{fit}: {told}: the table can be lowered"
