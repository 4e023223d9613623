"""The log evidence of lifetimes whose tasks share latents, near the parameters it was inferred at.

    log p_ψ(D) = log p_0(D) + log E[p_ψ(D, v) / p_0(D, v)],  v = (a, z) from p_0(v | D)

The inner loop gives weighed points v of each lifetime's posterior under the parameters 0 as they
are. They stay where they are in the user's own space, and so are points of the posterior under
other parameters too, with other weights (Geyer & Thompson 1992, "Constrained Monte Carlo maximum
likelihood"): as long as enough of them count, the log evidence is known with all its slopes and
nothing is inferred anew. The slope is the posterior's mean of ∇ log p_ψ(D, v) (Fisher's identity);
minus the curvature is the mean of -∇² log p_ψ(D, v), the information if v were known, less the
variance of ∇ log p_ψ(D, v), which is missing (Louis 1982).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.interpreters import partial_eval
from jaxtyping import Array, PRNGKeyArray, PyTree

from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of, task_columns_of
from bayes_badger.inner_loop._integrated import constrained
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._lifetimes_weighed import Weighed, weighed_lifetimes
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import LIFETIME, TASK, Data, Program
from bayes_badger.program.parameters import bound, moving_supports

# Points that are looked at at once, times rows.
AT_ONCE = 2**17


class Lifetime(NamedTuple):
    """Points of the posterior of a lifetime; of several, all with an axis in front.

    Attributes:
        values: Latents in the user's own space, by name, `[point, ...]`.
        shared: Coordinates of what tasks share, for latents that have no value, `[point, a]`.
        own: Of the tasks, `[point, task, z]`.
        log_weights: `[point]`; the weights add up to one.
        before: Log density of each task, and of what they share, at the parameters under which the
            points were made, `[point, task + 1]`.
        data: The evidence, `[task, step, ...]`.
        seen: Which rows are real, `[task, step]`.
        real: Which tasks are, `[task]`.
    """

    values: Any
    shared: Any
    own: Any
    log_weights: Any
    before: Any
    data: Any
    seen: Any
    real: Any


class Inferred(NamedTuple):
    """Lifetimes under some parameters.

    Attributes:
        lifetimes: Stacked.
        log_evidence: Of each lifetime, in nats, `[lifetime]`.
        error: Its standard error, `[lifetime]`.
        rows_move: Whether the likelihood of rows, given the values, moves with the parameters.
        drawn: Whether points were drawn: else they are all values that latents can take.
    """

    lifetimes: Lifetime
    log_evidence: np.ndarray
    error: np.ndarray
    rows_move: bool
    drawn: bool = True


class Sums(NamedTuple):
    """What lifetimes say of other parameters, p of them.

    Attributes:
        gain: Log evidence less that where the points were made, of each lifetime, `[lifetime]`.
        slope: Its gradient, of each lifetime, `[lifetime, p]`.
        complete: Information if all latents were known, of all together, `[p, p]`.
        missing: Information that is lost since they are not, `[p, p]`.
        spread: Its standard error by the spread of the points, of each entry, `[p, p]`.
        noise: Covariance of the summed slope, by the spread of the points, `[p, p]`.
        carried: Effective number of points over what it was, harmonic mean over lifetimes.
    """

    gain: np.ndarray
    slope: np.ndarray
    complete: np.ndarray
    missing: np.ndarray
    spread: np.ndarray
    noise: np.ndarray
    carried: float


def infer(
    program: Program,
    lifetimes: Sequence[Evidence],
    key: PRNGKeyArray,
    draws: int,
    sizes: Sizes,
    report: Report = silent,
) -> Inferred:
    """Points of the posterior of each lifetime, under the program's parameters as they are.

    Args:
        program: The lifted program.
        lifetimes: The evidence of each.
        key: For points and draws.
        draws: Of each lifetime.
        sizes: How hard to try.
        report: Is told how many lifetimes are done.
    """
    held = moving_supports(program)
    # Where all there is is discrete and shared, each joint value of it is one point.
    drawn = bool(program.lifetime_size or program.select(TASK))
    draws = draws if drawn else 1
    keys = jax.random.split(key, len(lifetimes))
    found, logs, errors = [], [], []
    for i, evidence in enumerate(lifetimes):
        report("lifetimes", i, len(lifetimes))
        weighed = weighed_lifetimes(program, evidence, keys[i], draws, sizes, silent)
        points = _flat(program, evidence, weighed, held)
        if shares_nothing(program):
            of_tasks = weighed.tasks.log_evidence[0, 0]
            found += [_of_task(points, t) for t in range(evidence.n_tasks)]
            logs += list(of_tasks)
            errors += list(1 / np.sqrt(weighed.effective[0]))
        else:
            found.append(points)
            logs.append(weighed.log_evidence)
            errors.append(weighed.log_evidence_error)
    report("lifetimes", len(lifetimes), len(lifetimes))
    stacked = _stacked(program, found)
    rows_move = _rows_move(program, stacked)
    before = np.array(_before(program, stacked, rows_move))
    good = _without_bad(program, stacked, before)
    return Inferred(good, np.array(logs), np.array(errors), rows_move, drawn)


def shares_nothing(program: Program) -> bool:
    """Whether each task is a lifetime of its own."""
    return not program.select(LIFETIME)


def sums(
    program: Program, parameters: dict[str, PyTree], found: Inferred, curved: bool = True
) -> Sums:
    """What lifetimes say of parameters, given without bounds.

    Args:
        program: The lifted program.
        parameters: Its parameters without bounds.
        found: The lifetimes, inferred under others.
        curved: Whether the information is wanted; else it is zero.
    """
    each = _sums(program, parameters, found.lifetimes, found.rows_move, curved)
    gain, slope, complete, missing, variance, noise, share = (np.asarray(x, float) for x in each)
    carried = len(share) / (1 / np.maximum(share, 1e-12)).sum()
    spread, noise = np.sqrt(np.maximum(variance.sum(0), 0.0)), noise.sum(0)
    if not found.drawn:
        spread, noise = np.zeros_like(spread), np.zeros_like(noise)
    return Sums(gain, slope, complete.sum(0), missing.sum(0), spread, noise, float(carried))


@jit_lightly
def _sums(
    program: Program,
    parameters: dict[str, PyTree],
    lifetimes: Lifetime,
    rows: bool,
    curved: bool,
) -> tuple[Array, ...]:
    flat, unflatten = ravel_pytree(parameters)

    def one(life: Lifetime) -> tuple[Array, ...]:
        def ratio(flat: Array, i: Array) -> Array:
            now = bound(program, unflatten(flat))
            return (_density(now, life, i, rows) - life.before[i]).sum()

        points, batch = jnp.arange(len(life.log_weights)), _batch(life, rows)
        both = jax.value_and_grad(ratio)
        ratios, scores = jax.lax.map(lambda i: both(flat, i), points, batch_size=batch)
        logs = life.log_weights + ratios
        gain = jax.scipy.special.logsumexp(logs)
        weights = jnp.exp(logs - gain)
        slope = weights @ scores
        away = scores - slope
        share = jnp.exp(2 * life.log_weights).sum() / (weights**2).sum()
        noise = (away * weights[:, None] ** 2).T @ away
        if not curved:
            none = jnp.zeros((0, 0))
            return gain, slope, none, none, none, none, share
        missing = (away * weights[:, None]).T @ away
        # Of a weighted mean of products of scores.
        fourth = (away**2 * weights[:, None] ** 2).T @ away**2
        variance = fourth - 2 * missing * noise + missing**2 * (weights**2).sum()

        def mean(flat: Array) -> Array:
            def some(i: Array) -> Array:
                return weights[i] * ratio(flat, i)

            return jax.lax.map(some, points, batch_size=batch).sum()

        complete = -jax.jacfwd(jax.grad(mean))(flat)
        return gain, slope, 0.5 * (complete + complete.T), missing, variance, noise, share

    return jax.lax.map(one, lifetimes)


def _density(program: Program, life: Lifetime, i: Array, rows: bool) -> Array:
    """Log density of each task and of what they share, at one point, `[task + 1]`."""
    values = {name: x[i] for name, x in life.values.items()}
    if rows:
        terms = program.terms_at(values, life.shared[i], life.own[i], life.data)
        own = terms.task + jnp.where(life.seen, terms.log_likelihood, 0.0).sum(1)
    else:
        nothing = program.without_rows(life.data.task_columns, len(life.real))
        terms = program.terms_at(values, life.shared[i], life.own[i], nothing)
        own = terms.task
    return jnp.append(jnp.where(life.real, own, 0.0), terms.lifetime)


def _batch(life: Lifetime, rows: bool) -> int:
    cells = life.seen.size if rows else len(life.real)
    return int(max(1, min(len(life.log_weights), AT_ONCE // cells)))


@jit_lightly
def _before(program: Program, lifetimes: Lifetime, rows: bool) -> Array:
    def one(life: Lifetime) -> Array:
        points = jnp.arange(len(life.log_weights))
        look: Callable[[Array], Array] = lambda i: _density(program, life, i, rows)  # noqa: E731
        return jax.lax.map(look, points, batch_size=_batch(life, rows))

    return jax.lax.map(one, lifetimes)


def _rows_move(program: Program, lifetimes: Lifetime) -> bool:
    """Whether the likelihood of rows, at points in the user's space, depends on parameters."""
    first = jax.tree.map(lambda x: x[0], lifetimes)

    def likelihood(parameters: Mapping[str, PyTree]) -> Array:
        now = eqx.tree_at(lambda x: x.parameters, program, dict(parameters))
        values = {name: x[0] for name, x in first.values.items()}
        return now.terms_at(values, first.shared[0], first.own[0], first.data).log_likelihood

    traced = jax.make_jaxpr(likelihood)(program.parameters)
    _, used = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return any(used)


