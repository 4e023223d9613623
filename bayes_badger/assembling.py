"""From a belief to a run: the DataTree, what is not to be trusted, and all that was asked."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import PRNGKeyArray

from bayes_badger import shelves
from bayes_badger.belief import Posterior
from bayes_badger.datatree import build_tree
from bayes_badger.doubts.checks import look
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.labels import Labels
from bayes_badger.program import Program
from bayes_badger.program.parameters import as_table
from bayes_badger.runs import Run
from bayes_badger.trust import GivenVerdicts, Verdicts
from bayes_badger.unlike import unlike

PACKAGES = ("bayes-badger", "jax", "numpyro", "arviz", "equinox", "xarray", "numpy")


class Asked(NamedTuple):
    """What was asked for, as plain values.

    Attributes:
        program: By `described`.
        recipe: With all its settings.
        seed: Of everything random.
        trust: What was done about a belief that approximates.
        outer: Of the outer loop; None where nothing was learned.
        before: What the belief rests on beside the evidence; None where that is the prior.
    """

    program: Mapping[str, Any]
    recipe: Mapping[str, Any]
    seed: int
    trust: str
    outer: Mapping[str, Any] | None = None
    before: Mapping[str, Any] | None = None


def assembled(
    asked: Asked,
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    key: PRNGKeyArray,
    log: Log,
    *,
    truth: dict[str, np.ndarray] | None = None,
    verdicts: Verdicts | GivenVerdicts | None = None,
    curve: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """A run, not yet stored.

    Args:
        asked: What was asked for.
        program: The lifted program.
        evidence: What it was fitted to.
        posterior: What was found.
        key: For the prior, and for both predictives.
        log: Is told how far it has come.
        truth: The latents that the evidence was simulated with, if it was.
        verdicts: Of the tasks, where they were judged.
        curve: What the outer loop learned, a table for each step.
    """
    notes = list(posterior.notes)
    if program.left_out:
        names = listed(program.left_out)
        notes.append(
            f"left out {names}: a deterministic of rows, or of other tasks, has no one value"
        )
    log("building the DataTree", 0, 1)
    tree = build_tree(program, evidence, posterior.draws, key, truth)
    log("building the DataTree", 1, 1)
    log("looking for tasks that are unlike", 0, 1)
    strange = unlike(program, evidence, posterior.draws.values, jax.random.fold_in(key, 1))
    log("looking for tasks that are unlike", 1, 1)
    labels = Labels(program, evidence)
    table = strange.table() | ({} if verdicts is None else dict(verdicts.table()))
    tree["trust"] = xr.DataTree(labels.of_tasks(table))
    if posterior.messages is not None:
        tree["messages"] = xr.DataTree(labels.of_messages(posterior.messages))
    if posterior.lifetime is not None:
        tree["belief"] = xr.DataTree(labels.of_belief(posterior.lifetime))
    found = dataclasses.replace(posterior, notes=tuple(notes))
    spec = _spec(asked, program, evidence, found)
    log("looking for doubts", 0, 1)
    spec["result"] |= look(spec, tree).as_table()
    log("looking for doubts", 1, 1)
    spec["result"]["seconds"] = round(time.monotonic() - log.started, 3)
    return Run(
        spec=spec,
        tree=tree,
        evidence=evidence.to_dataset(),
        parameters=as_table(program),
        metrics=[*curve, *log.lines],
        program=program,
    )


class Log:
    """Passes reports on, and keeps each with its time: the run's metrics."""

    def __init__(self, report: Report) -> None:
        self.report, self.started = report, time.monotonic()
        self.lines: list[dict[str, Any]] = []

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Hears that `done` of `total` are done of a stage."""
        seconds = round(time.monotonic() - self.started, 3)
        line = {"seconds": seconds, "stage": stage, "done": done, "total": total}
        self.lines.append({**line, "note": note} if note else line)
        self.report(stage, done, total, note)


def described(
    loaded: shelves.LoadedProgram | Callable[..., Any],
    program: Program,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Which program it was and with what settings, as plain values."""
    on_shelf = isinstance(loaded, shelves.LoadedProgram) and loaded.on_shelf
    return {
        "name": program.name,
        "path": str(loaded.path)
        if isinstance(loaded, shelves.LoadedProgram) and not on_shelf
        else "",
        "sha256": loaded.sha256 if isinstance(loaded, shelves.LoadedProgram) else "",
        "on_shelf": on_shelf,
        "settings": {**plain(program.signature.settings), **plain(settings)},
        "set": plain(settings),
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
    }


def _spec(
    asked: Asked, program: Program, evidence: Evidence, posterior: Posterior
) -> dict[str, Any]:
    """Everything needed to know what was done, as plain values."""
    device = jax.local_devices()[0]
    spec: dict[str, Any] = {
        "name": program.name,
        "seed": asked.seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": dict(asked.program),
        "recipe": dict(asked.recipe),
        "trust": asked.trust,
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
            "notes": list(posterior.notes),
            "warnings": list(posterior.warnings),
            "independent": posterior.independent,
            **_known(
                log_evidence=posterior.log_evidence,
                log_evidence_error=posterior.log_evidence_error,
            ),
        },
    }
    for name, told in (("outer", asked.outer), ("before", asked.before)):
        if told is not None:
            spec[name] = dict(told)
    return spec


def _known(**values: float | None) -> dict[str, float]:
    """What is known and finite, and can so be stored."""
    return {n: float(x) for n, x in values.items() if x is not None and math.isfinite(x)}


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a file can hold them; what is not plain as text."""
    return {k: v if _is_plain(v) else repr(v)[:200] for k, v in settings.items()}


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)
