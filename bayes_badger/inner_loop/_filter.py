"""A task's evidence one piece at a time: Gaussians, one for each assignment of discrete latents.

Where the log density of a step is quadratic, with gradient g and Hessian -H at the mean m, the
belief N(m, P) becomes N(m + P' g, P') with P' = (P⁻¹ + H)⁻¹, and the step's log predictive is
log p(m) + gᵀP'g/2 - log|I + PH|/2: Kalman's filter, for any number of outcomes at once. In float64,
and in terms of a root S of P = SSᵀ, which never loses its definiteness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.belief import Mixture
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop._split import assignments, count_of
from bayes_badger.inner_loop.protocol import StepInfo
from bayes_badger.program import LIFETIME, TASK, WHITENED, Program, Step

# How far a density may be from the quadratic that it should be, relative to its own size.
ROUNDING = 1e-8


class FilterState(NamedTuple):
    """The belief of a lifetime about its present task, in float64.

    Attributes:
        log_weights: Of the assignments of discrete latents, normalised, `[k]`.
        mean: `[k, u]`.
        scale_tril: `[k, u, u]`.
        discrete: The assignments, by name, `[k, ...]`; those of a task vary fastest.
        task_states: How many assignments a task has.
    """

    log_weights: np.ndarray
    mean: np.ndarray
    scale_tril: np.ndarray
    discrete: dict[str, np.ndarray]
    task_states: int


class StepByStep(eqx.Module):
    """What an inner loop inherits that can follow evidence exactly, one piece at a time."""

    def init(self, program: Program, key: PRNGKeyArray | None = None) -> FilterState:
        """The prior, as the state of a filter."""
        return start(program)

    def step(
        self, program: Program, state: FilterState, evidence: Step
    ) -> tuple[FilterState, StepInfo]:
        """The state after one piece of evidence of the present task, and what it was worth."""
        return advance(program, state, evidence)

    def new_task(self, program: Program, state: FilterState) -> FilterState:
        """Forgets the task, and keeps what is believed of the lifetime."""
        return forget_task(program, state)

    def belief(self, program: Program, state: FilterState) -> Mixture:
        """The belief about the lifetime and the present task."""
        return as_mixture(program, state)


def start(program: Program) -> FilterState:
    """The prior.

    Raises:
        BadgerError: Where the program cannot be followed step by step.
    """
    if program.signature.stateful:
        raise BadgerError(
            f"{program.name} has a state, which depends on its latents: infer it from all evidence "
            "at once"
        )
    for latent in program.latents:
        if not latent.discrete and latent.kind != WHITENED:
            raise BadgerError(
                f"{program.name}: '{latent.name}' has no prior-normal coordinate: infer it from "
                "all evidence at once"
            )
    if program.discrete and program.signature.task_columns:
        raise BadgerError(
            f"{program.name} has columns of tasks, on which the prior of its discrete latents may "
            "depend: infer all tasks at once"
        )
    found: dict[str, dict[str, np.ndarray]] = {}
    for scope in (LIFETIME, TASK):
        states = assignments(program, scope)
        if isinstance(states, str):
            raise BadgerError(f"{program.name}: {states}")
        found[scope] = states
    outer, inner = count_of(found[LIFETIME]), count_of(found[TASK])
    count = outer * inner
    discrete = {name: np.repeat(x, inner, 0) for name, x in found[LIFETIME].items()}
    discrete |= {name: np.tile(x, (outer, *(1,) * (x.ndim - 1))) for name, x in found[TASK].items()}
    mean = np.zeros((count, program.size))
    root = np.broadcast_to(np.eye(program.size), (count, program.size, program.size)).copy()
    weights = np.zeros(count)
    if discrete:
        with jax.enable_x64(True):
            given = {name: jnp.asarray(x) for name, x in discrete.items()}
            weights = np.asarray(_log_prior(program, jnp.asarray(mean), given))
    return FilterState(_normalised(weights), mean, root, discrete, inner)


def advance(program: Program, state: FilterState, step: Step) -> tuple[FilterState, StepInfo]:
    """Takes in one piece of evidence of the present task."""
    with jax.enable_x64(True):
        discrete = {name: jnp.asarray(x) for name, x in state.discrete.items()}
        at = jnp.asarray(state.mean), jnp.asarray(state.scale_tril)
        found = _advanced(program, *at, discrete, jax.tree.map(jnp.asarray, step))
        scores, mean, root, gains, off = (np.asarray(x) for x in found)
    if not (off <= ROUNDING).all():
        raise BadgerError(
            f"{program.name} is not linear-Gaussian: it cannot be followed step by step exactly"
        )
    joint = state.log_weights + scores
    log_score = float(np.logaddexp.reduce(joint))
    weights = joint - log_score
    share = np.exp(weights)
    gain = float((share * (np.where(share > 0, weights - state.log_weights, 0.0) + gains)).sum())
    return state._replace(log_weights=weights, mean=mean, scale_tril=root), StepInfo(
        log_score, gain
    )


def forget_task(program: Program, state: FilterState) -> FilterState:
    """Keeps what is believed of the lifetime, and starts a new task from its prior.

    Raises:
        BadgerError: Where the belief about the lifetime would be a mixture that grows with every
            task: it has continuous latents, and tasks have discrete ones.
    """
    k = program.lifetime_size
    if k and state.task_states > 1:
        raise BadgerError(
            f"{program.name}: tasks have discrete latents and the lifetime continuous ones, so no "
            "exact belief of fixed size is carried from task to task: infer all tasks at once"
        )
    fresh = start(program)
    outer = state.log_weights.reshape(-1, state.task_states)
    own = np.logaddexp.reduce(outer, axis=1, keepdims=True)
    within = fresh.log_weights.reshape(outer.shape)
    within = within - np.logaddexp.reduce(within, axis=1, keepdims=True)
    mean, root = fresh.mean.copy(), fresh.scale_tril.copy()
    mean[:, :k] = state.mean[:, :k]
    # The lifetime's coordinates come first, so that their block of the root is their own.
    root[:, :k, :k] = state.scale_tril[:, :k, :k]
    return fresh._replace(log_weights=(own + within).ravel(), mean=mean, scale_tril=root)


def as_mixture(program: Program, state: FilterState) -> Mixture:
    """The belief about the lifetime and the present task."""
    arrays = (state.log_weights, state.mean, state.scale_tril)
    log_weights, loc, scale = (jnp.asarray(x, jnp.float32) for x in arrays)
    discrete = {name: jnp.asarray(x) for name, x in state.discrete.items()}
    return Mixture(log_weights, loc, scale, program.latents, discrete)


@jit_lightly
def _log_prior(program: Program, mean: Array, discrete: Mapping[str, Array]) -> Array:
    """Log probability of each assignment, all else integrated: its prior does not depend on u."""

    def one(xs: tuple[Array, dict[str, Array]]) -> Array:
        u, assignment = xs
        return program.log_prior(u, discrete=assignment)

    return jax.vmap(one)((mean, dict(discrete)))


@jit_lightly
def _advanced(
    program: Program,
    mean: Float[Array, "k u"],
    root: Float[Array, "k u u"],
    discrete: Mapping[str, Array],
    step: Step,
) -> tuple[Array, ...]:
    """Log predictive, mean, root, gain, and distance from a quadratic, of each Gaussian."""

    def one(xs: tuple[Array, Array, dict[str, Array]]) -> tuple[Array, ...]:
        m, s, assignment = xs

        def density(away: Array) -> Array:
            return program.log_likelihood(m + s @ away, step, discrete=assignment)

        zero = jnp.zeros(m.shape)
        slope = jax.grad(density)
        value, g, h = density(zero), slope(zero), -jax.jacfwd(slope)(zero)
        # In units of the belief's own root the prior precision is the identity.
        eye = jnp.eye(len(m))
        upper = jnp.linalg.cholesky((eye + h)[::-1, ::-1])[::-1, ::-1]
        half = jax.scipy.linalg.solve_triangular(upper, g, lower=False)
        within = jax.scipy.linalg.solve_triangular(upper, eye, lower=False).T
        move = within @ half
        log_det = jnp.log(jnp.diagonal(upper)).sum()
        score = value + 0.5 * half @ half - log_det
        gain = 0.5 * ((within**2).sum() - len(m) + move @ move) + log_det
        # Anywhere else the quadratic must be the density.
        there = jnp.where(jnp.arange(len(m)) % 2 == 0, 0.7, -1.1)
        expected = value + g @ there - 0.5 * there @ h @ there
        off = jnp.abs(density(there) - expected) / (1.0 + jnp.abs(value) + jnp.abs(expected))
        return score, m + s @ move, s @ within, gain, off

    return jax.vmap(one)((mean, root, dict(discrete)))


def _normalised(log_weights: np.ndarray) -> np.ndarray:
    return log_weights - np.logaddexp.reduce(log_weights)
