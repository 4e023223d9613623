"""Latents in which the log density is quadratic, integrated in closed form.

Given everything else, such latents are Gaussian. At a point x0 with value f, gradient g and
Hessian -H, the integral over x is exp(f + gᵀH⁻¹g/2) (2π)^{n/2} |H|^{-1/2}, and the posterior of x
is N(x0 + H⁻¹g, H⁻¹). A lifetime's Hessian has the shape of an arrow: tasks touch each other only
through the lifetime's latents, so each task's are eliminated on their own, at linear cost.

Everything here is traced in float64 (`jax.enable_x64`): sums over rows need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Key

from bayes_badger.compilation import jit_by_work, jit_lightly
from bayes_badger.inner_loop._chunks import in_batches
from bayes_badger.inner_loop._density import Part
from bayes_badger.program import LIFETIME, Data, Program

# Rows times tasks times points that are evaluated at once.
CELLS = 1_000_000
# Entries of the slopes of all rows' densities, times points that are expanded at once: 1 MB. To
# expand radon takes five times as long with 64 points at once, which move .4 GB.
SLOPES = 2**17


class Where(NamedTuple):
    """Which coordinates are integrated in closed form: positions in lifetime and in task."""

    lifetime: tuple[int, ...]
    task: tuple[int, ...]


class Points(NamedTuple):
    """Where tasks are looked at.

    Attributes:
        task: Which tasks of a block, `[n]`.
        lifetime: `[n, a]`.
        z: `[n, z]`.
        discrete: Assignments by name, `[n, ...]`.
    """

    task: Array
    lifetime: Array
    z: Array
    discrete: dict[str, Array]


class Arrow(NamedTuple):
    """A Gaussian over a lifetime: a ~ N(mean, ...), and each task's z given a.

    Attributes:
        log_integral: Of everything, in nats.
        mean: Of the lifetime's, `[k]`.
        scale_tril: `[k, k]`.
        task_mean: Of each task's at a = mean, `[task, r]`.
        slope: How it moves with a, `[task, r, k]`.
        task_scale_tril: Given a, `[task, r, r]`.
    """

    log_integral: Array
    mean: Array
    scale_tril: Array
    task_mean: Array
    slope: Array
    task_scale_tril: Array


def placed(vector: Array, where: tuple[int, ...], values: Array) -> Array:
    """A vector with some of its entries replaced."""
    return vector.at[..., jnp.asarray(where)].set(values) if where else vector


def taken(vector: Array, where: tuple[int, ...]) -> Array:
    """Some of the entries of a vector."""
    return vector[..., jnp.asarray(where)] if where else vector[..., :0]


def task_density(
    program: Program,
    lifetime: Array,
    z: Array,
    data: Data,
    mask: Array,
    discrete: Mapping[str, Array],
) -> Array:
    """Log density of one task: its latents given the lifetime's, and its rows. `data` has one."""
    lead = {
        name: x if program.latent(name).scope == LIFETIME else x[None]
        for name, x in discrete.items()
    }
    terms = program.terms(lifetime, z[None], data, lead)
    return terms.task[0] + jnp.where(mask, terms.log_likelihood[0], 0.0).sum()


def lifetime_density(
    program: Program, lifetime: Array, data: Data, discrete: Mapping[str, Array]
) -> Array:
    """Log prior of the lifetime's latents, factors included. `data` has one task."""
    lead = {
        name: x if program.latent(name).scope == LIFETIME else x[None]
        for name, x in discrete.items()
    }
    return program.terms(lifetime, jnp.zeros((1, program.task_size)), data, lead).lifetime


def expanded(function: Callable[[Array], Array], at: Array) -> tuple[Array, Array, Array]:
    """Value, gradient and minus the Hessian of a function of one vector."""
    slope = jax.grad(function)
    return function(at), slope(at), -jax.jacfwd(slope)(at)


def integrated(value: Array, gradient: Array, precision: Array) -> Array:
    """Log of the integral of exp(value + gradientᵀx - xᵀ precision x / 2); NaN if not finite."""
    if not gradient.shape[-1]:
        return value
    chol = jnp.linalg.cholesky(precision)
    half = solve_triangular(chol, gradient, lower=True)
    log_det = jnp.log(jnp.diagonal(chol)).sum()
    return value + 0.5 * half @ half - log_det + 0.5 * len(gradient) * jnp.log(2 * jnp.pi)


