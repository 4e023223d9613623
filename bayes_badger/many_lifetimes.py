"""What the outer loop learns from many lifetimes: how what tasks share varies between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bayes_badger import learning
from bayes_badger.assembling import plain
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import read
from bayes_badger.fitting import example_of, program_at
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.outcomes import check_outcome, typed_outcome
from bayes_badger.outer_loop import learn_lifetimes, why_no_lifetimes
from bayes_badger.preflight.checks import OUTER, RECIPE, split_settings
from bayes_badger.program import Program, lift, read_signature
from bayes_badger.program.parameters import as_table
from bayes_badger.shelves import LoadedProgram


@contextlib.contextmanager
def _named(i: int) -> Iterator[None]:
    """Says of which lifetime the data are with which something is wrong."""
    try:
        yield
    except BadgerError as error:
        raise BadgerError(f"lifetimes[{i}]: {error}") from error


class Prior(NamedTuple):
    """A prior that was learned.

    Attributes:
        parameters: Of the program, by name, for `fit(..., parameters=...)`.
        errors: Their standard errors, by name; empty where they are not known.
        program: Lifted, with these parameters.
        curve: A table of numbers for each step.
        notes: What was done, one sentence each.
        warnings: Why it is not to be trusted, one sentence each.
    """

    parameters: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    program: Program
    curve: list[dict[str, Any]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def learn_prior(
    program: str | Path | Callable[..., Any],
    lifetimes: Sequence[Any],
    *,
    task: str | None = None,
    settings: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    missing: str = "refuse",
    seed: int = 0,
    outer_steps: int | None = None,
    folder: str | Path | None = None,
    report: Report = silent,
) -> Prior:
    """Learns a program's parameters from many lifetimes, each a set of tasks that share latents.

    One table is one lifetime: what its tasks share was drawn once. How it varies, as in
    `p(rule)`, is learned from several.

    Args:
        program: A NumPyro program, as for `fit`.
        lifetimes: The data of each, as for `fit`.
        task: The column that tells the tasks of a lifetime apart.
        settings: Settings of the program, and of the outer loop with the prefix "outer.".
        columns: Table columns that make up one column of the program.
        missing: "refuse" rows where something is missing, or "drop" them.
        seed: Of everything random.
        outer_steps: At most so many steps.
        folder: Where checkpoints are written, and gone on from if it has any; removed at the end.
        report: Is told how far it has come. A KeyboardInterrupt ends it with what was learned.

    Returns:
        The parameters, with standard errors where there are few.

    Raises:
        BadgerError: For bad data, or where there is nothing to learn.

    Example:
        >>> import bayes_badger as bb, jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> def coins(x, heads=None):
        ...     bent = numpyro.param("bent", 0.5, constraint=dist.constraints.unit_interval)
        ...     kind = numpyro.sample("kind", dist.Bernoulli(bent))
        ...     chance = jnp.where(kind == 1, 0.9, 0.5) + 0 * x
        ...     with numpyro.plate("task", x.shape[0], dim=-2):
        ...         with numpyro.plate("step", x.shape[1], dim=-1):
        ...             numpyro.sample("heads", dist.Bernoulli(chance), obs=heads)
        >>> tosses = [[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1]]
        >>> lives = [{"task": [0] * 6, "x": [0.0] * 6, "heads": toss} for toss in tosses]
        >>> round(float(bb.learn_prior(coins, lives).parameters["bent"]), 2)
        0.51
    """
    if isinstance(lifetimes, Mapping) or not hasattr(lifetimes, "__len__"):
        raise BadgerError("lifetimes are a list of data sets, one for each: [data]")
    if not len(lifetimes):
        raise BadgerError("lifetimes is empty: give at least one data set")
    loaded = program_at(program)
    own, parts = split_settings(settings or {}, (RECIPE, OUTER))
    for_recipe, for_outer = parts[RECIPE], parts[OUTER]
    if for_recipe:
        raise BadgerError(
            f"inference.{next(iter(for_recipe))}: nothing is inferred with a recipe; settings of "
            f"the outer loop start with {learning.PREFIX}"
        )
    outer = learning.settings_of(outer_steps, for_outer)
    name, groups, sha256 = None, columns, ""
    if isinstance(loaded, LoadedProgram):
        name, groups, sha256 = loaded.name, columns or loaded.optional("columns"), loaded.sha256
    model = loaded.model if isinstance(loaded, LoadedProgram) else loaded
    signature = read_signature(model, name, groups)
    evidence = []
    for i, data in enumerate(lifetimes):
        with _named(i):
            evidence.append(read(signature, data, task=task, missing=missing))
    with _named(0):
        example = example_of(evidence[0])
    lifted = lift(model, example=example, settings=own, groups=groups, name=name)
    keys = jax.random.split(jax.random.key(seed))
    for i, each in enumerate(evidence):
        with _named(i):
            check_outcome(lifted, each, keys[0])
    evidence = [typed_outcome(lifted, each) for each in evidence]
    reason = why_no_lifetimes(lifted, evidence)
    if reason is not None:
        raise BadgerError(f"{lifted.name} {reason}")
    asked = {
        "program": lifted.name,
        "program's file": sha256,
        "settings": plain(own),
        "evidence": [each.digest() for each in evidence],
        "seed": seed,
        "outer": outer.model_dump(),
    }
    place = learning.opened(None if folder is None else Path(folder), asked)
    found = learn_lifetimes(lifted, evidence, keys[1], outer, report, place)
    if found.finished:
        learning.forget(place)
    return Prior(
        as_table(found.program),
        found.errors,
        found.program,
        found.curve,
        found.notes,
        found.warnings,
    )
