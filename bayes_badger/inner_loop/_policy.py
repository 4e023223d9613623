"""Where a policy acts: what it sees of experts, and what it may advise.

All quantities are without units, so that one policy serves any program: moves in standard
deviations of the expert, curvature relative to the expert's own precision, weights relative to the
others'; none depends on how many experts, latents or rows there are, or on the order of latents. A
policy is shared by all experts of all tasks. It acts in two places: on one expert that climbs into
evidence, and on a society between refits, where experts may tell each other what they found.
Without one the advice is the identity, which the compiler removes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Look(NamedTuple):
    """What a policy sees of one expert that climbs, by coordinate of its flat vector.

    Attributes:
        score: Of the evidence at hand, times the expert's root: `[u]`, in standard deviations.
        curvature: Diagonal of the information at hand, in units of the expert's precision, `[u]`.
        shrinkage: Log of posterior over prior scale, `[u]`.
        relative_weight: Log of its weight times the number of experts.
        hidden: What the policy remembers of it, `[u, h]`.
    """

    score: Float[Array, " u"]
    curvature: Float[Array, " u"]
    shrinkage: Float[Array, " u"]
    relative_weight: Float[Array, ""]
    hidden: Float[Array, "u h"]


class Advice(NamedTuple):
    """What a policy advises for one expert that climbs; the identity is 1, 1, False.

    Attributes:
        damping: Share of each coordinate's move that is taken, `[u]`.
        tempering: Share of the evidence's information that is believed, `[u]`.
        stopping: Whether it moves no more.
    """

    damping: Float[Array, " u"]
    tempering: Float[Array, " u"]
    stopping: Bool[Array, ""]


class Survey(NamedTuple):
    """What a policy sees of k experts after their points were weighed.

    Attributes:
        move: What a step of EM would move each, in its standard deviations, `[k, u]`.
        spread: Log of the standard deviation that it would have over that it has, `[k, u]`.
        shrinkage: Log of its over the prior's standard deviation, `[k, u]`.
        place: Its mean, in standard deviations of the prior, `[k, u]`.
        effective: Log of the effective number of its points, over dimensions + 1, `[k]`.
        surprise: Log of the mass that was found to be its own over its weight, `[k]`.
        relative_weight: Log of its weight times k, `[k]`.
        evenness: Effective number of all points over their number.
        left: Share of the rounds that are to come.
        hidden: What the policy remembers, `[k, u, h]`.
    """

    move: Float[Array, "k u"]
    spread: Float[Array, "k u"]
    shrinkage: Float[Array, "k u"]
    place: Float[Array, "k u"]
    effective: Float[Array, " k"]
    surprise: Float[Array, " k"]
    relative_weight: Float[Array, " k"]
    evenness: Float[Array, ""]
    left: Float[Array, ""]
    hidden: Float[Array, "k u h"]


class Counsel(NamedTuple):
    """What a policy advises k experts between refits; the identity is all 0.

    Attributes:
        damping: Log of the share of its move that each takes, `[k, u]`; above 0 it goes further.
        tempering: Log of a factor on its new standard deviations, `[k, u]`.
        trusting: Log of a factor on the effective number of its points, `[k]`.
        weighing: Log of a factor on its new weight, `[k]`.
        searching: Log of a factor on the scale at which it proposes its next points, `[k]`.
        splitting: Added to the log of its share of the experts that are re-born from it, `[k]`.
    """

    damping: Float[Array, "k u"]
    tempering: Float[Array, "k u"]
    trusting: Float[Array, " k"]
    weighing: Float[Array, " k"]
    searching: Float[Array, " k"]
    splitting: Float[Array, " k"]


@runtime_checkable
class Policy(Protocol):
    """How a belief is revised, where that is left open: pure functions."""

    @property
    def width(self) -> int:
        """Numbers that it remembers per expert and coordinate."""

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """Advice to one expert that climbs, and what to remember, `[u, h]`."""

    def counsel(self, survey: Survey) -> tuple[Counsel, Array]:
        """Advice to all experts of a task, and what to remember, `[k, u, h]`."""


class Untaught(eqx.Module):
    """No policy: the identity."""

    width: int = eqx.field(static=True, default=0)

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """The same for all."""
        one = jnp.ones_like(look.score)
        return Advice(one, one, jnp.zeros((), bool)), look.hidden

    def counsel(self, survey: Survey) -> tuple[Counsel, Array]:
        """The same for all."""
        return no_counsel(survey), survey.hidden


def no_counsel(survey: Survey) -> Counsel:
    """The identity."""
    each, one = jnp.zeros_like(survey.move), jnp.zeros_like(survey.effective)
    return Counsel(each, each, one, one, one, one)
