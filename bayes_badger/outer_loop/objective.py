"""What the outer loop maximises: the log evidence of tasks, and its slope in the parameters.

The inner loop proposes: experts come near each task's posterior under the parameters as they are.
Importance weights of draws from them, and some from the prior, give the evidence without bias, and,
as the draws stay where they are, the gradient of its log is E[∇ log p(evidence, u)] over the
posterior (Fisher's identity): nothing is differentiated through the inner loop, whose errors are
weighed away. Where one Gaussian is the posterior, points with just its mean and covariance give
both without noise, for then all weights are equal and the gradient is quadratic in u.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._chunks import each_task, in_batches, over_chunks
from bayes_badger.inner_loop._offline import AT_ONCE, log_joint_of
from bayes_badger.inner_loop._plan import Plan
from bayes_badger.inner_loop._points import cloud
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._society import Society, defended
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.outer_loop import control_variates
from bayes_badger.outer_loop.control_variates import (
    functions_of_mean_zero,
    mean_without_noise,
    means_and_errors,
)
from bayes_badger.program import Data, Program
from bayes_badger.program.parameters import bound

# Of the draws, this share is the prior's.
PRIOR = 0.05


# Log evidence of each task, `[task]`, and its gradient, `[task, p]`, at parameters without bounds;
# the number chooses one of many sets of points, of which 0 is the one that is learned with.
Look = Callable[[dict[str, PyTree], int], tuple[np.ndarray, np.ndarray]]


class Near(NamedTuple):
    """Proposals near each task's posterior.

    Attributes:
        plan: What is settled of the program before any outcome is looked at.
        society: The experts of each task.
    """

    plan: Plan
    society: Society


def log_evidence_and_slopes(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    key: Key[Array, ""],
    slopes: bool = True,
    steady: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence of each task, `[task]` in nats, and its gradient, `[task, p]`; in float64.

    Args:
        program: The lifted program.
        parameters: Its p parameters without bounds.
        evidence: The tasks.
        loop: How to come near the posteriors.
        key: For the experts and their points.
        slopes: Whether gradients are wanted; else none are returned, `[task, 0]`.
        steady: Whether control variates take noise of the points out of the gradients. That needs
            the gradient of each point, so that it is for few parameters; and a smooth density.
    """
    near = _near(program, parameters, evidence, loop, key)
    points = jax.random.fold_in(key, 1)
    found = _of_points(program, parameters, evidence, loop, near, points, slopes, steady)
    return found[:2]


def is_smooth(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    key: Key[Array, ""],
) -> bool:
    """Whether functions that have mean zero under a smooth density have it, over all tasks."""
    near = _near(program, parameters, evidence, loop, key)
    points = jax.random.fold_in(key, 1)
    found = _of_points(program, parameters, evidence, loop, near, points, True, True)[2]
    scores = control_variates.standard_scores(found)
    return bool((np.abs(scores) < control_variates.FURTHEST).all())


def around(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    key: Key[Array, ""],
    steady: bool = False,
) -> tuple[Look, bool]:
    """The log evidence of tasks as a smooth function of parameters near some.

    The proposals are made once and stay where they are, so that differences between parameters are
    those of the program and not those of other proposals. Where one Gaussian is the posterior it is
    found anew at each place, which is exact and therefore smooth as well.

    Args:
        program: The lifted program.
        parameters: Where proposals are made; without bounds.
        evidence: The tasks.
        loop: How to come near the posteriors.
        key: For the experts and their points.
        steady: As of `log_evidence_and_slopes`.

    Returns:
        The function, and whether its values depend on the points at all.
    """
    near = _near(program, parameters, evidence, loop, key)
    exact, first = near.plan.straight, jax.random.fold_in(key, 1)

    def look(there: dict[str, PyTree], points: int) -> tuple[np.ndarray, np.ndarray]:
        here = _near(program, there, evidence, loop, key, near.plan) if exact else near
        chosen = jax.random.fold_in(first, points) if points else first
        return _of_points(program, there, evidence, loop, here, chosen, True, steady)[:2]

    return look, not exact


def _near(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    key: Key[Array, ""],
    plan: Plan | None = None,
) -> Near:
    now = bound(program, parameters)
    plan = loop.plan(now, evidence) if plan is None else plan
    return Near(plan, loop.societies(now, evidence, key, plan=plan).society)


