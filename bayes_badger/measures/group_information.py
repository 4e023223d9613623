"""What one more group of n observations says of the latents that all groups share.

The expected Fisher information of one group, its own latents integrated out, about the
coordinates `u` of what is shared. Closed form where a group is linear-Gaussian given what is
shared: D ~ N(m, S) has ∂mᵀ S⁻¹ ∂m + ½ tr(S⁻¹ ∂S S⁻¹ ∂S). Else by simulation: the score is
E[∂ log p(D, z | u) | D] by Fisher's identity, and its square the product of two independent
estimates, without bias from their noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.blocks import single
from bayes_badger.inner_loop.messages import straight, under
from bayes_badger.program import LIFETIME, WHITENED, Data, Program
from bayes_badger.program.program import EXPECTED

# Groups of each size that are simulated at each lifetime; rows that closed forms average over.
SIMULATED, DONORS, DRAWS = 128, 32, 16


class GroupInformation(NamedTuple):
    """Information of one group.

    Attributes:
        about: Nats per squared coordinate, `[lifetime, size, a, a]`.
        exact: Whether it is a closed form, but for which rows a group has.
    """

    about: np.ndarray
    exact: bool


def why_not(program: Program) -> str | None:
    """Why it cannot be had, in words that follow the program's name; None where it can."""
    if not program.select(LIFETIME):
        return "shares no latent between tasks: groups say nothing of each other"
    if program.discrete:
        names = listed(latent.name for latent in program.discrete)
        return f"has discrete latents ({names}), of which there is no Fisher information"
    if program.signature.stateful:
        return "has a state, which new observations of a group cannot follow"
    odd = [x.name for x in program.select(LIFETIME) if x.kind != WHITENED]
    return f"has latents without prior-normal coordinates ({listed(odd)})" if odd else None


def group_information(
    program: Program,
    evidence: Evidence,
    lifetimes: Float[np.ndarray, "lifetime a"],
    sizes: tuple[int, ...],
    key: PRNGKeyArray,
) -> GroupInformation:
    """Information of one group of each size, at each lifetime.

    Rows of a group are drawn, with replacement, from those of one group of the evidence.

    Args:
        program: The lifted program.
        evidence: Of which groups and rows are like those to come.
        lifetimes: Coordinates of what is shared.
        sizes: Observations of a group, ascending.
        key: Of everything random.

    Raises:
        BadgerError: Where there is none.
    """
    reason = why_not(program)
    if reason is not None:
        raise BadgerError(f"{program.name} {reason}")
    exact = _linear_gaussian(program, evidence)
    # The same rows at every lifetime, so that lifetimes differ by nothing else.
    data = _like(program, evidence, DONORS if exact else SIMULATED, max(sizes), key)
    points = jnp.asarray(lifetimes, jnp.float32)
    if exact:
        moments = [np.asarray(x, float) for x in _moments(program, points, data)]
        found = np.stack([closed(*(x[:, :, :n] for x in moments)) for n in sizes], 2)
        return GroupInformation(found.mean(1), True)
    masks = jnp.arange(max(sizes)) < jnp.array(sizes)[:, None]
    keys = jax.random.split(jax.random.fold_in(key, 1), len(points))
    by_size = [_simulated(program, points, data, mask, keys) for mask in masks]
    return GroupInformation(np.stack([np.asarray(x, float) for x in by_size], 1), False)


