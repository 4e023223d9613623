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
# Factor on what the last layer says before it is bounded by 1: how much a policy can do.
STRENGTH = 0.5


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
        first: From what it sees to a state of each coordinate.
        said: From that state to the message of an expert.
        asks: From the state of an expert to what it asks for, and offers.
        nearness: How much less it hears from experts that are further away.
        second: From state and messages to a state.
        last: From there to counsel, and what to remember.
        width: Numbers that it remembers, per expert and coordinate.
        message: Numbers of a message per coordinate; with 0 experts hear nothing.
    """

    first: Linear
    said: Linear
    asks: Linear
    nearness: Float[Array, ""]
    second: Linear
    last: Linear
    last_of_experts: Linear
    width: int = eqx.field(static=True)
    message: int = eqx.field(static=True)

    def __init__(
        self, key: PRNGKeyArray, width: int = 2, message: int = 4, state: int = 16
    ) -> None:
        """Random, but for the last layer: the identity.

        Args:
            key: For the weights.
            width: Numbers that it remembers, per expert and coordinate.
            message: Numbers of a message per coordinate, but for place and scale; 0 for none.
            state: Numbers of the layers between.
        """
        keys = jax.random.split(key, 6)
        heard = message + 2 if message else 0
        self.first = Linear(keys[0], BY_COORDINATE + BY_EXPERT + width, state)
        self.said = Linear(keys[1], state, message)
        self.asks = Linear(keys[2], state, 2 * state if message else 0)
        self.nearness = jnp.zeros(())
        self.second = Linear(keys[3], 2 * state + heard, state)
        self.last = Linear(keys[4], state, SAYS_BY_COORDINATE + width, 0.0)
        self.last_of_experts = Linear(keys[5], state, SAYS_BY_EXPERT, 0.0)
        self.width, self.message = width, message

    def __call__(self, look: Look) -> tuple[Advice, Array]:
        """It leaves a climb as it is: a filter stays exact in the limit."""
        one = jnp.ones_like(look.score)
        return Advice(one, one, jnp.zeros((), bool)), look.hidden

    def counsel(self, survey: Survey) -> tuple[Counsel, Array]:
        """Between refits."""
        shape = survey.move.shape
        each = [survey.move, survey.spread, survey.shrinkage, survey.place]
        whole = [survey.effective, survey.surprise, survey.relative_weight]
        common = [jnp.log(survey.evenness + 1e-3), survey.left]
        seen = [_squashed(x) for x in each]
        seen += [jnp.broadcast_to(_squashed(x)[:, None], shape) for x in whole]
        seen += [jnp.broadcast_to(_squashed(x), shape) for x in common]
        features = jnp.concatenate([jnp.stack(seen, -1), survey.hidden], -1)
        state = jax.nn.silu(self.first(features))
        pooled = jnp.broadcast_to(state.mean(1, keepdims=True), state.shape)
        inside = [state, pooled]
        if self.message:
            inside.append(self._heard(state, survey))
        state = jax.nn.silu(self.second(jnp.concatenate(inside, -1)))
        says = self.last(state)
        by_expert = STRENGTH * jnp.tanh(self.last_of_experts(state.mean(1)))
        by_coordinate = STRENGTH * jnp.tanh(says[..., :SAYS_BY_COORDINATE])
        hidden = jnp.tanh(says[..., SAYS_BY_COORDINATE:])
        sound = jnp.isfinite(says).all() & jnp.isfinite(by_expert).all()
        counsel = Counsel(
            damping=by_coordinate[..., 0],
            tempering=0.5 * by_coordinate[..., 1],
            trusting=2.0 * by_expert[..., 0],
            weighing=by_expert[..., 1],
            searching=0.5 * by_expert[..., 2],
            splitting=2.0 * by_expert[..., 3],
        )
        silent = jax.tree.map(jnp.zeros_like, counsel)
        counsel = jax.tree.map(lambda new, old: jnp.where(sound, new, old), counsel, silent)
        return counsel, jnp.where(sound, hidden, survey.hidden)

    def _heard(self, state: Array, survey: Survey) -> Float[Array, "k u m"]:
        """What each expert hears of the others: their message, place and scale as it sees them."""
        asked, offered = jnp.split(self.asks(state.mean(1)), 2, -1)
        sd, size = jnp.exp(survey.shrinkage), survey.place.shape[1]
        weights = jax.nn.softmax(survey.relative_weight)
        place = survey.place - weights @ survey.place
        own = place / sd
        # |m_j - m_k|² in the standard deviations of k, by products alone.
        square = (1 / sd**2) @ (place**2).T - 2 * (own / sd) @ place.T
        square = (square + (own**2).sum(1)[:, None]) / size
        logits = asked @ offered.T / np.sqrt(asked.shape[-1]) + survey.relative_weight
        logits -= jax.nn.softplus(self.nearness) * jnp.minimum(jnp.maximum(square, 0.0), 1e4)
        attention = jax.nn.softmax(logits, -1)
        messages = jnp.einsum("kj,jum->kum", attention, self.said(state))
        place = (attention @ place - place) / sd
        scale = attention @ survey.shrinkage - survey.shrinkage
        return jnp.concatenate([messages, _squashed(place)[..., None], scale[..., None]], -1)


def _squashed(x: Array) -> Array:
    """Of any size, but gentle to a network."""
    return jnp.clip(jnp.arcsinh(x), -8.0, 8.0)


def save(policy: Taught, path: Path) -> None:
    """Writes a policy as safetensors: arrays by name, and its widths."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(policy, eqx.is_array))
    arrays = {jax.tree_util.keystr(where): np.asarray(x) for where, x in leaves}
    state = policy.first.bias.shape[0]
    told = {"width": policy.width, "message": policy.message, "state": state}
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
        found = [arrays[jax.tree_util.keystr(where)] for where, _ in leaves]
        if [x.shape for x in found] != [x.shape for _, x in leaves]:
            raise ValueError("its arrays have other shapes")
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise BadgerError(f"{path} holds no policy: {error}") from error
    policy: Taught = jax.tree.unflatten(tree, [jnp.asarray(x, jnp.float32) for x in found])
    return policy
