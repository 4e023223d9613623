"""A policy that is learned: one small network, shared by all experts of all tasks.

It sees what `Survey` has, expert by expert and coordinate by coordinate, and what the others tell:
attention over the experts, by what they say of themselves and by how near they are. Means over
coordinates and over experts are all that it ever takes, so that it runs with any number of either,
in any order. Its last layer starts at 0: untaught, it is the identity. What it says is bounded.
"""

from __future__ import annotations

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Array, Float, PRNGKeyArray

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop._policy import Advice, Counsel, Look, Survey

# Numbers by coordinate and by expert that a survey has; and that a counsel has.
BY_COORDINATE, BY_EXPERT = 4, 5
SAYS_BY_COORDINATE, SAYS_BY_EXPERT = 2, 4
# Numbers that are asked for, and offered.
ASKED = 4
# Factor on what the last layer says before it is bounded by 1: how much a policy can do.
STRENGTH = 1.0


class Linear(eqx.Module):
    """A matrix and a bias, over the last axis."""

    weight: Float[Array, "wide narrow"]
    bias: Float[Array, " narrow"]

    def __init__(self, key: PRNGKeyArray, wide: int, narrow: int, scale: float = 1.0) -> None:
        self.weight = scale * jax.random.normal(key, (wide, narrow)) / np.sqrt(max(wide, 1))
        self.bias = jnp.zeros(narrow)

    def __call__(self, x: Float[Array, "*n wide"]) -> Float[Array, "*n narrow"]:
        """The last axis, mapped."""
        return x @ self.weight + self.bias


class Taught(eqx.Module):
    """How experts revise their beliefs between refits, with messages to each other.

    Attributes:
        first: From what it sees of a coordinate to a state of it.
        first_of_experts: From what it sees of an expert, to the same.
        said: From the state of an expert to its message.
        asks: From the state of an expert to what it asks for, and offers.
        nearness: How much less it hears from experts that are further away.
        second: From the state of a coordinate, and what is heard of it, to a state.
        second_of_experts: From the state of an expert, and what it hears, to the same.
        last: From there to counsel by coordinate, and what to remember.
        last_of_experts: From there to counsel by expert.
        kinds: What tells kinds of experts apart, `[kind, state]`; no row where all are alike.
        width: Numbers that it remembers, per expert and coordinate.
        message: Numbers of a message, but for place and scale; with 0 experts hear nothing.
    """

    first: Linear
    first_of_experts: Linear
    said: Linear
    asks: Linear
    nearness: Float[Array, ""]
    second: Linear
    second_of_experts: Linear
    last: Linear
    last_of_experts: Linear
    kinds: Float[Array, "kind state"]
    width: int = eqx.field(static=True)
    message: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        width: int = 2,
        message: int = 4,
        state: int = 12,
        kinds: int = 1,
    ) -> None:
        """Random, but for the last layer: the identity.

        Args:
            key: For the weights.
            width: Numbers that it remembers, per expert and coordinate.
            message: Numbers of a message, but for place and scale; 0 for none.
            state: Numbers of the layers between.
            kinds: Of experts; with 1 all are alike, and their order is nothing to it.
        """
        keys = jax.random.split(key, 8)
        heard = 2 if message else 0
        self.first = Linear(keys[0], BY_COORDINATE + width, state)
        self.first_of_experts = Linear(keys[1], BY_EXPERT, state)
        self.said = Linear(keys[2], state, message)
        self.asks = Linear(keys[3], state, 2 * ASKED if message else 0)
        self.nearness = jnp.zeros(())
        self.second = Linear(keys[4], state + heard, state)
        self.second_of_experts = Linear(keys[5], state + message, state)
        self.last = Linear(keys[6], state, SAYS_BY_COORDINATE + width, 0.0)
        self.last_of_experts = Linear(keys[7], state, SAYS_BY_EXPERT, 0.0)
        several = jax.random.fold_in(key, 8), (kinds if kinds > 1 else 0, state)
        self.kinds = 0.5 * jax.random.normal(*several)
        self.width, self.message = width, message

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """It leaves a climb as it is: a filter stays exact in the limit."""
        one = jnp.ones_like(look.score)
        return Advice(one, one, jnp.zeros((), bool)), look.hidden

    def counsel(self, survey: Survey) -> tuple[Counsel, Array]:
        """Between refits."""
        each = [survey.move, survey.spread, survey.shrinkage, survey.place]
        seen = jnp.stack([_clipped(x) for x in each], -1)
        evenness = jnp.log(survey.evenness + 1e-3)
        common = [jnp.broadcast_to(x, survey.surprise.shape) for x in (evenness, survey.left)]
        whole = [survey.effective, survey.surprise, survey.relative_weight, *common]
        by_coordinate = self.first(jnp.concatenate([seen, survey.hidden], -1))
        by_expert = self.first_of_experts(jnp.stack([_clipped(x) for x in whole], -1))
        if len(self.kinds):
            by_expert += self.kinds[jnp.arange(len(by_expert)) % len(self.kinds)]
        state = jax.nn.relu(by_coordinate + by_expert[:, None])
        pooled = state.mean(1)
        if self.message:
            heard, of_each = self._heard(pooled, survey)
            state = jnp.concatenate([state, of_each], -1)
            pooled = jnp.concatenate([pooled, heard], -1)
        state = jax.nn.relu(self.second(state) + self.second_of_experts(pooled)[:, None])
        says, of_experts = self.last(state), self.last_of_experts(state.mean(1))
        sound = jnp.isfinite(says).all() & jnp.isfinite(of_experts).all()
        says, of_experts = (jnp.where(sound, jnp.tanh(x), 0.0) for x in (says, of_experts))
        damping, tempering = (STRENGTH * says[..., i] for i in range(SAYS_BY_COORDINATE))
        each_expert = (STRENGTH * of_experts[..., i] for i in range(SAYS_BY_EXPERT))
        counsel = Counsel(damping, 0.5 * tempering, *each_expert)
        return counsel, jnp.where(sound, says[..., SAYS_BY_COORDINATE:], survey.hidden)

    def _heard(
        self, state: Float[Array, "k s"], survey: Survey
    ) -> tuple[Float[Array, "k m"], Float[Array, "k u 2"]]:
        """What each expert hears of the others: their messages; place and scale as it sees them."""
        asked, offered = jnp.split(self.asks(state), 2, -1)
        size = survey.place.shape[1]
        to_own = jnp.exp(-survey.shrinkage)
        place = survey.place - jax.nn.softmax(survey.relative_weight) @ survey.place
        own = place * to_own
        # |m_j - m_k|² in the standard deviations of k, by products alone.
        square = to_own**2 @ (place**2).T - 2 * (own * to_own) @ place.T
        square = (square + (own**2).sum(1)[:, None]) / size
        logits = asked @ offered.T + _clipped(survey.relative_weight)
        logits -= jax.nn.softplus(self.nearness) * jnp.clip(square, 0.0, 1e4)
        attention = jax.nn.softmax(logits, -1)
        told = jnp.concatenate([self.said(state), place, survey.shrinkage], -1)
        told = attention @ told
        messages, there, scale = jnp.split(told, (self.message, self.message + size), -1)
        of_each = [_clipped((there - place) * to_own), scale - survey.shrinkage]
        return messages, jnp.stack(of_each, -1)


