"""What one expert says of an outcome before it is seen: ∫ p(y | u) N(u; m, S Sᵀ) du, normalised.

Weights of experts, and the code length of the evidence, rest on it, so it must sum to one over y.
Three ways, each as exact as it can be:

- "normal": a scalar normal outcome whose location is linearised at m: a normal, in closed form;
  where the scale depends on latents too, a mixture over its log, each part such a normal.
- "line": a family of one parameter: along the one direction of u that moves it, on nodes that reach
  as far as the prior and lie as close as the outcome's own likelihood is narrow.
- "cloud": anything else: an equal mixture of p(y | u) over moment-matched points.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import roots_hermitenorm

from bayes_badger.belief.gaussian import LOG_2_PI
from bayes_badger.inner_loop import _small as small
from bayes_badger.inner_loop._points import cloud
from bayes_badger.program import Data, Program

NORMAL, SCALED_NORMAL, LINE, CLOUD = "normal", "scaled normal", "line", "cloud"
SCALE_NODES, LINE_NODES, CLOUD_POINTS = 7, 61, 64
# The line reaches so many standard deviations each side.
REACH = 7.0
# The direction of most information, by so many steps of the power method.
POWER_STEPS = 6


def log_predictive(
    program: Program, kind: str, mean: Float[Array, " u"], root: Float[Array, "u u"], data: Data
) -> Float[Array, ""]:
    """Log predictive probability of one outcome, in nats.

    Args:
        program: The program.
        kind: One of the four kinds.
        mean: Of the expert, `[u]`.
        root: Of its covariance, `[u, u]`.
        data: One row of one task, `[1, 1, ...]`.
    """
    if kind in (NORMAL, SCALED_NORMAL):
        return _normal(program, kind, mean, root, data)
    if kind == LINE:
        return _along_a_line(program, mean, root, data)
    noise = jnp.asarray(cloud(CLOUD_POINTS, len(mean)), mean.dtype)
    rows = jax.vmap(lambda e: program.rows_and_factors(mean + small.matvec(root, e), data)[0][0])
    return jax.scipy.special.logsumexp(rows(noise)) - jnp.log(len(noise))


def _normal(program: Program, kind: str, mean: Array, root: Array, data: Data) -> Array:
    def parameters(u: Array) -> Array:
        return program.outcome_parameters(u, data)[0][0]

    y = jnp.asarray(data.outcome, mean.dtype).reshape(())
    loc, log_scale = parameters(mean)
    slopes = small.matmul(jax.jacfwd(parameters)(mean), root)
    if kind == NORMAL:
        return _log_normal(y - loc, (slopes[0] ** 2).sum() + jnp.exp(2 * log_scale))
    nodes, weights = roots_hermitenorm(SCALE_NODES)
    sd = jnp.sqrt((slopes[1] ** 2).sum())
    along = (slopes[0] * slopes[1]).sum() / jnp.where(sd > 0, sd, 1.0)
    left = jnp.maximum((slopes[0] ** 2).sum() - along**2, 0.0)
    variance = left + jnp.exp(2 * (log_scale + sd * nodes))
    each = _log_normal(y - loc - along * nodes, variance)
    return jax.scipy.special.logsumexp(each + np.log(weights / weights.sum()))


def _log_normal(away: Array, variance: Array) -> Array:
    return -0.5 * (away**2 / variance + jnp.log(variance) + LOG_2_PI)


def _along_a_line(program: Program, mean: Array, root: Array, data: Data) -> Array:
    def parameter(u: Array) -> Array:
        return program.outcome_parameters(u, data)[0][0, 0]

    slope = small.matvec(root.T, jax.grad(parameter)(mean))
    length = jnp.sqrt((slope**2).sum())
    direction = small.matvec(root, slope) / jnp.where(length > 0, length, 1.0)

    def log_joint(s: Array) -> Array:
        rows, _ = program.rows_and_factors(mean + s * direction, data)
        return rows[0] - 0.5 * (s**2 + LOG_2_PI)

    # The trapezoidal rule in t, with s = centre + width sinh(t) / ..., is as fine as the outcome's
    # information at the centre asks for, and as wide as the prior.
    centre, width = _peak(log_joint)
    reach = jnp.arcsinh((REACH + jnp.abs(centre)) / width)
    t = reach * jnp.linspace(-1.0, 1.0, LINE_NODES)
    s = centre + width * jnp.sinh(t)
    log_weight = jnp.log(width * jnp.cosh(t)) + jnp.log(2 * reach / (LINE_NODES - 1))
    return jax.scipy.special.logsumexp(jax.vmap(log_joint)(s) + log_weight)


def _peak(log_joint: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Where a density along a line is highest, and how wide it is there."""
    coarse = jnp.linspace(-REACH, REACH, LINE_NODES)
    centre = coarse[jnp.argmax(jax.vmap(log_joint)(coarse))]
    for _ in range(3):
        slope, bend = jax.grad(log_joint)(centre), jax.grad(jax.grad(log_joint))(centre)
        step = jnp.clip(-slope / jnp.minimum(bend, -1.0), -0.25, 0.25)
        centre = centre + step
    bend = jax.grad(jax.grad(log_joint))(centre)
    return centre, 1.0 / jnp.sqrt(jnp.maximum(-bend, 1.0))
