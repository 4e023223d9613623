"""The expected Fisher information of one observation, in closed form.

With θ a family's parameters on a convenient scale and I(θ) = E[score scoreᵀ], a program's
information about any latent u is Jᵀ I J with J = ∂θ/∂u. Unlike the Hessian it never has a negative
eigenvalue, and it does not depend on what was observed.

Parameters are chosen so that I is diagonal, or a graph Laplacian (non-negative by construction
rather than by cancellation), also in float32 at probabilities that underflow.

| family | θ | I(θ) |
|---|---|---|
| Normal, LogNormal, Laplace, Cauchy, Logistic | loc, log scale | diag(c₁/scale², c₂) |
| Gumbel, StudentT, Weibull | loc, log scale; log df; log scale, log k | full |
| HalfNormal, HalfCauchy, Exponential, Poisson | log scale or rate | |
| Gamma, Chi2, InverseGamma | log a, log a/rate | diag(a²ψ'(a) - a, a) |
| Beta, Dirichlet | log concentrations | diag(α²ψ'(α)) - ψ'(Σα) ααᵀ |
| Bernoulli, Binomial, Geometric | logit | n p(1-p); 1-p |
| Categorical, Multinomial, OrderedLogistic | k logits | n (diag(p) - ppᵀ) |
| MultivariateNormal | L₀⁻¹loc, lower triangle of L₀⁻¹L, at L₀ = L | 1, and 2 on L's diagonal |

Negative binomials have none here: that of their concentration is an infinite sum, and whether a
latent moves the concentration cannot be seen from the distribution. Nor have mixtures and
zero-inflated or truncated families.

Sources: Lange, Little and Taylor (1989) for Student's t; Johnson, Kotz and Balakrishnan,
*Continuous Univariate Distributions*, for the others; each is tested against E[score scoreᵀ].
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import polygamma
from jaxtyping import Array, Float

# Above this size the p x p matrix of a multivariate normal's d (d + 3) / 2 parameters costs more
# than a Hessian.
_LARGEST_NORMAL = 12

Information = tuple[Float[Array, "*batch p"], Float[Array, "*batch p p"]]


def outcome_information(fn: Any) -> Information | None:
    """Returns a family's parameters and the expected Fisher information of one draw about them.

    Args:
        fn: The distribution of an outcome.

    Returns:
        `theta`, `[*batch, p]`, differentiable functions of whatever `fn` was built from, and
        `information`, `[*batch, p, p]`, nats per squared unit of theta, positive semi-definite.
        None for a family whose information has no closed form.

    Example:
        >>> import numpyro.distributions as dist
        >>> theta, information = outcome_information(dist.Normal(0.0, 2.0))
        >>> print(information)
        [[0.25 0.  ]
         [0.   2.  ]]
        >>> outcome_information(dist.Uniform()) is None
        True
    """
    family = type(fn)
    if family in _FAMILIES:
        known = _FAMILIES[family](fn)
        return None if known is None else _expanded(known, fn.batch_shape)
    if isinstance(fn, dist.ExpandedDistribution):
        known = outcome_information(fn.base_dist)
        return None if known is None else _expanded(known, fn.batch_shape)
    if isinstance(fn, dist.MaskedDistribution):
        known = outcome_information(fn.base_dist)
        if known is None:
            return None
        theta, information = known
        weight = jnp.asarray(fn._mask, information.dtype)
        return theta, information * weight[..., None, None]
    if isinstance(fn, dist.Independent):
        known = outcome_information(fn.base_dist)
        return None if known is None else _stacked(known, fn.reinterpreted_batch_ndims)
    return None


def _expanded(known: Information, batch: tuple[int, ...]) -> tuple[Array, Array]:
    theta, information = known
    p = theta.shape[-1]
    return jnp.broadcast_to(theta, (*batch, p)), jnp.broadcast_to(information, (*batch, p, p))


def _stacked(known: Information, axes: int) -> tuple[Array, Array]:
    """Independent draws, as one: parameters in a row, information in blocks."""
    theta, information = known
    batch, events = np.split(np.array(theta.shape[:-1], int), [theta.ndim - 1 - axes])
    p, n = theta.shape[-1], prod(events.tolist())
    blocks = information.reshape(*batch, n, p, p)
    full = jnp.eye(n, dtype=information.dtype)[:, None, :, None] * blocks[..., :, :, None, :]
    return theta.reshape(*batch, n * p), full.reshape(*batch, n * p, n * p)


def _floats(*values: Any) -> list[Array]:
    arrays = [jnp.asarray(value, jnp.result_type(value, float)) for value in values]
    return list(jnp.broadcast_arrays(*arrays))


def _log(value: Array) -> Array:
    """A log that stays finite, with a finite derivative, where its argument has left float32."""
    limits = jnp.finfo(value.dtype)
    return jnp.log(jnp.clip(value, limits.tiny, limits.max))


def _inverse_square(scale: Array) -> Array:
    return 1.0 / jnp.clip(scale, 1e-18, 1e18) ** 2


def _diagonal(*entries: Array) -> Array:
    stacked = jnp.stack(jnp.broadcast_arrays(*entries), axis=-1)
    return stacked[..., None] * jnp.eye(stacked.shape[-1], dtype=stacked.dtype)


def _matrix(rows: list[list[Array]]) -> Array:
    """A matrix from its entries, each `[*batch]`."""
    return jnp.stack([jnp.stack(jnp.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


def _location_scale(at_location: float, at_scale: float) -> Callable[[Any], Information]:
    """For families symmetric about `loc`, whose two parameters are orthogonal."""

    def known(fn: Any) -> Information:
        loc, scale = _floats(fn.loc, fn.scale)
        information = _diagonal(
            at_location * _inverse_square(scale), jnp.full_like(scale, at_scale)
        )
        return jnp.stack([loc, _log(scale)], axis=-1), information

    return known


def _log_only(name: str, constant: float) -> Callable[[Any], Information]:
    """For families with one scale or rate, whose information about its log is a constant."""

    def known(fn: Any) -> Information:
        (value,) = _floats(getattr(fn, name))
        return _log(value)[..., None], jnp.full((*value.shape, 1, 1), constant, value.dtype)

    return known


def _student_t(fn: Any) -> Information:
    df, loc, scale = _floats(fn.df, fn.loc, fn.scale)
    df = jnp.clip(df, 1e-3, 1e8)
    cross = -2.0 * df / ((df + 1.0) * (df + 3.0))
    at_scale = 2.0 * df / (df + 3.0)
    # What is left of the information about log df once the scale is known too. The trigammas
    # cancel beyond recognition as df grows, hence its series in 1/df.
    small = jnp.minimum(df, 15.0)
    trigammas = polygamma(1, 0.5 * small) - polygamma(1, 0.5 * (small + 1.0))
    exact = small**2 * (
        0.25 * trigammas - (small + 5.0) / (2.0 * small * (small + 1.0) * (small + 3.0))
    ) - 2.0 * small / ((small + 1.0) ** 2 * (small + 3.0))
    x = 1.0 / jnp.maximum(df, 15.0)
    series = x**2 * (1.5 - x * (3.0 - x * (3.5 - x * (3.0 - x * (5.5 - x * 15.0)))))
    remaining = jnp.where(df < 15.0, jnp.maximum(exact, 0.0), series)
    at_df = remaining + cross**2 / at_scale
    zero = jnp.zeros_like(df)
    at_loc = (df + 1.0) / (df + 3.0) * _inverse_square(scale)
    information = _matrix([[at_loc, zero, zero], [zero, at_scale, cross], [zero, cross, at_df]])
    return jnp.stack([loc, _log(scale), jnp.log(df)], axis=-1), information


def _gumbel(fn: Any) -> Information:
    loc, scale = _floats(fn.loc, fn.scale)
    return jnp.stack([loc, _log(scale)], axis=-1), _extreme(_inverse_square(scale), -1.0)


def _weibull(fn: Any) -> Information:
    # The log of a Weibull is minus a Gumbel, of scale 1/k.
    k, scale = _floats(fn.concentration, fn.scale)
    k = jnp.clip(k, 1e-18, 1e18)
    return jnp.stack([_log(scale), jnp.log(k)], axis=-1), _extreme(k**2, -1.0)


def _extreme(at_location: Array, sign: float) -> Array:
    """Information of a Gumbel about its location and the log of its scale (or of 1/scale)."""
    slope = 1.0 - np.euler_gamma
    cross = sign * slope * jnp.sqrt(at_location)
    at_scale = jnp.full_like(at_location, np.pi**2 / 6 + slope**2)
    return _matrix([[at_location, cross], [cross, at_scale]])


def _excess(a: Array) -> Array:
    """a² ψ'(a) - a, between 1/2 and 1 and decreasing; without the cancellation at large a."""
    near = jnp.minimum(a, 20.0)
    exact = 1.0 - near + near**2 * polygamma(1, near + 1.0)
    x = 1.0 / jnp.maximum(a, 20.0)
    return jnp.where(a < 20.0, exact, 0.5 + x * (1.0 / 6.0 - x**2 / 30.0))


