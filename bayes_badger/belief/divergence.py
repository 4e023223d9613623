"""How far one belief is from another, in nats."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from bayes_badger.belief.draws import NO_DENSITY, Draws
from bayes_badger.belief.logs import normalised
from bayes_badger.belief.mixture import Mixture
from bayes_badger.belief.pairs import pairs
from bayes_badger.belief.sandwich import sandwich
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed


class Bounds(NamedTuple):
    """What is certain about a number, in nats: it lies between the two, which may be equal."""

    lower: Float[Array, ""]
    upper: Float[Array, ""]


def kl(p: Mixture | Draws, q: Mixture | Draws) -> Bounds:
    """The Kullback-Leibler divergence KL(p ‖ q) = E_p log p / q, in nats.

    Exact, with equal bounds, where each has one component; else between deterministic bounds
    (`belief.sandwich`). It is +inf where p has an assignment of discrete latents that q has not.
    Over the coordinates u, which is the same number as in the user's own space.

    Args:
        p: The belief under which is averaged.
        q: The belief that it is compared with, over the same latents.

    Raises:
        BadgerError: Where one of them is draws, or they are not over the same latents.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayes_badger.belief import standard_normal
        >>> from bayes_badger.program import Latent
        >>> z = Latent("z", "task", "task", (), "Normal", "real", "whitened",
        ...            (("whitened", ()),), 0, True, True)
        >>> q = standard_normal((z,))
        >>> p = Mixture(q.log_weights, q.loc + 2.0, q.scale_tril, (z,))
        >>> print(kl(p, q).lower, kl(p, q).upper)
        2.0 2.0
    """
    if isinstance(p, Draws) or isinstance(q, Draws):
        raise BadgerError(f"kl: {NO_DENSITY}")
    if p.latents != q.latents:
        raise BadgerError(f"kl needs the same latents in the same coordinates: {_differ(p, q)}")
    return _kl(p, q)


@jit_lightly
def _kl(p: Mixture, q: Mixture) -> Bounds:
    across = pairs(p, q)
    if across.divergence.shape == (1, 1):
        exact = across.divergence[0, 0]
        return Bounds(exact, exact)
    log_p, log_q = normalised(p.log_weights), normalised(q.log_weights)
    return Bounds(*sandwich(log_p, log_q, pairs(p, p), across))


def _differ(p: Mixture, q: Mixture) -> str:
    names = [listed([latent.name for latent in x.latents], 12) or "none" for x in (p, q)]
    if names[0] != names[1]:
        return f"p is over {names[0]}, q over {names[1]}"
    kinds = [
        f"'{a.name}' is {a.kind} in p and {b.kind} in q"
        for a, b in zip(p.latents, q.latents, strict=True)
        if a.kind != b.kind
    ]
    return listed(kinds, 12) or "their latents have other families or shapes"