def closed(move: np.ndarray, root: np.ndarray, turn: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Information of a normal outcome whose location is linear in a group's standard latents.

    In units of the noise its covariance is I + GGᵀ, so that all is done in as many dimensions as a
    group has latents.

    Args:
        move: Slope of the location, in units of the noise, `[..., n, a]`.
        root: G, `[..., n, z]`.
        turn: Slope of G, at one noise, `[..., n, z, a]`.
        stretch: Slope of the log variance of the noise, `[..., n, a]`.

    Returns:
        `[..., a, a]`.

    Example:
        >>> import numpy as np  # y ~ N(a + z, 1), z ~ N(0, 1): 1 / (1 + 1/n) of a
        >>> one, none = np.ones((4, 1)), np.zeros((4, 1))
        >>> print(closed(one, one, none[..., None], none))
        [[0.8]]
    """
    flipped = np.swapaxes(root, -1, -2)
    small = np.eye(root.shape[-1]) + flipped @ root
    half = np.linalg.solve(small, flipped)  # (I + GᵀG)⁻¹Gᵀ = Gᵀ S⁻¹
    inverse = np.eye(root.shape[-2]) - root @ half
    of_location = np.einsum("...na,...nm,...mb->...ab", move, inverse, move, optimize=True)
    of_noise = np.einsum("...na,...nm,...mb->...ab", stretch, inverse**2, stretch, optimize=True)
    turned = np.einsum("...nm,...mza->...nza", inverse, turn, optimize=True)  # S⁻¹ ∂G
    across = np.einsum("...zn,...nya->...zya", half, turn, optimize=True)  # Gᵀ S⁻¹ ∂G
    along = half @ root
    of_turn = 2 * np.einsum("...zya,...yzb->...ab", across, across, optimize=True)
    of_turn += 2 * np.einsum("...zy,...nya,...nzb->...ab", along, turn, turned, optimize=True)
    mixed = 2 * np.einsum("...zn,...nza,...nb->...ab", half, turned, stretch, optimize=True)
    return of_location + 0.5 * (of_noise + of_turn + mixed + np.swapaxes(mixed, -1, -2))


def _like(program: Program, evidence: Evidence, many: int, steps: int, key: PRNGKeyArray) -> Data:
    """Rows of groups to come, without outcomes, `[many, step, ...]`."""
    seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
    chance = np.random.default_rng(seed)
    known = np.flatnonzero(evidence.lengths)
    donors = np.concatenate([chance.permutation(known) for _ in range(many // len(known) + 1)])
    donors = donors[:many]
    starts = (np.cumsum(evidence.lengths) - evidence.lengths)[donors, None]
    rows = starts + (chance.uniform(size=(many, steps)) * evidence.lengths[donors, None]).astype(
        int
    )
    return Data(
        {name: jnp.asarray(single(x[rows])) for name, x in evidence.columns.items()},
        {
            name: jnp.asarray(single(x[donors]))[:, None]
            for name, x in evidence.task_columns.items()
        },
    )


def _linear_gaussian(program: Program, evidence: Evidence) -> bool:
    normal = program.outcome.family == "Normal" and program.outcome.shape == ()
    if program.information != EXPECTED or not normal or program.factors:
        return False

    return straight(program, evidence)


@jit_lightly
def _moments(program: Program, lifetimes: Array, data: Data) -> tuple[Array, ...]:
    """What `closed` takes, `[lifetime, group, n, ...]`."""

    def of(lifetime: Array, data: Data) -> tuple[Array, Array, Array]:
        """Location, its slope in the group's own latents, and the log variance, at their middle."""

        def location(z: Array) -> Array:
            return program.outcome_parameters(jnp.concatenate([lifetime, z]), data)[0][:, 0]

        zero = jnp.zeros(program.task_size)
        theta = program.outcome_parameters(jnp.concatenate([lifetime, zero]), data)[0]
        return theta[:, 0], jax.jacfwd(location)(zero), 2 * theta[:, 1]

    def one(lifetime: Array, data: Data) -> tuple[Array, ...]:
        data = jax.tree.map(lambda x: x[None], data)
        _, bend, noise = of(lifetime, data)
        move, turn, stretch = jax.jacfwd(lambda a: of(a, data))(lifetime)
        unit = jnp.exp(-0.5 * noise)[:, None]
        return move * unit, bend * unit, turn * unit[..., None], stretch

    return jax.lax.map(lambda a: jax.vmap(one, (None, 0))(a, data), lifetimes)


@jit_lightly
def _simulated(
    program: Program,
    lifetimes: Array,
    queries: Data,
    mask: Array,
    keys: Key[Array, " lifetime"],
) -> Array:
    """`[lifetime, a, a]`."""
    shared = [latent.name for latent in program.select(LIFETIME)]

    def at(xs: tuple[Array, Array]) -> Array:
        lifetime, key = xs
        keys, tasks = jax.random.split(key, 3), queries.tasks
        data = queries
        z = jax.random.normal(keys[0], (tasks, program.task_size))
        values = program.constrain(lifetime, z, data.task_columns)
        data = data._replace(outcome=program.simulate(keys[1], data, values).outcome)
        seen = jnp.broadcast_to(mask, (tasks, data.steps))
        each = jnp.broadcast_to(lifetime, (tasks, len(lifetime)))
        found = under(program, data, seen, each, jax.random.split(keys[2], tasks), DRAWS)

        def score(z: Array) -> Array:
            """Of each task, with its own latents in the user's own space."""
            own = program.constrain(lifetime, z, data.task_columns)

            def log_joint(a: Array, own: Mapping[str, Array], one: Data) -> Array:
                moved = program.constrain(a, jnp.zeros((1, program.task_size)), one.task_columns)
                values = {x.name: own[x.name][None] for x in program.select("task")}
                values |= {name: moved[name] for name in shared}
                prior = program.log_prior_by_site(values, one.task_columns, 1)
                of_task = sum((prior[x.name].sum() for x in program.select("task")), jnp.zeros(()))
                rows = program.log_likelihood_of(values, one)[0]
                return of_task + jnp.where(mask, rows, 0.0).sum()

            def slope(own: Mapping[str, Array], one: Data) -> Array:
                one = jax.tree.map(lambda x: x[None], one)
                return jax.grad(log_joint)(lifetime, own, one)

            latents = {x.name: own[x.name] for x in program.select("task")}
            return jax.vmap(slope)(latents, data)

        scores = jax.lax.map(score, jnp.swapaxes(found.latents, 0, 1))
        first, second = scores[: DRAWS // 2].mean(0), scores[DRAWS // 2 :].mean(0)
        cross = first.T @ second / tasks
        return 0.5 * (cross + cross.T)

    return jax.lax.map(at, (lifetimes, keys))