def arrow(
    program: Program,
    lifetime: Array,
    task: Array,
    parts: Sequence[Part],
    where: Where,
    discrete: Mapping[str, Array],
    damping: float | Array = 0.0,
) -> Arrow:
    """The Gaussian of the latents at `where`, expanded at a point, whatever the others are.

    Args:
        program: The program.
        lifetime: The point, `[a]`.
        task: `[task, z]`.
        parts: All evidence.
        where: What is integrated.
        discrete: The assignment of the lifetime's discrete latents.
        damping: Added to the diagonal of the Hessian, for a shorter step.
    """
    k, r = len(where.lifetime), len(where.task)
    start = taken(lifetime, where.lifetime)

    def of_lifetime(x: Array) -> Array:
        data = parts[0].data.task(slice(0, 1))
        return lifetime_density(program, placed(lifetime, where.lifetime, x), data, discrete)

    value, gradient, precision = expanded(of_lifetime, start)

    def one(z: Array, data: Data, mask: Array) -> tuple[Array, Array, Array]:
        data = jax.tree.map(lambda x: x[None], data)

        def density(x: Array) -> Array:
            a = placed(lifetime, where.lifetime, x[:k])
            own = placed(z, where.task, x[k:])
            return task_density(program, a, own, data, mask, discrete)

        return expanded(density, jnp.concatenate([start, taken(z, where.task)]))

    order, pieces = [], []
    for part in parts:
        pieces.append(jax.vmap(one)(task[part.tasks], part.data, part.mask))
        order.append(part.tasks)
    tasks = jnp.argsort(jnp.concatenate(order))
    f, g, h = (jnp.concatenate(x)[tasks] for x in zip(*pieces, strict=True))
    h = h.at[:, k:, k:].add(damping * jnp.eye(r))
    precision += damping * jnp.eye(k)
    chol = jnp.linalg.cholesky(h[:, k:, k:])
    solve = jax.vmap(lambda c, b: cho_solve((c, True), b))
    to_mean, to_slope = solve(chol, g[:, k:]), solve(chol, h[:, k:, :k])
    log_det = jnp.log(jnp.diagonal(chol, axis1=-2, axis2=-1)).sum(-1)
    half = 0.5 * jnp.einsum("nr,nr->n", g[:, k:], to_mean)
    value += (f + half - log_det + 0.5 * r * jnp.log(2 * jnp.pi)).sum()
    gradient += (g[:, :k] - jnp.einsum("nrk,nr->nk", h[:, k:, :k], to_mean)).sum(0)
    precision += (h[:, :k, :k] - jnp.einsum("nrk,nrl->nkl", h[:, k:, :k], to_slope)).sum(0)
    move = jnp.linalg.solve(precision, gradient) if k else gradient
    return Arrow(
        integrated(value, gradient, precision),
        start + move,
        inverse_root(precision),
        taken(task, where.task) + to_mean - to_slope @ move,
        -to_slope,
        jax.vmap(inverse_root)(h[:, k:, k:]),
    )


def joint(found: Arrow) -> tuple[Array, Array]:
    """Mean `[task, k + r]` and Cholesky factor of each task's own latents with the lifetime's."""
    tasks, _, k = found.slope.shape
    mean = jnp.concatenate([jnp.broadcast_to(found.mean, (tasks, k)), found.task_mean], 1)
    top = jnp.broadcast_to(found.scale_tril, (tasks, k, k))
    corner = jnp.zeros((tasks, k, found.slope.shape[1]))
    low = jnp.concatenate([found.slope @ found.scale_tril, found.task_scale_tril], 2)
    return mean, jnp.concatenate([jnp.concatenate([top, corner], 2), low], 1)


def inverse_root(precision: Array) -> Array:
    """A lower triangular S with S Sᵀ the inverse of a precision."""
    n = precision.shape[-1]
    if not n:
        return precision
    # The Cholesky factor of the inverse, by way of the one of the reversed precision.
    reversed_ = jnp.linalg.cholesky(precision[::-1, ::-1])[::-1, ::-1]
    return solve_triangular(reversed_, jnp.eye(n), lower=False).T


@jit_by_work
def arrows(
    program: Program,
    lifetimes: Array,
    parts: Sequence[Part],
    where: Where,
    discrete: Mapping[str, Array],
) -> Arrow:
    """The Gaussian of the latents at `where`, at each of some lifetimes `[n, a]`.

    The one function of a program's Hessian, for that takes long to compile.
    """
    tasks = sum(len(part.tasks) for part in parts)

    def one(lifetime: Array, assignment: dict[str, Array]) -> Arrow:
        task = jnp.zeros((tasks, program.task_size))
        return arrow(program, lifetime, task, parts, where, assignment)

    latents = len(where.lifetime) + len(where.task)
    entries = sum(part.mask.size for part in parts) * latents**2
    return _in_cache(lambda x: one(*x), (lifetimes, dict(discrete)), entries)


