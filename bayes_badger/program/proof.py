"""The contract of a program, proved numerically instead of trusted.

What a likelihood may depend on is asked of the program itself: all tasks at once, one task at a
time, one step at a time, and with other rows exchanged, it must give the same numbers. This finds
what NumPyro lets pass in silence: a mean over steps, a lag, a centring on the grand mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from bayes_badger.compilation import jit_by_work
from bayes_badger.errors import BadgerError
from bayes_badger.program.constraints import (
    Bounded,
    Place,
    bounded_parameters,
    outside,
    told,
)
from bayes_badger.program.latent import TASK
from bayes_badger.program.walk import Data

if TYPE_CHECKING:
    from bayes_badger.program.program import Program

DRAWS = 3
# Draws from the whole prior at which parameters of distributions must keep their constraints.
PRIOR_DRAWS = 16
# Float32 carries seven digits; what a mistake moves, it moves in the first ones.
TOLERANCE = 1e-3


class NotAcceptedError(BadgerError):
    """A program fails on these columns; on others it may not."""


class _Probe(NamedTuple):
    """What a program says of some data: per row, per site, and its state afterwards."""

    rows: Array
    priors: dict[str, Array]
    derived: dict[str, Array]
    state: PyTree
    parameters: dict[Place, Bounded]


def prove(program: Program, data: Data, key: Array) -> set[str]:
    """Raises BadgerError, naming culprit and remedy, if the program breaks the contract.

    Returns:
        Names of deterministics that depend on rows or on other tasks: they have no value of their
        own for a task, and are to be left out.
    """
    _keep_constraints(program, data, key)
    proved, astray = 0, set[str]()
    for number in range(DRAWS):
        tried = jax.tree.map(np.asarray, _tried(program, key, np.int32(number), data))
        if not np.isfinite(tried.base.rows).all():
            continue
        proved += 1
        given = data._replace(outcome=jnp.asarray(tried.outcome))
        astray |= _one_task_at_a_time(program, tried, given)
        astray |= _one_step_at_a_time(program, tried, given)
        astray |= _other_rows_exchanged(program, tried, given)
    if not proved:
        raise NotAcceptedError(
            f"{program.name}: the log likelihood of its own simulated outcomes is not finite, "
            f"{DRAWS} times of {DRAWS}: look for a logarithm, root or division that can fail"
        )
    return astray


def latents_without_gradient(program: Program, data: Data, key: Array) -> tuple[str, ...]:
    """Latents that move the likelihood, but through which no finite gradient comes."""
    suspects = {latent.name for latent in program.latents if not latent.discrete}
    moved: set[str] = set()
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    for _ in range(DRAWS):
        a = 0.5 * rng.normal(size=program.lifetime_size).astype(np.float32)
        z = 0.5 * rng.normal(size=(data.tasks, program.task_size)).astype(np.float32)
        here, gradient = jax.tree.map(np.asarray, _total(program, a, z, data))
        for name, scope, part in _parts(program):
            if name not in suspects:
                continue
            own = gradient[scope][..., part]
            if np.isfinite(own).all() and (own != 0).any():
                suspects.discard(name)
                continue
            a_there, z_there = a.copy(), z.copy()
            (a_there if scope == 0 else z_there)[..., part] += 0.5
            if not np.allclose(np.asarray(_total(program, a_there, z_there, data)[0]), here):
                moved.add(name)
    return tuple(latent.name for latent in program.latents if latent.name in suspects & moved)


@jit_by_work
def _total(
    program: Program, lifetime: Array, task: Array, data: Data
) -> tuple[Array, tuple[Array, Array]]:
    """The log likelihood of all data, and its gradient."""

    def total(point: tuple[Array, Array]) -> Array:
        return program.terms(*point, data).log_likelihood.sum()

    return jax.value_and_grad(total)((lifetime, task))


def _keep_constraints(program: Program, data: Data, key: Array) -> None:
    """Refuses a rate that is negative, and other parameters that no distribution has."""
    found = [
        _parameters(program, key, np.int32(DRAWS + number), data) for number in range(PRIOR_DRAWS)
    ]
    beyond = outside(found)
    if beyond is not None:
        raise NotAcceptedError(told(program.name, beyond, PRIOR_DRAWS))


@jit_by_work
def _parameters(program: Program, key: Array, number: Array, data: Data) -> dict[Place, Bounded]:
    """What distributions are given at a draw from the prior."""
    values = prior_values(program, jax.random.fold_in(key, number), data, 1.0)
    return bounded_parameters(program.walk_at(values, data).sites)


def prior_values(
    program: Program, key: Array, data: Data, spread: float | Array = 0.5
) -> dict[str, Array]:
    """Latents at so many prior sd from the centre: by half of one, neither kink nor far tail."""
    keys = jax.random.split(key, 3)
    a = spread * jax.random.normal(keys[0], (program.lifetime_size,))
    z = spread * jax.random.normal(keys[1], (data.tasks, program.task_size))
    return program.constrain(a, z, data.task_columns, keys[2])


def _parts(program: Program) -> Iterator[tuple[str, int, slice]]:
    """Where each latent stands: its name, 0 in a lifetime or 1 in a task, and its entries."""
    at = [0, 0]
    for latent in program.latents:
        scope = int(latent.scope == TASK)
        if not latent.discrete:
            yield latent.name, scope, slice(at[scope], at[scope] + latent.size)
            at[scope] += latent.size


class _Tried(NamedTuple):
    """What a program says at one draw from its prior.

    Attributes:
        values: The latents.
        outcome: Drawn from the program at these.
        base: Of all data at once.
        tasks: Of each task alone, `[task, ...]`.
        steps: Of each step alone, `[step, ...]`; None for a program with state.
        exchanged: With the last rows of all tasks those of the first.
    """

    values: dict[str, Array]
    outcome: Array
    base: _Probe
    tasks: _Probe
    steps: _Probe | None
    exchanged: _Probe


@jit_by_work
def _tried(program: Program, key: Array, number: Array, data: Data) -> _Tried:
    """All that is asked of a program at a draw, in one piece: it is compiled once."""
    key = jax.random.fold_in(key, number)
    values = prior_values(program, key, data)
    data = data._replace(outcome=program.simulate(key, data, values).outcome)

    def alone(i: Array) -> _Probe:
        own = {n: v[i[None]] if _of_task(program, n) else v for n, v in _latents(program, values)}
        return _probe(program, own, data.task(i[None]))

    def at_once(t: Array) -> _Probe:
        return _probe(program, values, data.step(t[None]))

    steps = None if program.signature.stateful else jax.lax.map(at_once, jnp.arange(data.steps))
    return _Tried(
        values,
        data.answers,
        _probe(program, values, data),
        jax.lax.map(alone, jnp.arange(data.tasks)),
        steps,
        _probe(program, values, _exchanged(data, data.columns, _halves(data)[0])),
    )


def _of_task(program: Program, name: str) -> bool:
    return program.latent(name).scope == TASK


@jit_by_work
def _probe(program: Program, values: Mapping[str, Array], data: Data) -> _Probe:
    walked = program.walk_at(values, data)
    return _Probe(
        program.rows_of(walked, data),
        program.priors_of(walked, data.tasks),
        {x.name: x.task_first(walked.sites[x.name].value) for x in program.derived},
        walked.state,
        bounded_parameters(walked.sites),
    )


def _one_task_at_a_time(program: Program, tried: _Tried, data: Data) -> set[str]:
    base, astray = tried.base, set()
    for i in range(data.tasks):
        one = slice(i, i + 1)
        alone = jax.tree.map(lambda x, i=i: x[i], tried.tasks)
        for x in program.derived:
            same = base.derived[x.name][one] if x.scope == TASK else base.derived[x.name]
            if not _close(alone.derived[x.name], same):
                astray.add(x.name)
        for name, density in alone.priors.items():
            same = base.priors[name][one] if density.ndim else base.priors[name]
            if not _close(density, same):
                raise _prior_moves(program, tried.values, data, name, "of other tasks")
        if not _close(alone.rows, base.rows[one]):
            raise _rows_move(program, tried.values, data, "of other tasks")
    return astray


def _one_step_at_a_time(program: Program, tried: _Tried, data: Data) -> set[str]:
    state, astray, base = None, set(), tried.base
    for t in range(data.steps):
        if tried.steps is None:
            alone = _probe(program, tried.values, data.step(slice(t, t + 1), state))
            state = alone.state
        else:
            alone = jax.tree.map(lambda x, t=t: x[t], tried.steps)
        astray |= _moved(alone, base)
        for name, density in alone.priors.items():
            if not _close(density, base.priors[name]):
                raise _prior_moves(program, tried.values, data, name, "of the task")
        if not _close(alone.rows, base.rows[:, t : t + 1]):
            raise _rows_move(program, tried.values, data, "of the same task")
    return astray


def _other_rows_exchanged(program: Program, tried: _Tried, data: Data) -> set[str]:
    first, base, moved = _halves(data)[0], tried.base, tried.exchanged
    for name, density in moved.priors.items():
        if not _close(density, base.priors[name]):
            raise _prior_moves(program, tried.values, data, name, "of the task")
    if not _close(moved.rows[:, first], base.rows[:, first]):
        raise _rows_move(program, tried.values, data, "of the same task")
    return _moved(moved, base)


def _moved(there: _Probe, base: _Probe) -> set[str]:
    """Deterministics that moved when only rows did."""
    return {name for name, x in there.derived.items() if not _close(x, base.derived[name])}


def _halves(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """The first steps, and the last."""
    return np.arange(data.steps // 2), np.arange(data.steps // 2, data.steps)


def _exchanged(data: Data, names: Iterable[str], kept: np.ndarray) -> Data:
    """Gives every task the rows of the first task at all steps but some.

    No mere reordering: that would leave a mean over all rows as it was.
    """
    exchanged = {}
    for name in names:
        x = data.columns[name]
        exchanged[name] = jnp.broadcast_to(x[:1], x.shape).at[:, kept].set(jnp.asarray(x)[:, kept])
    return data._replace(columns={**data.columns, **exchanged})


def _culprit(program: Program, values: Mapping[str, Any], data: Data, site: str | None) -> str:
    """The column, or the outcome, that moves what it should not; empty if none does."""
    base = _probe(program, values, data)
    # Rows after others may follow them where a state says so, and nowhere else.
    halves = _halves(data)[: 1 if program.signature.stateful else 2]

    def moves(other: Data, steps: np.ndarray, tasks: slice = slice(None)) -> bool:
        there = _probe(program, values, other)
        if site is None:
            return not _close(there.rows[tasks, steps], base.rows[tasks, steps])
        a, b = there.priors[site], base.priors[site]
        return not _close(a[tasks] if a.ndim else a, b[tasks] if b.ndim else b)

    for name in data.columns:
        if any(moves(_exchanged(data, (name,), half), half) for half in halves):
            return name
    for half in halves:
        answers = _exchanged(data._replace(columns={"y": data.answers}), ("y",), half)
        if moves(data._replace(outcome=answers.columns["y"]), half):
            return program.signature.outcome
    for name, x in data.task_columns.items():
        others = jnp.concatenate([x[:1], jnp.broadcast_to(x[1:2], x[1:].shape)])
        changed = data._replace(task_columns={**data.task_columns, name: others})
        if moves(changed, halves[0], slice(0, 1)):
            return name
    return ""


def _rows_move(program: Program, values: Mapping[str, Any], data: Data, whose: str) -> BadgerError:
    name = _culprit(program, values, data, None)
    if name == program.signature.outcome:
        return BadgerError(
            f"{program.name}: the likelihood of a row depends on '{name}' in other rows {whose}: "
            "pass earlier outcomes as a column of their own, or carry them in state"
        )
    if name in program.signature.task_columns:
        return _centred(program, name)
    what = f"on '{name}' in other rows" if name else "on other rows"
    return BadgerError(
        f"{program.name}: the likelihood of a row depends {what} {whose} (a mean, a lag or a "
        f"centring inside the program?): compute it in the table and pass it as a column"
    )


def _prior_moves(
    program: Program, values: Mapping[str, Any], data: Data, site: str, whose: str
) -> BadgerError:
    name = _culprit(program, values, data, site)
    if not name:
        return BadgerError(
            f"{program.name}: the prior of '{site}' depends on the rows {whose}: "
            "a latent may depend on keyword-only columns of its own task alone"
        )
    if name in program.signature.task_columns:
        return _centred(program, name)
    return BadgerError(
        f"{program.name}: the prior of '{site}' depends on the rows of '{name}' {whose}: make "
        f"{name} keyword-only, one value per task (a mean over rows is computed in the table)"
    )


def _centred(program: Program, name: str) -> BadgerError:
    return BadgerError(
        f"{program.name}: a task depends on '{name}' of other tasks (a centring inside the "
        f"program?): centre {name} in the table"
    )


def _latents(program: Program, values: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    return ((latent.name, values[latent.name]) for latent in program.latents)


def _close(a: Any, b: Any) -> bool:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= TOLERANCE * (1 + np.abs(y))
    return bool(np.all(near | (x == y) | np.isnan(y)))