def _gamma(fn: Any) -> Information:
    a, rate = _floats(fn.concentration, fn.rate)
    log_a = _log(a)
    theta = jnp.stack([log_a, log_a - _log(rate)], axis=-1)
    return theta, _diagonal(_excess(a), a)


def _concentrations(alpha: Array) -> Information:
    """Dirichlet: a Laplacian and a small positive remainder, in place of a difference."""
    total = jnp.sum(alpha, axis=-1, keepdims=True)
    share = alpha / total
    eye = jnp.eye(alpha.shape[-1], dtype=alpha.dtype)
    remainder = _excess(alpha)[..., None] * eye - _excess(total)[..., None] * (
        share[..., :, None] * share[..., None, :]
    )
    return _log(alpha), _laplacian(share) * total[..., None] + remainder


def _beta(fn: Any) -> Information:
    return _concentrations(jnp.stack(_floats(fn.concentration1, fn.concentration0), axis=-1))


def _dirichlet(fn: Any) -> Information:
    (alpha,) = _floats(fn.concentration)
    return _concentrations(alpha)


def _laplacian(p: Array) -> Array:
    """diag(p) - ppᵀ for probabilities; its diagonal as the sum of its row, so rows sum to 0."""
    outside = 1.0 - jnp.eye(p.shape[-1], dtype=p.dtype)
    products = p[..., :, None] * p[..., None, :] * outside
    return jnp.sum(products, axis=-1)[..., None] * jnp.eye(p.shape[-1], dtype=p.dtype) - products