@jit_by_work
def draws_of(
    keys: Key[Array, " n"], found: Arrow, lifetimes: Array, where: Where, task_size: int
) -> tuple[Array, Array]:
    """A draw of what was integrated at each lifetime: `[n, a]` and `[n, task, z]`."""

    def one(key: Array, found: Arrow, lifetime: Array) -> tuple[Array, Array]:
        task = jnp.zeros((found.task_mean.shape[0], task_size))
        return drawn(key, found, lifetime, task, where)

    return jax.vmap(one)(keys, found, lifetimes)


@jit_by_work
def centres_of(found: Arrow, lifetimes: Array, where: Where, task_size: int) -> tuple[Array, Array]:
    """Means at each lifetime, and the means moved by a step and back: `[3, n, ...]`."""

    def one(found: Arrow, lifetime: Array, sign: Array) -> tuple[Array, Array]:
        task = jnp.zeros((found.task_mean.shape[0], task_size))
        moved = placed(lifetime, where.lifetime, found.mean + sign)
        return moved, placed(task, where.task, found.task_mean + sign)

    each = jax.vmap(one, in_axes=(0, 0, None))
    return jax.vmap(each, in_axes=(None, None, 0))(found, lifetimes, jnp.array([0.0, 1.0, -1.0]))


def drawn(
    key: Array, found: Arrow, lifetime: Array, task: Array, where: Where
) -> tuple[Array, Array]:
    """One draw of an arrow, put into a lifetime `[a]` and its tasks `[task, z]`."""
    keys = jax.random.split(key)
    away = found.scale_tril @ jax.random.normal(keys[0], found.mean.shape)
    noise = jax.random.normal(keys[1], found.task_mean.shape)
    z = found.task_mean + found.slope @ away
    z += jnp.einsum("nij,nj->ni", found.task_scale_tril, noise)
    return placed(lifetime, where.lifetime, found.mean + away), placed(task, where.task, z)


@jit_lightly
def task_integrals(
    program: Program,
    part: Part,
    points: Points,
    where: tuple[int, ...],
) -> Array:
    """Log of the integral over the coordinates at `where`, at many points: `[n]`."""

    def one(point: Points) -> Array:
        density, start = _of_task(program, part, point, where)
        if not where:
            return density(start)
        return integrated(*expanded(density, start))

    return _each(one, points, part, where)


@jit_lightly
def task_draws(
    program: Program,
    part: Part,
    points: Points,
    where: tuple[int, ...],
    keys: Key[Array, " n"],
) -> Array:
    """The tasks' vectors `[n, z]` with the coordinates at `where` drawn given the others."""

    def one(xs: tuple[Array, Points]) -> Array:
        key, point = xs
        density, start = _of_task(program, part, point, where)
        _, gradient, precision = expanded(density, start)
        root = inverse_root(precision)
        noise = jax.random.normal(key, start.shape)
        return placed(point.z, where, start + root @ (root.T @ gradient + noise))

    return _each(one, (keys, points), part, where)


@jit_lightly
def task_gaussians(
    program: Program,
    part: Part,
    points: Points,
    where: tuple[int, ...],
) -> tuple[Array, Array]:
    """Means `[n, r]` and scales `[n, r, r]` of the coordinates at `where`, given the others."""

    def one(point: Points) -> tuple[Array, Array]:
        density, start = _of_task(program, part, point, where)
        _, gradient, precision = expanded(density, start)
        root = inverse_root(precision)
        return start + root @ (root.T @ gradient), root

    return _each(one, points, part, where)


def _each[X, Out](one: Callable[[X], Out], xs: X, part: Part, where: tuple[int, ...]) -> Out:
    """At all points; where nothing is integrated at all at once, for nothing is expanded then."""
    if not where:
        return jax.vmap(one)(xs)
    return _in_cache(one, xs, part.mask.shape[1] * len(where) ** 2)


def _in_cache[X, Out](one: Callable[[X], Out], xs: X, entries: int) -> Out:
    """A function at all of xs, at so many together that what it expands stays in the cache.

    Args:
        one: The function.
        xs: A tree of arrays, one entry for each call.
        entries: Of the slopes of all rows' densities in one call.
    """
    n = len(jax.tree.leaves(xs)[0])
    most = min(max(1, SLOPES // max(1, entries)), n)
    if most == n:
        return jax.vmap(one)(xs)
    # Batches of one size, if they are not far smaller: a last one that is smaller is compiled, too.
    even = max(size for size in range(1, most + 1) if n % size == 0)
    return in_batches(one, xs, even if 4 * even > most else most)


def _of_task(
    program: Program,
    part: Part,
    point: Points,
    where: tuple[int, ...],
) -> tuple[Callable[[Array], Array], Array]:
    data = jax.tree.map(lambda x: x[point.task][None], part.data)
    mask = part.mask[point.task]

    def density(x: Array) -> Array:
        z = placed(point.z, where, x)
        return task_density(program, point.lifetime, z, data, mask, point.discrete)

    return density, jnp.zeros(len(where))
