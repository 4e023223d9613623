"""What the outer loop maximises: the log evidence of tasks, and its slope in the parameters.

The inner loop proposes: experts come near each task's posterior under the parameters as they are.
Importance weights of draws from them, and some from the prior, give the evidence without bias, and,
as the draws stay where they are, the gradient of its log is E[∇ log p(evidence, u)] over the
posterior (Fisher's identity): nothing is differentiated through the inner loop, whose errors are
weighed away. Where one Gaussian is the posterior, points with just its mean and covariance give
both without noise, for then all weights are equal and the gradient is quadratic in u.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree

from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._chunks import each_task, over_chunks
from bayes_badger.inner_loop._offline import log_joint_of
from bayes_badger.inner_loop._points import cloud
from bayes_badger.inner_loop._portions import at_one_length
from bayes_badger.inner_loop._society import Society, defended
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data, Program
from bayes_badger.program.parameters import bound

# Of the draws, this share is the prior's.
PRIOR = 0.05


def log_evidence_and_slopes(
    program: Program,
    parameters: dict[str, PyTree],
    evidence: Evidence,
    loop: Experts,
    key: Key[Array, ""],
    slopes: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Log evidence of each task, `[task]` in nats, and its gradient, `[task, p]`; in float64.

    Args:
        program: The lifted program.
        parameters: Its p parameters without bounds.
        evidence: The tasks.
        loop: How to come near the posteriors.
        key: For the experts and their points.
        slopes: Whether gradients are wanted; else none are returned, `[task, 0]`.
    """
    now = bound(program, parameters)
    plan = loop.plan(now, evidence)
    near = loop.societies(now, evidence, key, plan=plan).society
    keys = jax.random.split(jax.random.fold_in(key, 1), evidence.n_tasks)

    def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data, seen = at_one_length(data, mask)
        some = jnp.asarray(tasks)
        society = jax.tree.map(lambda x: x[some], near)
        points = loop.settings.points
        found = _of_tasks(
            program, parameters, society, data, seen, keys[some], points, plan.straight, slopes
        )
        values, rows = (np.asarray(x, float) for x in found)
        return values, rows

    return over_chunks(evidence, work, silent, "learning")


@eqx.filter_jit
def _of_tasks(
    program: Program,
    parameters: dict[str, PyTree],
    society: Society,
    data: Data,
    seen: Array,
    keys: Key[Array, " task"],
    points: int,
    straight: bool,
    slopes: bool,
) -> tuple[Float[Array, " task"], Float[Array, "task p"]]:
    flat, unflatten = ravel_pytree(parameters)

    def one(xs: tuple[Society, Data, Array, Key[Array, ""]]) -> tuple[Array, Array]:
        experts, data, seen, key = xs
        data = jax.tree.map(lambda x: x[None], data)
        best = experts.mean[jnp.argmax(experts.log_weights)]
        if straight:
            places, proposed = _around(experts, points)
        else:
            places, proposed = defended(experts, key, points * len(experts.log_weights), PRIOR)

        def value(flat: Array) -> Array:
            log_joint, relative = log_joint_of(bound(program, unflatten(flat)), data, seen, best)
            weights = log_joint(places) - proposed
            weights = jnp.where(jnp.isfinite(proposed), weights, -jnp.inf)
            total = jax.scipy.special.logsumexp(weights) - np.log(len(places)) + relative
            return jnp.where(seen.any(), total, 0.0)

        if not slopes:
            return value(flat), jnp.zeros(0)
        found: Any = jax.value_and_grad(value)(flat)
        return found

    return each_task(one, (society, data, seen, keys))


def _around(society: Society, points: int) -> tuple[Float[Array, "n u"], Float[Array, " n"]]:
    """Points with the mean and covariance of an expert, and its log density there."""
    mean, root = society.mean[0], society.root[0]
    noise = jnp.asarray(cloud(max(points, 2 * len(mean)), len(mean)), jnp.float32)
    return mean + noise @ root.T, log_standard_normal(noise) - jnp.log(jnp.diag(root)).sum()
