"""Weights as logs: summed and normalised without ever leaving the range of single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def log_sum_exp(x: Float[Array, " ..."], axis: int = -1) -> Float[Array, " ..."]:
    """Log of a sum of exponentials; -inf, with gradient 0, where all terms are -inf.

    Example:
        >>> print(f"{log_sum_exp(jnp.array([-1000.0, -1000.0, -jnp.inf])):.3f}")
        -999.307
    """
    some = jnp.any(x != -jnp.inf, axis, keepdims=True)
    total = jax.nn.logsumexp(jnp.where(some, x, 0.0), axis=axis)
    return jnp.where(jnp.squeeze(some, axis), total, -jnp.inf)


def normalised(x: Float[Array, " ..."], axis: int = -1) -> Float[Array, " ..."]:
    """Log weights whose exponentials sum to one; where all are -inf they stay so.

    Example:
        >>> print(normalised(jnp.array([-1000.0, -1000.0, -jnp.inf])).round(3))
        [-0.693 -0.693   -inf]
    """
    top = jax.lax.stop_gradient(x.max(axis, keepdims=True))
    # First the largest: the total of weights of e^-1000 would be known to four digits only.
    x = x - jnp.where(top == -jnp.inf, 0.0, top)
    total = jnp.expand_dims(log_sum_exp(x, axis), axis)
    return x - jnp.where(total == -jnp.inf, 0.0, total)


def expectation(log_weights: Float[Array, " K"], x: Float[Array, " K"]) -> Float[Array, ""]:
    """Mean of x under normalised log weights; x counts only where its weight is not zero."""
    weights = jnp.exp(log_weights)
    return jnp.where(weights > 0, weights * jnp.where(weights > 0, x, 0.0), 0.0).sum()
