"""Components of one mixture as components of another see them, and how far apart they are."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayes_badger.belief.gaussian import solve
from bayes_badger.belief.mixture import Mixture


class Pairs(NamedTuple):
    """Each component a of p beside each component b of q.

    With x = μ_a + L_a z, component a is N(0, I) in z, and component b is, in nats,
    -½ |W z + c|² + log |W| - ½ d log 2π, where W = L_b⁻¹ L_a is triangular too.

    Attributes:
        ratio: W, `[A, B, d, d]`.
        shift: c = L_b⁻¹ (μ_a - μ_b), `[A, B, d]`.
        divergence: KL(a ‖ b) in nats, `[A, B]`; +inf where the assignments differ.
        same: Whether the assignments of discrete latents are the same, `[A, B]`.
    """

    ratio: Float[Array, "A B d d"]
    shift: Float[Array, "A B d"]
    divergence: Float[Array, "A B"]
    same: Bool[Array, "A B"]


def pairs(p: Mixture, q: Mixture) -> Pairs:
    """All components of p beside all of q."""
    over_q = jax.vmap(_pair, (None, None, 0, 0))
    both = jax.vmap(over_q, (0, 0, None, None))
    ratio, shift, divergence = both(p.loc, p.scale_tril, q.loc, q.scale_tril)
    same = jax.vmap(q.agrees)(p.discrete) if p.discrete else jnp.ones(divergence.shape, bool)
    return Pairs(ratio, shift, jnp.where(same, divergence, jnp.inf), same)


def _pair(
    loc: Float[Array, " d"],
    scale_tril: Float[Array, "d d"],
    other: Float[Array, " d"],
    other_scale_tril: Float[Array, "d d"],
) -> tuple[Float[Array, "d d"], Float[Array, " d"], Float[Array, ""]]:
    """W, c and the divergence, as a sum of terms none of which is negative.

    ½ (tr W Wᵀ - d - log |W Wᵀ| + |c|²), with W triangular, is half the sum of c_i², of W_ij² below
    the diagonal, and of x - 1 - log x at x = W_ii². The difference of the two factors is solved
    for, so that two Gaussians that are nearly the same lose no digits.
    """
    change = solve(other_scale_tril, scale_tril - other_scale_tril)
    shift = solve(other_scale_tril, loc - other)
    diagonal = jnp.diag(scale_tril) / jnp.diag(other_scale_tril)
    below = jnp.tril(change, -1)
    own = _excess(diagonal, jnp.diag(change))
    divergence = own.sum() + 0.5 * (below**2).sum() + 0.5 * (shift**2).sum()
    return below + jnp.diag(diagonal), shift, divergence


def _excess(x: Float[Array, " d"], less_one: Float[Array, " d"]) -> Float[Array, " d"]:
    """½ (x² - 1 - log x²), given x and x - 1, without cancellation where x is close to 1.

    It is ½ δ² + δ - log(1 + δ) at δ = x - 1; with y = δ / (2 + δ), log(1 + δ) = 2 artanh y.
    """
    close = jnp.abs(less_one) < 0.1
    small, large = jnp.where(close, less_one, 0.0), jnp.where(close, 1.0, x)
    y = small / (2 + small)
    series = sum(y**n / n for n in range(3, 15, 2))
    return 0.5 * less_one**2 + jnp.where(close, small * y - 2 * series, large - 1 - jnp.log(large))
