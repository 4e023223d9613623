"""What inner loops share that take tasks by themselves: whom they refuse, and draws in the end."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from bayes_badger.belief import Mixture, in_chains
from bayes_badger.compilation import jit_lightly
from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._integrated import constrained
from bayes_badger.inner_loop._split import assignments, unfit
from bayes_badger.program import LIFETIME, TASK, WHITENED, Program


def why_not_alone(program: Program, evidence: Evidence, state: bool = False) -> str | None:
    """Why tasks cannot be taken by themselves; None where they can.

    Args:
        program: The lifted program.
        evidence: Of all tasks.
        state: Whether a program with a state can be followed.
    """
    reason = unfit(program, evidence) or unfit_alone(program, state)
    if reason is None and program.lifetime_size and evidence.n_tasks > 1:
        names = listed(latent.name for latent in program.select(LIFETIME))
        reason = f"cannot yet carry what tasks share ({names}) from one to the next"
    return reason


def as_lifetime(program: Program, evidence: Evidence) -> bool:
    """Whether tasks cannot be taken by themselves, each a Gaussian vector."""
    return bool(program.discrete) or (bool(program.lifetime_size) and evidence.n_tasks > 1)


def unfit_given(program: Program) -> str | None:
    """Why no belief about a task, given what tasks share, can be had; None where it can."""
    for scope in (LIFETIME, TASK):
        states = assignments(program, scope)
        if isinstance(states, str):
            return states
    return _without_coordinates(program)


def unfit_alone(program: Program, state: bool = False) -> str | None:
    """Why no belief about one task's flat vector can be had; None where it can."""
    if program.discrete:
        names = listed(latent.name for latent in program.discrete)
        return f"cannot yet hold discrete latents ({names})"
    if program.signature.stateful and not state:
        return "cannot yet follow a program with a state"
    return _without_coordinates(program)


def _without_coordinates(program: Program) -> str | None:
    other = [x.name for x in program.latents if not x.discrete and x.kind != WHITENED]
    return f"needs prior-normal coordinates, and {listed(other)} has none" if other else None


def drawn(
    program: Program,
    evidence: Evidence,
    mixture: Mixture,
    key: PRNGKeyArray,
    shape: tuple[int, int],
) -> dict[str, np.ndarray]:
    """Independent draws of all tasks' latents in the user's own space, `[chain, draw, ...]`."""
    keys = jax.random.split(key, evidence.n_tasks)
    u = _sampled(mixture, keys, shape[0] * shape[1])
    return in_user_space(program, evidence, np.asarray(u), shape)


@jit_lightly
def _sampled(mixture: Mixture, keys: Key[Array, " task"], n: int) -> Array:
    return eqx.filter_vmap(lambda one, key: one.sample(key, (n,))[0])(mixture, keys)


def in_user_space(
    program: Program, evidence: Evidence, u: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Draws of the flat vectors, `[task, draw, u]`, as latents and deterministics."""
    k = program.lifetime_size
    lifetimes, tasks = u[0, :, :k], np.swapaxes(u[:, :, k:], 0, 1)
    values = constrained(program, lifetimes, tasks, task_columns_of(evidence), {})
    return {name: in_chains(x, shape) for name, x in values.items()}
