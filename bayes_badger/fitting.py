"""Puts the rooms together: from a program and data to a run."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayes_badger import learning, shelves
from bayes_badger.belief import Posterior
from bayes_badger.datatree import build_tree
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence, from_arrays, read
from bayes_badger.evidence.blocks import single
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import Labels
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.program import (
    STEPS,
    TASKS,
    Data,
    Program,
    from_inputs,
    lift,
    read_signature,
)
from bayes_badger.program.parameters import as_table
from bayes_badger.recipe import Recipe, load_recipe
from bayes_badger.runs import Run
from bayes_badger.trust import HOW, doubts, judged
from bayes_badger.unlike import unlike

RECIPE_PREFIX = "inference."
PACKAGES = ("bayes-badger", "jax", "numpyro", "arviz", "equinox", "xarray", "numpy")
SIMULATED_TASKS, SIMULATED_STEPS = 20, 10


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
    out: str | Path | None = None,
    resume: str | Path | None = None,
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
        out: Folder in which the run is stored; not stored if None. While the outer loop learns its
            checkpoints stand there too, in a folder NAME.learning.
        resume: Such a folder, to go on from; all else must be as it was asked then.
        report: Is told how far the work has come.

    Returns:
        The run; `run.tree` is the ArviZ DataTree, `run.posterior` its posterior.

    Raises:
        BadgerError: For bad data, a program that breaks the contract, or a recipe that does not
            fit; one line that says how to mend it.
    """
    started = time.monotonic()
    if trust not in HOW:
        raise BadgerError(f"trust = '{trust}': choose one of {listed(HOW)}")
    loaded = _loaded(program)
    own, for_recipe, for_outer = _split_settings(settings or {})
    outer = learning.settings_of(outer_steps, for_outer)
    recipe = load_recipe(inference, for_recipe)
    loop = recipe.make()
    log = _Log(report)
    log("lifting the program", 0, 1)
    keys = jax.random.split(jax.random.key(seed), 4)
    lifted, evidence, truth = _prepare(
        loaded, own, data, task, columns, missing, (tasks, steps), keys[0]
    )
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
            "settings": _plain(own),
            "evidence": evidence.digest(),
            "seed": seed,
        }
        folder, before = (None if x is None else Path(x) for x in (out, resume))
        chance = jax.random.fold_in(keys[2], 2)
        taught = learning.learned(lifted, evidence, chance, outer, asked, folder, before, log, loop)
        lifted = taught.learned.program
    posterior = loop.infer(lifted, evidence, keys[2], log)
    judging = jax.random.fold_in(keys[2], 1)
    posterior, verdicts = judged(lifted, evidence, posterior, judging, trust, log)
    if lifted.left_out:
        names = listed(lifted.left_out)
        told = f"left out {names}: a deterministic of rows, or of other tasks, has no one value"
        posterior = dataclasses.replace(posterior, notes=(*posterior.notes, told))
    if taught is not None:
        posterior = dataclasses.replace(
            posterior,
            notes=(*taught.learned.notes, *posterior.notes),
            warnings=(*taught.learned.warnings, *posterior.warnings),
        )
    log("building the DataTree", 0, 1)
    tree = build_tree(lifted, evidence, posterior.draws, keys[3], truth)
    log("building the DataTree", 1, 1)
    log("looking for tasks that are unlike", 0, 1)
    strange = unlike(lifted, evidence, posterior.draws.values, jax.random.fold_in(keys[3], 1))
    log("looking for tasks that are unlike", 1, 1)
    table = strange.table() | ({} if verdicts is None else dict(verdicts.table()))
    tree["trust"] = xr.DataTree(Labels(lifted, evidence).of_tasks(table))
    if posterior.messages is not None:
        messages = Labels(lifted, evidence).of_messages(posterior.messages)
        tree["messages"] = xr.DataTree(messages)
    warnings = [*posterior.warnings, *strange.told(evidence)]
    if not posterior.independent:
        warnings += doubts(tree["posterior"].to_dataset())
    seconds = time.monotonic() - started
    spec = _spec(loaded, lifted, own, recipe, evidence, posterior, warnings, seed, seconds, trust)
    metrics = log.lines
    if taught is not None:
        spec["outer"] = {"steps": taught.learned.steps, "settings": outer.model_dump()}
        metrics = [*taught.learned.curve, *metrics]
        if not taught.learned.finished and taught.folder is not None:
            spec["outer"]["folder"] = str(taught.folder)
    run = Run(
        spec=spec,
        tree=tree,
        evidence=evidence.to_dataset(),
        parameters=as_table(lifted),
        metrics=metrics,
        program=lifted,
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
        {name: jnp.asarray(single(x[tasks]))[:, None] for name, x in evidence.task_columns.items()},
    )


