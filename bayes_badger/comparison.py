"""Which of several runs predicts better, on the same evidence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import pandas as pd

from bayes_badger.errors import BadgerError
from bayes_badger.runs import Run


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """Ranks runs by expected log predictive density of a left-out row, in nats.

    Pareto-smoothed importance sampling over rows (Vehtari, Gelman & Gabry 2017), by ArviZ. A row is
    left out, not a task: it says which model fills in a task better, not which does better on a
    task that it has not seen.

    Args:
        runs: At least two, fitted to the same evidence.

    Returns:
        ArviZ's table, best first; `attrs["notes"]` is a JSON list of what ArviZ warned of.

    Raises:
        BadgerError: For fewer than two runs, or runs on different evidence.
    """
    import arviz as az

    if len(runs) < 2:
        raise BadgerError("one run cannot be compared: give two or more")
    first = runs[0]
    for run in runs:
        if run.spec["evidence"]["outcome_digest"] != first.spec["evidence"]["outcome_digest"]:
            raise BadgerError(
                f"{first.name} and {run.name} were fitted to different outcomes, so that their "
                "scores cannot be compared: fit both to the same rows"
            )
        if run.spec["program"]["outcome_discrete"] != first.spec["program"]["outcome_discrete"]:
            raise BadgerError(
                f"{first.name} and {run.name} cannot be compared: one gives its outcome a "
                "probability, the other a density"
            )
    names: dict[str, Run] = {}
    for run in runs:
        name = run.name
        while name in names:
            name += "'"
        names[name] = run
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = az.compare({name: run.tree for name, run in names.items()})
    told = dict.fromkeys(str(w.message).strip().splitlines()[0] for w in caught)
    table.attrs["notes"] = json.dumps(list(told))
    return table
