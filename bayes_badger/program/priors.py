"""Distributions that no latent can have, each with the line to write instead.

NumPyro lets a latent be drawn from any distribution. One with a probability at a single value
beside a density has no density that a sampler could follow: its atom would be lost in silence.
"""

from __future__ import annotations

from typing import Any

import numpyro.distributions as dist
from numpyro.distributions.discrete import (
    HurdleLogits,
    HurdleProbs,
    ZeroInflatedLogits,
    ZeroInflatedProbs,
)

_WRAPPERS = (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)
_CENSORED = (
    dist.LeftCensoredDistribution,
    dist.RightCensoredDistribution,
    dist.IntervalCensoredDistribution,
)
_WITH_AN_ATOM = (HurdleProbs, HurdleLogits, ZeroInflatedProbs, ZeroInflatedLogits)


def why_no_prior(name: str, fn: Any) -> str | None:
    """Why a latent cannot have this prior, and what to write; None where it can.

    Args:
        name: The latent.
        fn: A NumPyro distribution.

    Example:
        >>> why_no_prior("x", dist.Delta(1.0))
        "latent 'x' has one value only (Delta): write numpyro.deterministic('x', ...)"
        >>> why_no_prior("x", dist.Normal(0.0, 1.0)) is None
        True
    """
    while isinstance(fn, _WRAPPERS):
        fn = fn.base_dist
    family = type(fn).__name__
    if isinstance(fn, dist.ImproperUniform):
        return (
            f"'{name}' is {family}, from which nothing can be drawn: write a distribution that is "
            f"as wide as can be, as numpyro.sample('{name}', dist.Normal(0.0, 100.0))"
        )
    if isinstance(fn, dist.Delta):
        return (
            f"latent '{name}' has one value only ({family}): "
            f"write numpyro.deterministic('{name}', ...)"
        )
    if isinstance(fn, _CENSORED):
        base = type(fn.base_dist).__name__
        return (
            f"latent '{name}' has the prior {family}, which is of observations alone: "
            f"write numpyro.sample('{name}', dist.{base}(...))"
        )
    if isinstance(fn, _WITH_AN_ATOM) and not fn.support.is_discrete:
        base = type(fn.base_dist).__name__
        return (
            f"latent '{name}' has the prior {family}, which has a probability at 0 beside a "
            f"density: write two latents, numpyro.sample('{name}_is_0', dist.Bernoulli(...)) and "
            f"numpyro.sample('{name}', dist.{base}(...)), and jnp.where({name}_is_0, 0, {name})"
        )
    return None
