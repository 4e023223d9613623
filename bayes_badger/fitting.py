"""Puts the rooms together: from a program and data to a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayes_badger import learning, shelves
from bayes_badger.assembling import Asked, Log, assembled, described, plain
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence, from_arrays, read
from bayes_badger.evidence.blocks import single
from bayes_badger.inner_loop._budget import Limited, OutOfTimeError
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import Labels
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.preflight.budget import seconds_of
from bayes_badger.preflight.checks import (
    OUTER,
    RECIPE,
    check_fit,
    refusal_of_no_data,
    refusal_of_sizes,
    split_settings,
)
from bayes_badger.preflight.index_style import check_live_task_plate
from bayes_badger.program import (
    STEPS,
    TASKS,
    Data,
    Program,
    from_inputs,
    lift,
    read_signature,
)
from bayes_badger.program.parameters import from_table
from bayes_badger.recipe import load_recipe
from bayes_badger.runs import Run
from bayes_badger.trust import HOW, inferred

SIMULATED_TASKS, SIMULATED_STEPS = 20, 10
# The setting of a recipe that says how long it may take.
BUDGET = "budget"


def fit(
    program: str | Path | Callable[..., Any],
    data: Any = None,
    *,
    task: str | None = None,
    inference: str | Path = "auto",
    settings: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    missing: str = "refuse",
    seed: int = 0,
    tasks: int | None = None,
    steps: int | None = None,
    trust: str = "weigh",
    outer_steps: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    budget: float | int | str | None = None,
    report: Report = silent,
) -> Run:
    """Infers the latents of a program from evidence.

    A program's parameters, `numpyro.param` and modules, are learned from all tasks first.

    Args:
        program: A NumPyro program: a function, a name on the shelf `models/`, or a file's path
            (`mine.py`, or `mine.py:name` for one of several functions).
        data: A data frame, a file (CSV, Parquet, netCDF), an xarray data set, a dict of arrays, or
            Evidence; by default what the program's file brings, or else simulated.
        task: The column that tells the tasks apart; else a column "task", or the named index.
        inference: A recipe: a name on the shelf `inference/`, or a file's path.
        settings: Settings of the program, of the recipe with the prefix "inference.", and of the
            outer loop with the prefix "outer.".
        columns: Table columns that make up one column of the program, `{"X": ["x1", "x2"]}`.
        missing: "refuse" rows where something is missing, or "drop" them.
        seed: Of everything random.
        tasks: How many tasks to simulate where there are no data; by default 20.
        steps: How many steps of each; by default 10.
        trust: What is done about a belief that approximates: "weigh" its draws by the true density
            and flag tasks, "refine" flagged tasks too, or "off".
        outer_steps: At most so many steps of the outer loop; by default 300, and with 0 parameters
            stay where they start.
        parameters: Values of the program's parameters by name, as of `run.parameters` or
            `learn_prior`: where they start, and where they stay if outer_steps is not given.
        out: Folder in which the run is stored; not stored if None. While the outer loop learns its
            checkpoints stand there too, in a folder NAME.learning.
        resume: Such a folder, to go on from; all else must be as it was asked then.
        budget: How long an inner loop may take: seconds, or "90s", "2m", "1h". Recipe auto goes on
            to the next where one would take longer, and has a budget of five minutes by default;
            a sampler keeps the draws that it has.
        report: Is told how far the work has come.

    Returns:
        The run; `run.tree` is the ArviZ DataTree, `run.posterior` its posterior.

    Raises:
        BadgerError: For bad data, a program that breaks the contract, or a recipe that does not
            fit; one line that says how to mend it.
    """
    log = Log(report)
    if trust not in HOW:
        raise BadgerError(f"trust = '{trust}': choose one of {listed(HOW)}")
    check_fit(
        program,
        data,
        task=task,
        inference=inference,
        settings=settings,
        columns=columns,
        missing=missing,
        simulated=(tasks, steps) != (None, None),
        budget=budget,
    )
    loaded = program_at(program)
    own, parts = split_settings(settings or {}, (RECIPE, OUTER))
    for_recipe, for_outer = parts[RECIPE], parts[OUTER]
    if parameters is not None and outer_steps is None:
        outer_steps = 0
    outer = learning.settings_of(outer_steps, for_outer)
    recipe, limit = load_recipe(inference, for_recipe), None
    if budget is not None:
        limit = seconds_of(budget)
        if BUDGET in type(recipe.settings).model_fields:
            recipe, limit = load_recipe(inference, {**for_recipe, BUDGET: limit}), None
    loop = recipe.make()
    log("lifting the program", 0, 1)
    keys = jax.random.split(jax.random.key(seed), 4)
    lifted, evidence, world, truth = prepared(
        loaded, own, data, task, columns, missing, (tasks, steps), keys[0]
    )
    if parameters is not None:
        lifted = from_table(lifted, {name: np.asarray(x) for name, x in parameters.items()})
    check_outcome(lifted, evidence, keys[1])
    evidence = typed_outcome(lifted, evidence)
    log("lifting the program", 1, 1)
    reason = loop.why_not(lifted, evidence)
    if reason is not None:
        other = "" if recipe.name == "auto" else "; recipe auto takes what applies"
        raise BadgerError(f"{lifted.name}: {recipe.name} {reason}{other}")
    Labels(lifted, evidence)  # clashes of names are told before the work, not after
    taught = None
    if for_outer and not lifted.parameters:
        raise BadgerError(
            f"{learning.PREFIX}{next(iter(for_outer))}: {lifted.name} has no parameters to learn; "
            "leave that setting out"
        )
    if (lifted.parameters and outer.steps) or outer_steps or resume:
        asked = {
            "program": lifted.name,
            "program's file": getattr(loaded, "sha256", ""),
            "settings": plain(own),
            "evidence": evidence.digest(),
            "seed": seed,
        }
        folder, before = (None if x is None else Path(x) for x in (out, resume))
        chance = jax.random.fold_in(keys[2], 2)
        taught = learning.learned(
            lifted, evidence, chance, outer, asked, folder, before, log, loop, world
        )
        lifted = taught.learned.program
    limited = loop if limit is None else Limited(loop, limit)
    try:
        posterior, verdicts = inferred(limited, lifted, evidence, keys[2], trust, log)
    except OutOfTimeError as late:
        if limit is None:
            raise
        raise OutOfTimeError(f"{recipe.name} {late}: give it a longer budget, or none") from late
    outer_spec = None
    if taught is not None:
        posterior = dataclasses.replace(
            posterior,
            notes=(*taught.learned.notes, *posterior.notes),
            warnings=(*taught.learned.warnings, *posterior.warnings),
        )
        outer_spec = {"steps": taught.learned.steps, "settings": outer.model_dump()}
        if not taught.learned.finished and taught.folder is not None:
            outer_spec["folder"] = str(taught.folder)
    run = assembled(
        Asked(described(loaded, lifted, own), recipe.resolved(), seed, trust, outer_spec),
        lifted,
        evidence,
        posterior,
        keys[3],
        log,
        truth=truth,
        verdicts=verdicts,
        curve=() if taught is None else taught.learned.curve,
    )
    if out is not None:
        run.save(out)
        if taught is not None and taught.learned.finished:
            learning.forget(taught.folder)
    return run


def example_of(evidence: Evidence, seed: int = 0) -> Data:
    """Real rows on which to prove a program's contract: 5 x 7, drawn from all tasks.

    Rows of one task may be alike (one school, one standard error), and a mean over equal rows
    cannot be told from a row, so they are drawn without regard to their task.
    """
    if not evidence.n_rows:
        raise BadgerError("the evidence has no rows: nothing was observed of any task")
    chance = np.random.default_rng(seed)
    rows = chance.permutation(evidence.n_rows)
    rows = np.resize(rows, (TASKS, STEPS))
    tasks = np.resize(chance.permutation(evidence.n_tasks), TASKS)
    return Data(
        {name: jnp.asarray(single(x[rows])) for name, x in evidence.columns.items()},
        {name: jnp.asarray(single(x[tasks])[:, None]) for name, x in evidence.task_columns.items()},
    )


def program_at(
    program: str | Path | Callable[..., Any],
) -> shelves.LoadedProgram | Callable[..., Any]:
    """A program by its name or path; a function as it is.

    Raises:
        BadgerError: Where there is none.
    """
    if callable(program):
        return program
    return shelves.load_program(program)


def prepared(
    loaded: shelves.LoadedProgram | Callable[..., Any],
    settings: Mapping[str, Any],
    data: Any,
    task: str | None,
    columns: Mapping[str, Any] | None,
    missing: str,
    sizes: tuple[int | None, int | None],
    key: Any,
) -> tuple[Program, Evidence, Program | None, dict[str, np.ndarray] | None]:
    """Lifts the program on real rows, or on simulated ones if there are none.

    Returns:
        The program, the evidence, and where that was simulated, from what and with which latents.

    Raises:
        BadgerError: For bad data, or a program that breaks the contract.
    """
    if isinstance(loaded, shelves.LoadedProgram):
        model, name = loaded.model, loaded.name
        groups = columns or loaded.optional("columns")
        table, inputs, world = (loaded.optional(n) for n in ("evidence", "inputs", "world"))
    else:
        model, name, groups = loaded, None, columns
        table = inputs = world = None
    signature = read_signature(model, name, groups)
    if not isinstance(loaded, shelves.LoadedProgram):
        check_live_task_plate(model, signature, task)
    given: Any = {"settings": settings, "groups": groups, "name": name}
    if sizes != (None, None) and not (data is None and table is None):
        raise refusal_of_sizes(signature.program, data is not None)
    if data is None and table is not None:
        data = table()
    if data is not None:
        evidence = read(signature, data, task=task, missing=missing)
        return lift(model, example=example_of(evidence), **given), evidence, None, None
    if inputs is None:
        raise refusal_of_no_data(signature.program, signature.names)
    program = lift(model, inputs=inputs, **given)
    truth = program if world is None else lift(world, inputs=inputs, **given)
    query_key, world_key = jax.random.split(key)
    tasks, steps = (
        default if size is None else size
        for size, default in zip(sizes, (SIMULATED_TASKS, SIMULATED_STEPS), strict=True)
    )
    queries = from_inputs(signature, inputs, query_key, tasks, steps)
    drawn = truth.simulate(world_key, queries)
    evidence = from_arrays(
        signature,
        {name: np.asarray(x) for name, x in queries.columns.items()},
        np.asarray(drawn.outcome),
        {name: np.asarray(x) for name, x in queries.task_columns.items()},
    )
    source = "own prior" if world is None else "world"
    note = f"simulated {tasks} tasks of {steps} steps from the program's {source}"
    known = {variable.name for variable in program.variables}
    values = {name: np.asarray(x) for name, x in drawn.values.items() if name in known}
    return program, dataclasses.replace(evidence, notes=(*evidence.notes, note)), truth, values
