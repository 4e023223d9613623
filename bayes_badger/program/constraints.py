"""Parameters of distributions that are outside their constraints: a negative rate, for one.

NumPyro scores such a distribution as NaN, or in silence as another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions import constraints

from bayes_badger.program.walk import Site, family

# More than this share of the draws must be outside: a prior may touch a bound in its far tail.
SHARE = 0.1
# Rounding in single precision, relative to the largest value.
ROUNDING = 1e-5

# Site, family and parameter.
Place = tuple[str, str, str]


class Bounded(NamedTuple):
    """A parameter of a distribution, and the bounds that it must keep."""

    value: Array
    low: Array
    high: Array


class Beyond(NamedTuple):
    """A parameter that is outside its bounds.

    Attributes:
        place: Site, family and parameter.
        value: The worst value that was seen.
        low: The lower bound there.
        high: The upper bound there.
        draws: At how many draws it is outside.
        fixed: Whether it is the same at all draws, so that it comes from a column or a constant.
    """

    place: Place
    value: float
    low: float
    high: float
    draws: int
    fixed: bool


def bounded_parameters(sites: Mapping[str, Site]) -> dict[Place, Bounded]:
    """The parameters of all distributions of a walk that have bounds, site by site."""
    found: dict[Place, Bounded] = {}
    for name, site in sites.items():
        if site.kind in ("latent", "outcome"):
            for kind, parameter, bounded in _bounded(family(site.fn)):
                found.setdefault((name, kind, parameter), bounded)
    return found


def outside(draws: Sequence[Mapping[Place, Bounded]]) -> Beyond | None:
    """The first parameter that is outside its bounds at a good share of draws; None if none is.

    Args:
        draws: What `bounded_parameters` found at each draw from the prior.
    """
    for place in draws[0]:
        seen = [_worst(draw[place]) for draw in draws]
        beyond = [x for x in seen if x is not None]
        if len(beyond) > SHARE * len(draws):
            value, low, high = beyond[0]
            fixed = len(beyond) == len(draws) and all(x == beyond[0] for x in beyond)
            return Beyond(place, value, low, high, len(beyond), fixed)
    return None


def told(program: str, found: Beyond, draws: int) -> str:
    """What is said of a parameter outside its bounds, with the line to write instead.

    Example:
        >>> place = ("events", "Poisson", "rate")
        >>> told("visits", Beyond(place, -0.71, 0.0, np.inf, 9, False), 16).partition(", and")[0]
        "visits: the rate of 'events' (Poisson) is -0.71 at 9 of 16 draws from the prior"
    """
    site, kind, parameter = found.place
    if found.fixed:
        where = "whatever the latents are"
    else:
        where = f"at {found.draws} of {draws} draws from the prior"
    if (found.low, found.high) == (0, np.inf):
        must = "positive"
        mend = (
            f"write {parameter} = jnp.exp(...), or make it of positive latents, as from "
            "dist.HalfNormal"
        )
    elif (found.low, found.high) == (0, 1):
        must = "from 0 to 1"
        link = "softmax" if kind.startswith(("Categorical", "Multinomial")) else "sigmoid"
        mend = f"write {parameter} = jax.nn.{link}(...)"
    else:
        low, high = f"{found.low:g}", f"{found.high:g}"
        must = f"at most {high}" if found.low == -np.inf else f"at least {low}"
        must = must if np.inf in (-found.low, found.high) else f"from {low} to {high}"
        mend = "bound it, or choose another distribution"
    if found.fixed:
        mend = "mend the column or the constant that it comes from"
    return (
        f"{program}: the {parameter} of '{site}' ({kind}) is {found.value:.3g} {where}, and must "
        f"be {must}: {mend}"
    )


def _worst(bounded: Bounded) -> tuple[float, float, float] | None:
    """The value that is furthest outside, and its bounds; None where none is."""
    value, low, high = (np.asarray(x, float) for x in bounded)
    value, low, high = np.broadcast_arrays(value, low, high)
    if not value.size:
        return None
    finite = np.abs(value[np.isfinite(value)])
    with np.errstate(invalid="ignore"):
        over = np.nan_to_num(np.maximum(low - value, value - high), nan=-np.inf, neginf=-np.inf)
    worst = np.unravel_index(int(np.argmax(over)), value.shape)
    if not over[worst] > ROUNDING * finite.max(initial=0.0):
        return None
    return float(value[worst]), float(low[worst]), float(high[worst])


def _bounded(fn: Any) -> Iterator[tuple[str, str, Bounded]]:
    """Family, parameter and bounds of a distribution, then of those inside it."""
    kind = type(fn)
    for name, constraint in getattr(fn, "arg_constraints", {}).items():
        # What is computed when it is asked for, a matrix from its root, is not asked for.
        known = name in vars(fn) or isinstance(getattr(kind, name, None), property)
        bounds = _bounds(constraint)
        if known and bounds is not None:
            value = getattr(fn, name)
            if value is not None:
                yield kind.__name__, name, Bounded(*(jnp.asarray(x) for x in (value, *bounds)))
    inner = [getattr(fn, "base_dist", None), getattr(fn, "_mixing_distribution", None)]
    parts = getattr(fn, "_component_distributions", None)
    inner += parts if isinstance(parts, list | tuple) else []
    inner.append(getattr(fn, "_component_distribution", None))
    for part in inner:
        if isinstance(part, dist.Distribution):
            yield from _bounded(family(part))


def _bounds(constraint: Any) -> tuple[Any, Any] | None:
    """Lower and upper bound of each number; None where it has none, or they are not known."""
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    if constraint is constraints.simplex:
        return 0.0, 1.0
    low = getattr(constraint, "lower_bound", None)
    high = getattr(constraint, "upper_bound", None)
    if low is None and high is None:
        return None
    return -jnp.inf if low is None else low, jnp.inf if high is None else high