def _flat(program: Program, evidence: Evidence, weighed: Weighed, held: Sequence[str]) -> Lifetime:
    """All points in a row, each with one draw of every task; weights in the end add up to one."""
    s, n = weighed.log_weights.shape
    draws = weighed.tasks.latents.shape[3]
    which, at, draw = (x.ravel() for x in np.indices((s, n, draws)))
    log_weights = weighed.log_weights[which, at]
    lifetimes = weighed.lifetimes[which, at]
    tasks = weighed.tasks.latents[which, at, :, draw]
    assigned = weighed.tasks.states[which, at, :, draw]
    discrete = {name: x[which] for name, x in weighed.states.items()}
    discrete |= {name: x[assigned] for name, x in weighed.own.items()}
    drawn = constrained(program, lifetimes, tasks, task_columns_of(evidence), discrete)
    names = [x.name for x in program.latents if x.name not in held]
    block = evidence.padded()
    return Lifetime(
        {name: np.asarray(drawn[name]) for name in names},
        lifetimes.astype(np.float32),
        tasks.astype(np.float32),
        log_weights - np.logaddexp.reduce(log_weights),
        np.zeros((len(which), evidence.n_tasks + 1), np.float32),
        jax.tree.map(np.asarray, data_of(block)),
        np.asarray(block.mask),
        np.ones(evidence.n_tasks, bool),
    )