def _of_points(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    near: Near,
    key: Key[Array, ""],
    slopes: bool,
    steady: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys = jax.random.split(key, evidence.n_tasks)
    # Where one Gaussian is the posterior its points have no noise.
    how = How(loop.settings.points, near.plan.straight, slopes, steady and not near.plan.straight)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> tuple[np.ndarray, ...]:
        data, seen = at_one_length(data, mask)
        some = jnp.asarray(tasks)
        society = jax.tree.map(lambda x: x[some], near.society)
        found = _of_tasks(program, parameters, society, data, seen, keys[some], how)
        return tuple(np.asarray(x, float) for x in found)

    values, rows, check = over_chunks(evidence, work, silent, "learning")
    return values, rows, check


class How(NamedTuple):
    """How the log evidence and its gradient are found.

    Attributes:
        points: Of each expert.
        straight: Whether one Gaussian is the posterior.
        slopes: Whether gradients are wanted.
        steady: Whether control variates take noise out of them.
    """

    points: int
    straight: bool
    slopes: bool
    steady: bool


@jit_lightly
def _of_tasks(
    program: Program,
    parameters: dict[str, PyTree],
    society: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    how: How,
) -> tuple[Float[Array, " task"], Float[Array, "task p"], Float[Array, "task 2 m"]]:
    flat, unflatten = ravel_pytree(parameters)

    def one(xs: tuple[Society, Data, Array, Key[Array, ""]]) -> tuple[Array, Array, Array]:
        experts, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        best = experts.mean[jnp.argmax(experts.log_weights)]
        if how.straight:
            places, proposed = _around(experts, how.points)
        else:
            places, proposed = defended(experts, key, how.points * len(experts.log_weights), PRIOR)

        def weighed(logs: Array, relative: Array) -> tuple[Array, Array]:
            weights = jnp.where(jnp.isfinite(proposed), logs - proposed, -jnp.inf)
            total = jax.scipy.special.logsumexp(weights)
            return jnp.where(seen.any(), total - np.log(len(places)) + relative, 0.0), weights

        def value(flat: Array) -> Array:
            log_joint, relative = log_joint_of(bound(program, unflatten(flat)), data, seen, best)
            return weighed(log_joint(places), relative)[0]

        def log_joint(flat: Array, u: Array) -> tuple[Array, Array]:
            of, relative = log_joint_of(bound(program, unflatten(flat)), data, seen, best)
            # The reference moves with the parameters too: what is differentiated is the whole.
            apart = of(u[None])[0]
            return apart + relative, apart

        none = jnp.zeros((2, 0))
        if not how.slopes:
            return value(flat), jnp.zeros(0), none
        if not how.steady:
            return *jax.value_and_grad(value)(flat), none
        both = jax.value_and_grad(log_joint, (0, 1), has_aux=True)
        batch = max(64, AT_ONCE // len(seen))
        (_, apart), (scores, rise) = in_batches(lambda u: both(flat, u), places, batch)
        _, relative = log_joint_of(bound(program, parameters), data, seen, best)
        total, logs = weighed(apart, relative)
        weights = normalised_weights(logs)
        # A point that does not count may have a gradient that is no number.
        counts = (weights > 0)[:, None]
        scores, rise = (jnp.where(counts, x, 0.0) for x in (scores, rise))
        functions = functions_of_mean_zero(places, rise, weights)
        slope = mean_without_noise(scores, functions, weights)
        slope = jnp.where(jnp.isfinite(total), slope, jnp.nan)
        return (
            total,
            jnp.where(seen.any(), slope, 0.0),
            jnp.where(seen.any(), means_and_errors(functions, weights), jnp.nan),
        )

    return each_task(one, (society, data, seen, keys))


def normalised_weights(logs: Float[Array, " n"]) -> Float[Array, " n"]:
    """Weights that add up to one, from logs of which some may be -inf."""
    return jnp.exp(logs - jax.scipy.special.logsumexp(logs))


def _around(society: Society, points: int) -> tuple[Float[Array, "n u"], Float[Array, " n"]]:
    """Points with the mean and covariance of an expert, and its log density there."""
    mean, root = society.mean[0], society.root[0]
    noise = jnp.asarray(cloud(max(points, 2 * len(mean)), len(mean)), jnp.float32)
    return mean + noise @ root.T, log_standard_normal(noise) - jnp.log(jnp.diag(root)).sum()
