"""Where a policy acts: what it sees of an expert, and what it may advise.

All quantities are without units, so that one policy serves any program: moves in standard
deviations of the expert, curvature relative to the expert's own precision, weights relative to the
others'. A policy is shared by all experts of all tasks. Without one the advice is the identity,
which the compiler removes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Look(NamedTuple):
    """What a policy sees of one expert, by coordinate of its flat vector.

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
    """What a policy advises for one expert; the identity is 1, 1, 0, 1, False.

    Attributes:
        damping: Share of each coordinate's move that is taken, `[u]`.
        tempering: Share of the evidence's information that is believed, `[u]`.
        splitting: Added to the log of its share of the experts that are re-born from it.
        searching: Factor on the scale at which it proposes points.
        stopping: Whether it moves no more.
    """

    damping: Float[Array, " u"]
    tempering: Float[Array, " u"]
    splitting: Float[Array, ""]
    searching: Float[Array, ""]
    stopping: Bool[Array, ""]


@runtime_checkable
class Policy(Protocol):
    """How a belief is revised, where that is left open: pure, one expert at a time."""

    @property
    def width(self) -> int:
        """Numbers that it remembers per coordinate."""

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """Advice, and what to remember, `[u, h]`."""


class Untaught(eqx.Module):
    """No policy: the identity."""

    width: int = eqx.field(static=True, default=0)

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """The same for all."""
        one = jnp.ones_like(look.score)
        return Advice(one, one, jnp.zeros(()), jnp.ones(()), jnp.zeros((), bool)), look.hidden
