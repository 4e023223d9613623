"""Which of several runs predicts better, on the same evidence."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from bayes_badger.doubts.left_out import OF_ARVIZ, LeftOut, doubt_of, left_out
from bayes_badger.errors import BadgerError
from bayes_badger.runs import Run
from bayes_badger.whole_process import recorded


def compare(runs: Sequence[Run]) -> pd.DataFrame:
    """Ranks runs by expected log predictive density of a left-out row, in nats.

    Pareto-smoothed importance sampling over rows (Vehtari, Gelman & Gabry 2017), by ArviZ. A row is
    left out, not a task: it says which model fills in a task better, not which does better on a
    task that it has not seen.

    Args:
        runs: At least two, fitted to the same evidence.

    Returns:
        ArviZ's table, best first; `attrs["notes"]` is a JSON list of runs that cannot be left out
        well, as their reports say, and of what else ArviZ warned of.

    Raises:
        BadgerError: For fewer than two runs, runs on different evidence, or a run without log
            likelihoods that are finite.
    """
    # Not by way of arviz: its plots take seconds to import.
    import arviz_stats

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
    left = {name: _left_out(name, run) for name, run in names.items()}
    doubts = {name: doubt_of(x) for name, x in left.items()}
    notes = [f"{name}: {x.sentence}" for name, x in doubts.items() if x]
    scored = {name: x.scores() for name, x in left.items()}
    with recorded() as caught:
        table = arviz_stats.compare({name: found for name, (found, _) in scored.items()})
    notes += [note for _, told in scored.values() for note in told]
    notes += [message.strip().partition("\n")[0] for message in caught]
    told = dict.fromkeys(note for note in notes if note and not note.startswith(OF_ARVIZ))
    table.attrs["notes"] = json.dumps(list(told))
    return table


def _left_out(name: str, run: Run) -> LeftOut:
    """With all rows and draws, for scores of runs are compared row by row."""
    found = left_out(run.spec, run.tree, whole=True)
    if isinstance(found, str):
        raise BadgerError(f"{name} cannot be compared: {found}")
    return found
