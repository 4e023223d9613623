"""What a run says of tasks that it has not seen, and of rows that nobody has measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, PRNGKeyArray

from bayes_badger import shelves
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence, split_queries
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.evidence.joined import joined
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import Labels
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.pointwise import DRAWN_IN_A_LOOP, over_draws, predict_rows
from bayes_badger.preflight.checks import check_new_data, stored_label
from bayes_badger.program import LIFETIME, TASK, Program
from bayes_badger.reopening import check_whole, draws_of, inner_loop_of, program_of
from bayes_badger.runs import Run
from bayes_badger.trust import doubts, judged
from bayes_badger.unlike import unlike

# Families whose outcomes are labels: their mean says nothing, the share of each class does.
CLASSES = ("CategoricalProbs", "CategoricalLogits", "OrderedLogistic")


def predict(
    run: Run,
    data: Any,
    *,
    program: str | Path | Callable[..., Any] | shelves.LoadedProgram | None = None,
    task: str | None = None,
    missing: str = "refuse",
    seed: int = 0,
    report: Report = silent,
) -> xr.DataTree:
    """The posterior of tasks, and the predictive of rows without an outcome.

    A row with an outcome is evidence about its task; a row without one is to be predicted. A task
    may have no rows at all, only its task columns. Where there is new evidence, the run's inner
    loop infers all tasks anew, the old and the new together, so that the answer is that of the
    model and no approximation to it; where there is none, a new task is drawn from the belief
    about the lifetime, and a known task from its own posterior.

    Args:
        run: What `fit` returned, or what was read from a folder.
        data: What `fit` takes; the outcome may be empty, or be absent.
        program: The program, where the run was read from a folder and its program is not on the
            shelf: reading a run executes nothing.
        task: The column that tells the tasks apart; by default the run's own.
        missing: "refuse" rows that lack a column, or "drop" them.
        seed: Of everything random.
        report: Is told how far the work has come.

    Returns:
        Groups `posterior` (lifetime, and the tasks of `data`), `posterior_predictive` (rows without
        outcome, if any), `constant_data`; `attrs["notes"]` is a JSON list of sentences.

    Raises:
        BadgerError: For bad data, a known task with new outcomes, or new outcomes for a run that
            goes on from another and does not hold the data of that one.
    """
    if run.program is None:
        check_new_data(run.spec, program, data, task=task, missing=missing, queries=True)
    old = Evidence.from_dataset(run.evidence)
    lifted = program_of(run, program)
    label = task or stored_label(run.spec)
    observed, queries = split_queries(lifted.signature, data, task=label, missing=missing)
    keys = jax.random.split(jax.random.key(seed), 4)
    check_outcome(lifted, observed, keys[0])
    observed = typed_outcome(lifted, observed)
    known = {str(name): i for i, name in enumerate(old.tasks)}
    is_known = np.array([str(name) in known for name in observed.tasks], bool)
    again = np.flatnonzero(is_known & (observed.lengths > 0))
    if len(again):
        raise BadgerError(
            f"{old.task_name} '{observed.tasks[again[0]]}' is in the run already: leave its "
            f"{old.outcome_name} empty to predict it, or rename it if it is another"
        )
    _refuse_changed_columns(observed, old, known)
    Labels(lifted, observed)  # clashes of names are told before the work, not after
    if observed.n_rows:
        check_whole(run)
    at = np.array([known.get(str(name), -1) for name in observed.tasks], int)
    notes: list[str] = []
    if observed.n_rows:
        fresh = observed.select(np.flatnonzero(~is_known))
        everything = joined(old, fresh)
        belief = inner_loop_of(run).infer(lifted, everything, keys[1], report)
        how = run.spec.get("trust", "weigh")
        belief, _ = judged(lifted, everything, belief, keys[3], how, report)
        values = dict(belief.draws.values)
        at[~is_known] = old.n_tasks + np.arange(fresh.n_tasks)
        notes.append(f"inferred all tasks anew, {old.n_tasks} old and {fresh.n_tasks} new together")
        names = [latent.name for latent in lifted.latents]
        posterior = Labels(lifted, everything).of_values({n: values[n] for n in names})
        reasons = [*belief.warnings, *([] if belief.independent else doubts(posterior))]
        new = np.arange(old.n_tasks, everything.n_tasks)
        strange = unlike(lifted, everything, values, jax.random.fold_in(keys[3], 1)).select(new)
        reasons += strange.told(everything.select(new))
        notes += [f"not to be trusted: {reason}" for reason in reasons]
        notes += belief.notes
        history = everything
        values = _of_tasks(lifted, values, at)
    else:
        report("drawing tasks", 0, 1)
        values = _drawn(lifted, draws_of(lifted, run), observed, at, keys[1])
        history = old
        fresh_tasks = int((~is_known).sum())
        if fresh_tasks:
            many = f"{fresh_tasks} task{'s' if fresh_tasks > 1 else ''}"
            notes.append(f"drew {many} without outcomes from the belief about the lifetime")
        report("drawing tasks", 1, 1)
    labels = Labels(lifted, observed)
    groups = {"posterior": labels.of_values(values)}
    if queries.n_rows:
        report("predicting", 0, 1)
        predicted = _predicted(lifted, queries, values, history, at, keys[2])
        rows = Labels(lifted, queries).of_rows({queries.outcome_name: predicted})
        if lifted.outcome.family in CLASSES:
            rows[queries.outcome_name].attrs["classes"] = _observed_classes(old)
        groups["posterior_predictive"] = rows
        report("predicting", 1, 1)
    groups["constant_data"] = Labels(lifted, queries).constant(queries)
    tree = xr.DataTree.from_dict({f"/{name}": group for name, group in groups.items()})
    tree.attrs["notes"] = json.dumps([*observed.notes, *notes])
    return tree


def _refuse_changed_columns(observed: Evidence, old: Evidence, known: Mapping[str, int]) -> None:
    """A known task's latents were inferred with its columns as they were."""
    for i, label in enumerate(observed.tasks):
        if str(label) not in known:
            continue
        for name, x in observed.task_columns.items():
            was, now = old.task_columns[name][known[str(label)]], x[i]
            if not np.allclose(np.asarray(was, float), np.asarray(now, float), rtol=1e-5):
                raise BadgerError(
                    f"{old.task_name} '{label}' is in the run with {name} = {was}, and here with "
                    f"{now}: give it the same, or rename it if it is another"
                )