def _of_task(life: Lifetime, task: int) -> Lifetime:
    """One task of those that share nothing, as a lifetime: all its draws weigh the same."""
    count, one = len(life.log_weights), slice(task, task + 1)
    return life._replace(
        values={name: x[:, one] for name, x in life.values.items()},
        own=life.own[:, one],
        log_weights=np.full(count, -np.log(count)),
        before=np.zeros((count, 2), np.float32),
        data=jax.tree.map(lambda x: x[one], life.data),
        seen=life.seen[one],
        real=life.real[one],
    )


def _stacked(program: Program, found: Sequence[Lifetime]) -> Lifetime:
    """Lifetimes along a first axis, filled up to as many points, tasks and steps."""
    points = max(len(x.log_weights) for x in found)
    tasks, steps = (max(x.seen.shape[i] for x in found) for i in range(2))

    def filled(life: Lifetime) -> Lifetime:
        p = points - len(life.log_weights)
        t, s = tasks - life.seen.shape[0], steps - life.seen.shape[1]

        def of_rows(x: Any) -> Any:
            return _more(_more(x, s, 1), t, 0)

        values = {name: _more(x, p, 0) for name, x in life.values.items()}
        return Lifetime(
            {
                k: x if program.latent(k).scope == LIFETIME else _more(x, t, 1)
                for k, x in values.items()
            },
            _more(life.shared, p, 0),
            _more(_more(life.own, p, 0), t, 1),
            np.pad(life.log_weights, (0, p), constant_values=-np.inf),
            np.zeros((points, tasks + 1), np.float32),
            Data(
                {k: of_rows(x) for k, x in life.data.columns.items()},
                jax.tree.map(lambda x: _more(x, t, 0), life.data.task_columns),
                of_rows(life.data.outcome),
            ),
            np.pad(life.seen, ((0, t), (0, s))),
            np.pad(life.real, (0, t)),
        )

    return jax.tree.map(lambda *xs: np.stack(xs), *map(filled, found))


def _more(x: np.ndarray, n: int, axis: int) -> np.ndarray:
    """With the first entry along an axis so many times more."""
    return np.concatenate([x, np.repeat(x.take([0], axis), n, axis)], axis) if n else x


def _without_bad(program: Program, lifetimes: Lifetime, before: np.ndarray) -> Lifetime:
    """Where the density is no number a point does not count; it becomes another, of no weight."""
    good = np.isfinite(before).all(2) & np.isfinite(lifetimes.log_weights)
    logs = np.where(good, lifetimes.log_weights, -np.inf)
    if not good.any(1).all():
        raise BadgerError(
            f"{program.name}: the density is not finite at any point of a lifetime's posterior: "
            "start the parameters elsewhere"
        )
    best = logs.argmax(1)[:, None]
    which = np.where(good, np.arange(good.shape[1]), best)

    def chosen(x: np.ndarray) -> np.ndarray:
        return np.take_along_axis(x, which.reshape(*which.shape, *[1] * (x.ndim - 2)), 1)

    return lifetimes._replace(
        values=jax.tree.map(chosen, lifetimes.values),
        shared=chosen(lifetimes.shared),
        own=chosen(lifetimes.own),
        log_weights=logs - np.logaddexp.reduce(logs, 1)[:, None],
        before=chosen(before),
    )