def _clipped(x: Array) -> Array:
    """Not further than a network should follow."""
    return jnp.clip(jnp.nan_to_num(x), -4.0, 4.0)


def save(policy: Taught, path: Path) -> None:
    """Writes a policy as safetensors: arrays by name, and its widths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(policy, eqx.is_array))
    arrays = {jax.tree_util.keystr(where): np.asarray(x) for where, x in leaves if x.size}
    state = policy.first.bias.shape[0]
    told = {"width": policy.width, "message": policy.message, "state": state}
    told["kinds"] = max(len(policy.kinds), 1)
    safetensors.numpy.save_file(arrays, path, {n: str(x) for n, x in told.items()})


def load(path: Path) -> Taught:
    """Reads a policy.

    Raises:
        BadgerError: Where the file is none.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            sizes = {n: int(x) for n, x in (file.metadata() or {}).items()}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        like = jax.eval_shape(lambda: Taught(jax.random.key(0), **sizes))
        leaves, tree = jax.tree_util.tree_flatten_with_path(like)
        names = [jax.tree_util.keystr(where) for where, _ in leaves]
        # What is empty need not be stored.
        found = [
            arrays[name] if leaf.size else np.zeros(leaf.shape)
            for name, (_, leaf) in zip(names, leaves, strict=True)
        ]
        if [x.shape for x in found] != [x.shape for _, x in leaves]:
            raise ValueError("its arrays have other shapes")
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise BadgerError(f"{path} holds no policy: {error}") from error
    policy: Taught = jax.tree.unflatten(tree, [jnp.asarray(x, jnp.float32) for x in found])
    return policy