def _observed_classes(evidence: Evidence) -> int:
    """How many classes an outcome has, as far as the evidence shows: they are counted from 0."""
    return 0 if evidence.outcome is None else int(np.max(evidence.outcome, initial=-1)) + 1


def _of_tasks(
    program: Program, values: Mapping[str, np.ndarray], at: np.ndarray
) -> dict[str, np.ndarray]:
    scopes = {variable.name: variable.scope for variable in program.variables}
    return {n: np.asarray(x)[:, :, at] if scopes[n] == TASK else x for n, x in values.items()}


def _drawn(
    program: Program,
    stored: Mapping[str, np.ndarray],
    observed: Evidence,
    at: np.ndarray,
    key: PRNGKeyArray,
) -> dict[str, np.ndarray]:
    """Known tasks from their posterior; new ones from the lifetime's belief, draw by draw."""
    shared = [latent.name for latent in program.select(LIFETIME)]
    lifetime = {name: np.asarray(stored[name]) for name in shared}
    lead = next(iter(stored.values())).shape[:2]
    xs = {n: x.reshape(-1, *x.shape[2:]) for n, x in lifetime.items()}
    args = key, task_columns_of(observed), observed.n_tasks
    numbered = np.arange(lead[0] * lead[1]), xs
    fresh = over_draws(_new_tasks, program, numbered, args, observed.n_tasks, DRAWN_IN_A_LOOP)
    values = {}
    for variable in program.variables:
        name = variable.name
        values[name] = np.asarray(stored[name])
        if variable.scope == TASK:
            drawn = np.asarray(fresh[name]).reshape(*lead, observed.n_tasks, *variable.shape).copy()
            drawn[:, :, at >= 0] = stored[name][:, :, at[at >= 0]]
            values[name] = drawn
    return values


def _new_tasks(
    program: Program, xs: Any, key: PRNGKeyArray, columns: Mapping[str, Array], tasks: int
) -> dict[str, Array]:
    number, lifetime = xs
    data = program.without_rows(columns, tasks)
    return program.simulate(jax.random.fold_in(key, number), data, lifetime).values


def _predicted(
    program: Program,
    queries: Evidence,
    values: Mapping[str, np.ndarray],
    history: Evidence,
    at: np.ndarray,
    key: PRNGKeyArray,
) -> np.ndarray:
    """Outcomes of the queries; a program with state goes on from the rows before them."""
    latents = {latent.name: np.asarray(values[latent.name]) for latent in program.latents}
    if not program.signature.stateful:
        return predict_rows(program, queries, latents, key)
    has_past = np.array([i >= 0 and history.lengths[i] > 0 for i in at], bool)
    scopes = {latent.name: latent.scope for latent in program.latents}
    parts, rows = [], []
    for i, chosen in enumerate((np.flatnonzero(has_past), np.flatnonzero(~has_past))):
        some = queries.select(chosen)
        if not some.n_rows:
            continue
        own = {n: x[:, :, chosen] if scopes[n] == TASK else x for n, x in latents.items()}
        past = history.select(at[chosen]) if i == 0 else None
        parts.append(predict_rows(program, some, own, jax.random.fold_in(key, i), past))
        rows.append(some.rows)
    order = {row: i for i, row in enumerate(np.concatenate(rows))}
    return np.concatenate(parts, 2)[:, :, [order[row] for row in queries.rows]]