class _Log:
    """Passes reports on, and keeps each with its time: the run's metrics."""

    def __init__(self, report: Report) -> None:
        self.report, self.started = report, time.monotonic()
        self.lines: list[dict[str, Any]] = []

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        seconds = round(time.monotonic() - self.started, 3)
        line = {"seconds": seconds, "stage": stage, "done": done, "total": total}
        self.lines.append({**line, "note": note} if note else line)
        self.report(stage, done, total, note)


def _loaded(program: str | Path | Callable[..., Any]) -> shelves.LoadedProgram | Callable[..., Any]:
    if callable(program):
        return program
    return shelves.load_program(program)


def _split_settings(settings: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Those of the program, of the recipe and of the outer loop, without their prefixes."""
    found: dict[str, dict[str, Any]] = {"": {}, RECIPE_PREFIX: {}, learning.PREFIX: {}}
    for key, value in settings.items():
        prefix = next((x for x in found if x and key.startswith(x)), "")
        found[prefix][key.removeprefix(prefix)] = value
    return tuple(found.values())


def _prepare(
    loaded: shelves.LoadedProgram | Callable[..., Any],
    settings: Mapping[str, Any],
    data: Any,
    task: str | None,
    columns: Mapping[str, Any] | None,
    missing: str,
    sizes: tuple[int | None, int | None],
    key: Any,
) -> tuple[Program, Evidence, dict[str, np.ndarray] | None]:
    """Lifts the program on real rows, or on simulated ones if there are none."""
    if isinstance(loaded, shelves.LoadedProgram):
        model, name = loaded.model, loaded.name
        groups = columns or loaded.optional("columns")
        table, inputs, world = (loaded.optional(n) for n in ("evidence", "inputs", "world"))
    else:
        model, name, groups = loaded, None, columns
        table = inputs = world = None
    signature = read_signature(model, name, groups)
    given: Any = {"settings": settings, "groups": groups, "name": name}
    if sizes != (None, None) and not (data is None and table is None):
        why = "there are data" if data is not None else f"{signature.program} brings its own data"
        raise BadgerError(
            f"{why}, so nothing is simulated: leave out tasks and steps (--tasks, --steps)"
        )
    if data is None and table is not None:
        data = table()
    if data is not None:
        evidence = read(signature, data, task=task, missing=missing)
        return lift(model, example=example_of(evidence), **given), evidence, None
    if inputs is None:
        need = f"columns {listed(signature.names)}"
        raise BadgerError(
            f"{signature.program} brings no data: give it some, --data FILE with {need}"
        )
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
    return program, dataclasses.replace(evidence, notes=(*evidence.notes, note)), values


def _spec(
    loaded: Any,
    program: Program,
    settings: Mapping[str, Any],
    recipe: Recipe,
    evidence: Evidence,
    posterior: Posterior,
    warnings: list[str],
    seed: int,
    seconds: float,
    trust: str,
) -> dict[str, Any]:
    """Everything needed to know what was done, as plain values."""
    on_file = isinstance(loaded, shelves.LoadedProgram)
    device = jax.local_devices()[0]
    return {
        "name": program.name,
        "seed": seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": {
            "name": program.name,
            "path": str(loaded.path) if on_file and not loaded.on_shelf else "",
            "sha256": loaded.sha256 if on_file else "",
            "on_shelf": on_file and loaded.on_shelf,
            "settings": {**_plain(program.signature.settings), **_plain(settings)},
            "set": _plain(settings),
            "not_plain": [key for key, value in settings.items() if not _is_plain(value)],
            "outcome": program.outcome.site,
            "outcome_family": program.outcome.family,
            "outcome_discrete": program.outcome.discrete,
            "latents": [
                {
                    "name": latent.name,
                    "scope": latent.scope,
                    "role": latent.role,
                    "shape": list(latent.shape),
                    "family": latent.family,
                    "support": latent.support,
                }
                for latent in program.latents
            ],
        },
        "recipe": recipe.resolved(),
        "trust": trust,
        "evidence": {
            "tasks": evidence.n_tasks,
            "rows": evidence.n_rows,
            "task_name": evidence.task_name,
            "digest": evidence.digest(),
            "outcome_digest": evidence.outcome_digest(),
            "notes": list(evidence.notes),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "device": f"{len(jax.local_devices())} x {device.device_kind}",
        "result": {
            "seconds": round(seconds, 3),
            "notes": list(posterior.notes),
            "warnings": warnings,
            "independent": posterior.independent,
            **_known(
                log_evidence=posterior.log_evidence,
                log_evidence_error=posterior.log_evidence_error,
            ),
        },
    }


def _known(**values: float | None) -> dict[str, float]:
    """What is known and finite, and can so be stored."""
    return {n: float(x) for n, x in values.items() if x is not None and math.isfinite(x)}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v if _is_plain(v) else repr(v)[:200] for k, v in settings.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)