def _bernoulli_logits(fn: Any) -> Information:
    count, logits = _floats(getattr(fn, "total_count", 1), fn.logits)
    variance = count * jax.nn.sigmoid(logits) * jax.nn.sigmoid(-logits)
    return logits[..., None], variance[..., None, None]


def _logit(probs: Array) -> Array:
    limits = jnp.finfo(probs.dtype)
    probs = jnp.clip(probs, limits.tiny, 1.0 - limits.epsneg)
    return jnp.log(probs) - jnp.log1p(-probs)


def _bernoulli_probs(fn: Any) -> Information:
    count, probs = _floats(getattr(fn, "total_count", 1), fn.probs)
    variance = count * probs * (1.0 - probs)
    return _logit(probs)[..., None], variance[..., None, None]


def _categorical_logits(fn: Any) -> Information:
    (logits,) = _floats(fn.logits)
    information = _laplacian(jax.nn.softmax(logits, axis=-1))
    return logits, information * _count(fn, information)


def _categorical_probs(fn: Any) -> Information:
    (probs,) = _floats(fn.probs)
    probs = jnp.clip(probs, jnp.finfo(probs.dtype).tiny, 1.0)
    information = _laplacian(probs)
    return jnp.log(probs), information * _count(fn, information)


def _count(fn: Any, like: Array) -> Array:
    return jnp.asarray(getattr(fn, "total_count", 1), like.dtype)[..., None, None]


def _poisson(fn: Any) -> Information:
    (rate,) = _floats(fn.rate)
    rate = jnp.minimum(rate, jnp.finfo(rate.dtype).max)
    return _log(rate)[..., None], rate[..., None, None]


def _geometric_probs(fn: Any) -> Information:
    (probs,) = _floats(fn.probs)
    return _logit(probs)[..., None], (1.0 - probs)[..., None, None]


def _geometric_logits(fn: Any) -> Information:
    (logits,) = _floats(fn.logits)
    return logits[..., None], jax.nn.sigmoid(-logits)[..., None, None]


def _multivariate_normal(fn: Any) -> Information | None:
    d = fn.event_shape[-1]
    if d > _LARGEST_NORMAL:
        return None
    loc = jnp.broadcast_to(fn.loc, (*fn.batch_shape, d))
    tril = jnp.broadcast_to(fn.scale_tril, (*fn.batch_shape, d, d))
    # In units of the covariance at hand every parameter is orthogonal to every other.
    unit = jax.lax.stop_gradient(tril)
    rows, columns = np.tril_indices(d)
    standard_loc = solve_triangular(unit, loc[..., None], lower=True)[..., 0]
    standard_tril = solve_triangular(unit, tril, lower=True)[..., rows, columns]
    diagonal = np.concatenate([np.ones(d), 1.0 + (rows == columns)])
    information = jnp.asarray(np.diag(diagonal), loc.dtype)
    return jnp.concatenate([standard_loc, standard_tril], axis=-1), information


_FAMILIES: dict[type, Callable[[Any], Information | None]] = {
    dist.Normal: _location_scale(1.0, 2.0),
    dist.LogNormal: _location_scale(1.0, 2.0),
    dist.Laplace: _location_scale(1.0, 1.0),
    dist.Cauchy: _location_scale(0.5, 0.5),
    dist.Logistic: _location_scale(1.0 / 3.0, (np.pi**2 + 3.0) / 9.0),
    dist.StudentT: _student_t,
    dist.Gumbel: _gumbel,
    dist.Weibull: _weibull,
    dist.HalfNormal: _log_only("scale", 2.0),
    dist.HalfCauchy: _log_only("scale", 0.5),
    dist.Exponential: _log_only("rate", 1.0),
    dist.Gamma: _gamma,
    dist.Chi2: _gamma,
    dist.InverseGamma: _gamma,
    dist.Beta: _beta,
    dist.BetaProportion: _beta,
    dist.Dirichlet: _dirichlet,
    dist.BernoulliLogits: _bernoulli_logits,
    dist.BernoulliProbs: _bernoulli_probs,
    dist.BinomialLogits: _bernoulli_logits,
    dist.BinomialProbs: _bernoulli_probs,
    dist.CategoricalLogits: _categorical_logits,
    dist.CategoricalProbs: _categorical_probs,
    dist.OrderedLogistic: _categorical_probs,
    dist.MultinomialLogits: _categorical_logits,
    dist.MultinomialProbs: _categorical_probs,
    dist.Poisson: _poisson,
    dist.GeometricProbs: _geometric_probs,
    dist.GeometricLogits: _geometric_logits,
    dist.MultivariateNormal: _multivariate_normal,
}
