"""A network from a set of rows to a mixture of Gaussians, trained on simulations: deep sets.

q(u | D) = Σ_k w_k N(u; m_k, S_k), all of it read off the mean and the maximum over rows of what a
network makes of each row (Zaheer et al. 2017, "Deep sets"), and of their number. It learns by
maximising log q(u | D) of tasks that the program itself simulates (neural posterior estimation,
Papamakarios and Murray 2016), as many rows as the evidence has at most.

It knows nothing of the program but what it is shown. It is here to be compared with: what it costs
to learn what experts read off the program, and how it does on more rows than it was trained with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PRNGKeyArray
from pydantic import Field

from bayes_badger.belief import Draws, Posterior
from bayes_badger.belief.logs import log_sum_exp
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.blocks import single
from bayes_badger.inner_loop._alone import drawn, why_not_alone
from bayes_badger.inner_loop._chunks import over_chunks
from bayes_badger.inner_loop._integrated import DrawSettings
from bayes_badger.inner_loop._society import Society, as_mixture, log_densities
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import Data, Program

# Steps of training in one dispatch; tasks that tell how large numbers are.
AT_ONCE, PILOT = 100, 256
# The training's steepest slope, in nats per standard deviation of its weights.
CLIP = 1.0


class Settings(DrawSettings):
    """What a recipe may set."""

    steps: int = Field(3000, ge=1, description="of training")
    tasks: int = Field(128, ge=1, description="simulated for each step")
    rows: int = Field(0, ge=0, description="of a simulated task at most; 0: as the evidence has")
    rate: float = Field(1e-3, gt=0)
    width: int = Field(128, ge=1, description="of each layer")
    components: int = Field(8, ge=1, description="Gaussians of the mixture")


class Scale(NamedTuple):
    """What numbers of a row are divided by once their mean is taken out, `[feature]`."""

    mean: Array
    sd: Array


class Network(eqx.Module):
    """From rows `[row, feature]` and which of them are real to log weights, means and roots."""

    each: eqx.nn.MLP
    whole: eqx.nn.MLP
    size: int = eqx.field(static=True)
    components: int = eqx.field(static=True)

    def __init__(
        self, features: int, size: int, width: int, components: int, key: PRNGKeyArray
    ) -> None:
        keys = jax.random.split(key)
        numbers = 1 + size + size * (size + 1) // 2
        self.each = eqx.nn.MLP(features, width, width, 2, jax.nn.gelu, key=keys[0])
        whole = eqx.nn.MLP(2 * width + 1, components * numbers, width, 2, jax.nn.gelu, key=keys[1])
        # Close to the prior at first, and no component like another.
        last = whole.layers[-1]
        self.whole = eqx.tree_at(lambda m: m.layers[-1].weight, whole, 0.1 * last.weight)
        self.size, self.components = size, components

    def __call__(self, rows: Float[Array, "row feature"], seen: Array) -> Society:
        """The mixture, as experts."""
        found = jnp.where(seen[:, None], jax.vmap(self.each)(rows), 0.0)
        many = seen.sum()
        mean = found.sum(0) / jnp.maximum(many, 1)
        highest = jnp.where(seen[:, None], found, -jnp.inf).max(0)
        pooled = [mean, jnp.where(many > 0, highest, 0.0), jnp.log1p(many)[None]]
        numbers = self.whole(jnp.concatenate(pooled)).reshape(self.components, -1)
        d = self.size
        lower = (
            jnp.zeros((self.components, d, d)).at[:, *np.tril_indices(d)].set(numbers[:, d + 1 :])
        )
        diagonal = jnp.diagonal(lower, axis1=1, axis2=2)
        root = lower + jax.vmap(jnp.diag)(jnp.exp(jnp.clip(diagonal, -12.0, 3.0)) - diagonal)
        log_weights = jax.nn.log_softmax(numbers[:, 0])
        hidden = jnp.zeros((self.components, d, 0))
        return Society(log_weights, numbers[:, 1 : d + 1], root, hidden)


class SetNetwork(eqx.Module):
    """Trains a network on simulations of the program, then asks it about each task."""

    settings: Settings = eqx.field(static=True)

    def why_not(self, program: Program, evidence: Evidence) -> str | None:
        """It needs prior-normal coordinates, and tasks that share nothing."""
        reason = why_not_alone(program, evidence)
        if reason is None and program.factors:
            reason = "learns from simulations, which cannot follow factors"
        if reason is None and not program.size:
            reason = "has no latents to learn"
        return reason

    def infer(
        self, program: Program, evidence: Evidence, key: PRNGKeyArray, report: Report = silent
    ) -> Posterior:
        """The belief about each task, as the network's mixture, and draws from it."""
        reason = self.why_not(program, evidence)
        if reason is not None:
            raise BadgerError(f"set_network {reason}")
        keys, settings = jax.random.split(key), self.settings
        network, scale, loss = trained(program, evidence, keys[0], settings, report)

        def work(tasks: np.ndarray, data: Data, mask: np.ndarray) -> Society:
            return _asked(network, scale, data, jnp.asarray(mask))

        society = over_chunks(evidence, work, report, "asking the network")
        mixture = as_mixture(jax.tree.map(jnp.asarray, society), program.latents)
        values = drawn(program, evidence, mixture, keys[1], (settings.chains, settings.draws))
        seen = settings.steps * settings.tasks
        note = f"a set network of {settings.components} components, trained on {seen:,} simulations"
        return Posterior(
            Draws(values, {}, variables=program.variables),
            mixture=mixture,
            independent=True,
            approximate=True,
            notes=(f"{note}: {-loss:.3f} nats of log density at their truths at last",),
        )


