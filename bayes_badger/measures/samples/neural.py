"""A critic that is learned: a copula, of coordinates that two networks move.

T(x, y) = log c(x + f(x), y + g(y)), c the ratio of a copula that was fitted before, whose matrices
may change. The networks f and g see normal scores and their squares, and start at 0: training
starts from the copula, and only what it lacks has to be learned. A free product of two networks can
be anything, and needs several times the samples to be it. All pairs of a batch compete (`bound`);
what is kept is the running average of weights that does best on samples apart from those that are
learned from (early stopping).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.measures.samples import copula

# Steps between two looks at the samples apart, and looks without gain after which it ends.
AT_ONCE, PATIENCE = 100, 5
WIDTH, BATCH, RATE, DECAY, AVERAGE = 64, 256, 1e-3, 1e-2, 0.99


class Sides(NamedTuple):
    """Samples as a critic sees them, each `[sample, coordinate]`.

    Attributes:
        x: Normal scores of x.
        y: Of y.
        of_copula_x: Coordinates of x in which the copula is a Student distribution.
        of_copula_y: Of y.
    """

    x: Any
    y: Any
    of_copula_x: Any
    of_copula_y: Any

    def at(self, rows: Any) -> Sides:
        """Some of them."""
        return Sides(*(a[rows] for a in self))


class Learned(NamedTuple):
    """What training found.

    Attributes:
        weights: Of the critic.
        apart: What it proves on the samples apart, in nats.
        start: What the copula alone proves there.
    """

    weights: Any
    apart: float
    start: float


def start(base: tuple[Any, ...], dims: tuple[int, int], key: PRNGKeyArray) -> Any:
    """Weights with which the critic is the copula."""

    def layers(key: Array, d: int) -> list[tuple[Array, Array]]:
        shapes = [(2 * d, WIDTH), (WIDTH, WIDTH)]
        inner = [
            (jax.random.normal(k, s) / np.sqrt(s[0]), jnp.zeros(s[1]))
            for k, s in zip(jax.random.split(key), shapes, strict=True)
        ]
        return [*inner, (jnp.zeros((WIDTH, d)), jnp.zeros(d))]

    of_x, of_y = jax.random.split(key)
    return {"f": layers(of_x, dims[0]), "g": layers(of_y, dims[1]), "matrices": base[1:]}


def _through(layers: list[tuple[Array, Array]], z: Array) -> Array:
    z = jnp.concatenate([z, (z**2 - 1) / 2], -1)
    for w, b in layers[:-1]:
        z = jax.nn.gelu(z @ w + b)
    return z @ layers[-1][0] + layers[-1][1]


@jax.jit
def moved(weights: Any, sides: Sides) -> tuple[Array, Array]:
    """Coordinates of x and y after the networks, `[sample, coordinate]`."""
    return (
        sides.of_copula_x + _through(weights["f"], sides.x),
        sides.of_copula_y + _through(weights["g"], sides.y),
    )


def _scores(weights: Any, df: Any, sides: Sides) -> Float[Array, "x y"]:
    x, y = moved(weights, sides)
    return copula.scores((df, *weights["matrices"]), x, y, jnp)


def _proves(weights: Any, df: Array, sides: Sides) -> Array:
    t = _scores(weights, df, sides)
    norms = (jax.nn.logsumexp(t, 0) + jax.nn.logsumexp(t, 1)) / 2
    return (jnp.diagonal(t) - norms).mean() + np.log(len(t))


_proves_compiled, _scores_compiled = jax.jit(_proves), jax.jit(_scores)


def scores(weights: Any, df: Any, sides: Sides) -> np.ndarray:
    """T of every x with every y, `[x, y]`."""
    return np.asarray(_scores_compiled(weights, df, sides))


@functools.partial(jax.jit, static_argnames="batch")
def _advance(state: Any, df: Array, seen: Sides, key: Array, batch: int) -> Any:
    optimiser = optax.adamw(RATE, weight_decay=DECAY)

    def step(state: Any, key: Array) -> tuple[Any, None]:
        weights, average, moments = state
        rows = jax.random.randint(key, (batch,), 0, len(seen.x))
        slope = jax.grad(lambda w: -_proves(w, df, seen.at(rows)))(weights)
        change, moments = optimiser.update(slope, moments, weights)
        weights = optax.apply_updates(weights, change)
        average = jax.tree.map(lambda a, b: AVERAGE * a + (1 - AVERAGE) * b, average, weights)
        return (weights, average, moments), None

    return jax.lax.scan(step, state, jax.random.split(key, AT_ONCE))[0]


def train(
    base: tuple[Any, ...], seen: Sides, apart: Sides, key: PRNGKeyArray, steps: int = 3000
) -> Learned:
    """Learns from `seen` what does best on `apart`.

    Args:
        base: `Copula.critic`.
        seen: Samples to learn from.
        apart: Samples that tell when to stop.
        key: Of the start and of the batches.
        steps: At most.
    """
    base, seen, apart = single(base), single(seen), single(apart)
    df, weights = base[0], start(base, (seen.x.shape[1], seen.y.shape[1]), key)
    state = (weights, weights, optax.adamw(RATE, weight_decay=DECAY).init(weights))
    best = before = float(_proves_compiled(weights, df, apart))
    kept, waited = weights, 0
    for look in range(-(-steps // AT_ONCE)):
        key_now = jax.random.fold_in(key, look)
        state = _advance(state, df, seen, key_now, min(BATCH, len(seen.x)))
        now = float(_proves_compiled(state[1], df, apart))
        waited += 1
        if now > best:
            best, kept, waited = now, state[1], 0
        elif waited >= PATIENCE or not np.isfinite(now):
            break
    return Learned(kept, best, before)


def single(tree: Any) -> Any:
    """The same in single precision, on the device."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), tree)
