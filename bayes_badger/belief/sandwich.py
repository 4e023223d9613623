"""Bounds on the divergence of mixtures, from what pairs of their components say.

All need only closed forms, so that they are deterministic. With f_a the components of p, of weight
π_a, and g_b those of q, of weight ω_b, and all expectations under f_a:

    log Σ_b ω_b exp(-KL(f_a ‖ g_b))  ≤  E log q / f_a
                                     ≤  1/r log Σ_b E[(ω_b g_b / h)^r] + E[log h / f_a]

for any function h and 0 < r ≤ 1. The left is the variational bound of Hershey & Olsen (2007),
"Approximating the Kullback Leibler divergence between Gaussian mixture models", ICASSP. The right
is Jensen's, after (Σ x)^r ≤ Σ x^r. At h = 1 and r = 1 it is the bound of Durrieu, Thiran & Kelly
(2012), "Lower and upper bounds for approximation of the Kullback-Leibler divergence between
Gaussian mixture models", ICASSP; at h = f_a it has the Chernoff coefficients of Kolchinsky & Tracey
(2017), "Estimating mixture entropy with pairwise distances", Entropy 19(7). Here h is a power of
f_a or of the nearest g_b: with the latter the bounds close where components are far apart.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayes_badger.belief.gaussian import solve, times
from bayes_badger.belief.logs import expectation, log_sum_exp, normalised
from bayes_badger.belief.pairs import Pairs

# The power of a component in h, and r, that are tried: the best of them counts.
POWERS = (0.0, 0.5, 0.75, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
ROOTS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.002)
# Steps towards the best matching of components.
STEPS = 64
# Stands for +inf where a bound says nothing: finite, so that gradients are.
USELESS = 1e30


def sandwich(
    log_p: Float[Array, " A"],
    log_q: Float[Array, " B"],
    within: Pairs,
    across: Pairs,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The best lower and upper bound on KL(p ‖ q), in nats.

    Args:
        log_p: Normalised log weights of p.
        log_q: Normalised log weights of q.
        within: Components of p beside themselves.
        across: Components of p beside those of q.
    """
    met = jnp.any(across.same & (log_q > -jnp.inf), 1)
    alive = log_p > -jnp.inf

    def mean(x: Array) -> Array:
        return expectation(log_p, jnp.where(met & alive, x, 0.0))

    lower = mean(below(log_p, within) - above(log_q, across))
    upper = jnp.minimum(
        mean(above(log_p, within) - below(log_q, across)),
        mean(matched(log_p, log_q, across.divergence)),
    )
    upper = jnp.maximum(upper, 0.0)
    missed = jnp.any(alive & ~met)
    bounds = (jnp.clip(lower, 0.0, upper), upper)
    return jnp.where(missed, jnp.inf, bounds[0]), jnp.where(missed, jnp.inf, bounds[1])


def below(log_q: Float[Array, " B"], across: Pairs) -> Float[Array, " A"]:
    """A lower bound on E log q / f_a for each a."""
    return log_sum_exp(log_q - across.divergence)


def above(log_q: Float[Array, " B"], across: Pairs) -> Float[Array, " A"]:
    """An upper bound on E log q / f_a for each a: the least over powers of f_a and nearest g_b."""
    return jax.vmap(lambda *pair: _above(log_q, Pairs(*pair)))(*across)