def trained(
    program: Program,
    evidence: Evidence,
    key: Key[Array, ""],
    settings: Settings,
    report: Report = silent,
) -> tuple[Network, Scale, float]:
    """A network for this program, and its last loss.

    Args:
        program: Tasks are simulated from it.
        evidence: Rows are asked for where it has some.
        key: Of everything random.
        settings: How to train.
        report: Is told how far it has come.
    """
    keys = jax.random.split(key, 3)
    columns, own = _questions(evidence)
    most = settings.rows or int(evidence.lengths.max(initial=1))
    _, data, seen = _simulated(program, columns, own, keys[0], PILOT, most)
    rows = _features(data)
    flat = rows[np.asarray(seen)]
    scale = Scale(flat.mean(0), jnp.maximum(flat.std(0), 1e-6))
    network = Network(rows.shape[-1], program.size, settings.width, settings.components, keys[1])
    optimiser = optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.adam(optax.cosine_decay_schedule(settings.rate, settings.steps)),
    )
    state = optimiser.init(eqx.filter(network, eqx.is_inexact_array))
    loss, done = np.nan, 0
    while done < settings.steps:
        report("training", done, settings.steps, f"{loss:.3f} nats")
        some = jax.random.split(
            jax.random.fold_in(keys[2], done), min(AT_ONCE, settings.steps - done)
        )
        network, state, losses = _some_steps(
            program, columns, own, scale, optimiser, network, state, some, settings.tasks, most
        )
        loss, done = float(np.mean(losses)), done + len(some)
    report("training", done, settings.steps, f"{loss:.3f} nats")
    return network, scale, loss


def _questions(evidence: Evidence) -> tuple[dict[str, Array], dict[str, Array]]:
    """Columns of rows `[row, ...]` and of tasks `[task, ...]`, from which simulations take some."""
    columns = {name: jnp.asarray(single(x)) for name, x in evidence.columns.items()}
    return columns, {name: jnp.asarray(single(x)) for name, x in evidence.task_columns.items()}


def _simulated(
    program: Program,
    columns: dict[str, Array],
    own: dict[str, Array],
    key: PRNGKeyArray,
    tasks: int,
    most: int,
) -> tuple[Array, Data, Array]:
    """Flat vectors from the prior, `[task, u]`, evidence of them, and which rows are real."""
    keys = jax.random.split(key, 5)
    u = jax.random.normal(keys[0], (tasks, program.size))

    def some(key: PRNGKeyArray, x: Array, shape: tuple[int, int]) -> Array:
        return x[jax.random.randint(key, shape, 0, len(x))]

    # The same places in each column: a row is taken as a whole.
    data = Data(
        {name: some(keys[1], x, (tasks, most)) for name, x in columns.items()},
        {name: some(keys[2], x, (tasks, 1)) for name, x in own.items()},
    )

    def one(u: Array, data: Data, key: PRNGKeyArray) -> Array:
        data = jax.tree.map(lambda x: x[None], data)
        k = program.lifetime_size
        values = program.constrain(u[:k], u[None, k:], data.task_columns)
        latents = {latent.name: values[latent.name] for latent in program.latents}
        return program.simulate(key, data, latents).outcome[0]

    outcome = jax.vmap(one)(u, data, jax.random.split(keys[3], tasks))
    rows = jax.random.randint(keys[4], (tasks, 1), 1, most + 1)
    return u, data._replace(outcome=outcome), jnp.arange(most) < rows


def _features(data: Data) -> Float[Array, "task row feature"]:
    """All numbers of each row, those of its task among them."""
    tasks, rows = data.answers.shape[:2]
    each = [*(data.columns[n] for n in sorted(data.columns)), data.answers]
    flat = [jnp.asarray(x, jnp.float32).reshape(tasks, rows, -1) for x in each]
    for name in sorted(data.task_columns):
        x = jnp.asarray(data.task_columns[name], jnp.float32).reshape(tasks, 1, -1)
        flat.append(jnp.broadcast_to(x, (tasks, rows, x.shape[-1])))
    return jnp.concatenate(flat, -1)


def _believed(network: Network, scale: Scale, data: Data, seen: Array) -> Society:
    rows = (_features(data) - scale.mean) / scale.sd
    return jax.vmap(network)(rows, seen)


@jit_lightly
def _asked(network: Network, scale: Scale, data: Data, seen: Array) -> Society:
    return _believed(network, scale, data, seen)


@jit_lightly
def _some_steps(
    program: Program,
    columns: dict[str, Array],
    own: dict[str, Array],
    scale: Scale,
    optimiser: optax.GradientTransformation,
    network: Network,
    state: Any,
    keys: Key[Array, " step"],
    tasks: int,
    most: int,
) -> tuple[Network, Any, Float[Array, " step"]]:
    weights, rest = eqx.partition(network, eqx.is_inexact_array)

    def loss(weights: Network, key: PRNGKeyArray) -> Array:
        u, data, seen = _simulated(program, columns, own, key, tasks, most)
        found = _believed(eqx.combine(weights, rest), scale, data, seen)

        def log_density(society: Society, u: Array) -> Array:
            each = log_densities(u[None], society.mean, society.root)[0]
            return log_sum_exp(each + society.log_weights)

        return -jax.vmap(log_density)(found, u).mean()

    def one(carry: tuple[Network, Any], key: PRNGKeyArray) -> tuple[tuple[Network, Any], Array]:
        weights, state = carry
        value, slope = jax.value_and_grad(loss)(weights, key)
        updates, state = optimiser.update(slope, state, weights)
        return (eqx.apply_updates(weights, updates), state), value

    (weights, state), losses = jax.lax.scan(one, (weights, state), keys)
    return eqx.combine(weights, rest), state, losses


def make(settings: Settings) -> SetNetwork:
    """An inner loop from its validated settings."""
    return SetNetwork(settings)