def matched(
    log_p: Float[Array, " A"], log_q: Float[Array, " B"], divergence: Float[Array, "A B"]
) -> Float[Array, " A"]:
    """Terms whose mean is an upper bound on KL(p ‖ q): each component matched with some of q.

    Weights are shared out, ω_b = Σ_a ψ_ab and π_a = Σ_b φ_ab, and with the best φ given ψ the bound
    is Σ_a π_a (log π_a - log Σ_b ψ_ab exp(-KL(f_a ‖ g_b))); ψ and φ are improved in turn (Hershey &
    Olsen 2007, section 7). It begins with soft shares, and with each component's nearest alone; the
    gradient holds the shares of ω_b fixed, which at the best ones is exact.
    """
    nearest = jnp.argmin(jnp.where(log_q > -jnp.inf, divergence, jnp.inf), 1)
    only = jnp.where(jnp.arange(len(log_q)) == nearest[:, None], 0.0, -jnp.inf)
    starts = jnp.stack([normalised(log_q - divergence), only + jnp.zeros_like(divergence)])

    def shares(chosen: Array) -> Array:
        return normalised(log_p[:, None] + chosen, 0)

    def improve(chosen: Array, _: None) -> tuple[Array, None]:
        return normalised(log_q + shares(chosen) - divergence), None

    def bound(start: Array) -> Array:
        chosen = jax.lax.scan(improve, start, None, STEPS)[0]
        psi = log_q + jax.lax.stop_gradient(shares(chosen))
        return jnp.where(alive, log_p, 0.0) - log_sum_exp(psi - divergence)

    alive = log_p > -jnp.inf
    terms = jax.vmap(bound)(starts)
    totals = jax.vmap(lambda x: expectation(log_p, x))(terms)
    return terms[jnp.argmin(totals)]


def _above(log_q: Float[Array, " B"], seen: Pairs) -> Float[Array, ""]:
    """The upper bound for one a: the pairs lack their first axis."""
    gram = jnp.einsum("bij,bik->bjk", seen.ratio, seen.ratio, precision="highest")
    slope = jax.vmap(lambda ratio, shift: times(ratio.T, shift))(seen.ratio, seen.shift)
    log_det = jnp.log(jnp.diagonal(seen.ratio, axis1=-2, axis2=-1)).sum(-1)
    constant = log_det - 0.5 * (seen.shift**2).sum(-1)
    own = (jnp.eye(gram.shape[-1], dtype=gram.dtype), jnp.zeros_like(slope[0]))
    nearest = jnp.argmin(jnp.where(log_q > -jnp.inf, seen.divergence, jnp.inf))
    references = jax.tree.map(lambda *x: jnp.stack(x), own, (gram[nearest], slope[nearest]))
    log_weights = jnp.where(seen.same, log_q, -jnp.inf)

    def bound(reference: tuple[Array, Array], power: Array, root: Array) -> Array:
        terms = jax.vmap(_term, (0, 0, 0, None, None, None, None))
        logs = root * log_weights + terms(constant, gram, slope, *reference, power, root)
        return log_sum_exp(logs) / root

    tried = (jnp.asarray(POWERS, gram.dtype), jnp.asarray(ROOTS, gram.dtype))
    bounds = jax.vmap(jax.vmap(bound, (None, 0, 0)), (0, None, None))(references, *tried)
    # E log q / f_a is at most the log of the weight that q has on the assignment of a.
    return jnp.minimum(bounds.min(), log_sum_exp(log_weights))


def _term(
    constant: Float[Array, ""],
    gram: Float[Array, "d d"],
    slope: Float[Array, " d"],
    h_gram: Float[Array, "d d"],
    h_slope: Float[Array, " d"],
    power: Float[Array, ""],
    root: Float[Array, ""],
) -> Float[Array, ""]:
    """Computes log E[(g_b / h)^r] + r E[log h / f_a] for Gaussian g_b, and h one to some power s.

    In z of `Pairs`, h is known by its W_hᵀ W_h and W_hᵀ c_h. The expectation is an integral over
    exp(-½ zᵀ P z + ...) with P = I + r (WᵀW - s W_hᵀ W_h), and infinite where P is not positive.
    """
    precision = jnp.eye(gram.shape[-1], dtype=gram.dtype) + root * (gram - power * h_gram)
    positive = jnp.all(jnp.isfinite(jnp.linalg.cholesky(jax.lax.stop_gradient(precision))))
    safe = jnp.where(positive, precision, jnp.eye(gram.shape[-1], dtype=gram.dtype))
    factor = jnp.linalg.cholesky(safe)
    z = solve(factor, root * (slope - power * h_slope))
    log_det = jnp.log(jnp.diag(factor)).sum()
    rest = constant + 0.5 * (gram.shape[-1] - power * jnp.trace(h_gram))
    term = root * rest + 0.5 * (z**2).sum() - log_det
    return jnp.where(positive, term, USELESS)
