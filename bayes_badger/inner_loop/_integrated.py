"""What the inner loops by integration share: from a split of the latents to a posterior."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.belief import Draws, Mixture, Posterior, in_chains
from bayes_badger.compilation import jit_by_work
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop import _quadratic as quadratic
from bayes_badger.inner_loop._nested import Nested, Outer
from bayes_badger.inner_loop._split import Split, split
from bayes_badger.inner_loop.protocol import Report
from bayes_badger.program import LIFETIME, Program

NAN = "the log evidence is not a number: the program's density is not finite where it should be"

# Nodes of less weight do not count in a mean; how far a straight line may be off, relatively.
NEGLIGIBLE, STRAIGHT = 1e-13, 1e-7


class DrawSettings(BaseModel):
    """How many independent draws to hand on; as chains, for that is what ArviZ takes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    chains: int = Field(4, ge=1)
    draws: int = Field(1000, ge=1)


def split_for(name: str, reason: str | None, program: Program, evidence: Evidence) -> Split:
    """How to integrate.

    Raises:
        BadgerError: Where there is a reason why the inner loop of that name does not apply.
    """
    found = split(program, evidence) if reason is None else reason
    if isinstance(found, str):
        raise BadgerError(f"{name} {found}")
    return found


def integrate_all(
    program: Program,
    evidence: Evidence,
    how: Split,
    settings: DrawSettings,
    key: PRNGKeyArray,
    report: Report,
    tolerance: float = 1e-4,
) -> Posterior:
    """The posterior by closed forms, sums and lattices, as a split of the latents asks for."""
    nested = Nested(program, evidence, how, tolerance, report)
    report("integrating", 0, 1)
    # Weights that are not numbers are told in words.
    with np.errstate(invalid="ignore"):
        outer = nested.outer()
    report("integrating", 1, 1)
    warnings = [NAN] if not np.isfinite(outer.log_evidence) else []
    if outer.worst > tolerance:
        warnings.append(
            f"a lattice gave up at an error of {outer.worst:.2g} nats by its own estimate, above "
            f"{tolerance:g}: the numbers are that rough"
        )
    chance = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    try:
        with np.errstate(invalid="ignore"):
            count = settings.chains * settings.draws
            lifetimes, tasks, discrete = nested.draw(outer, count, chance)
    except ValueError as error:
        # No draw can be made by weights that are not numbers.
        if np.isfinite(outer.log_evidence):
            raise
        raise BadgerError(
            f"{program.name}: {NAN}, for {program.outcome.family} outcomes under closed forms and "
            "lattices: check the data against the program, or fit by another recipe, as nuts"
        ) from error
    columns = task_columns_of(evidence)
    with jax.enable_x64(True):
        values = constrained(program, lifetimes, tasks, columns, discrete)
    shape = (settings.chains, settings.draws)
    return Posterior(
        Draws(
            {name: in_chains(x, shape) for name, x in values.items()},
            {},
            variables=program.variables,
        ),
        mixture=mixture_of(nested, outer) if not any(how.lattice) else None,
        means=None if how.tasks_are_summed else means_of(nested, outer, columns),
        log_evidence=outer.log_evidence,
        log_evidence_error=outer.error,
        log_evidence_by_task=outer.by_task,
        independent=True,
        warnings=tuple(warnings),
    )


@jit_by_work
def constrained(
    program: Program, lifetimes: Any, tasks: Any, columns: Any, discrete: Any
) -> dict[str, Array]:
    """Draws of coordinates, `[draw, ...]`, in the user's own space."""

    def one(xs: Any) -> dict[str, Array]:
        lifetime, task, assignment = xs
        return program.constrain(lifetime, task, columns, discrete=assignment)

    xs = (jnp.asarray(lifetimes), jnp.asarray(tasks), discrete)
    return jax.lax.map(one, xs, batch_size=100)


def means_of(nested: Nested, outer: Outer, columns: Any) -> dict[str, np.ndarray]:
    """Posterior means, node by node; of what moves in a straight line with what is integrated."""
    share = np.exp(outer.log_weights - outer.log_evidence)
    total: dict[str, np.ndarray] = {}
    straight: dict[str, bool] = {}
    for state, weight in enumerate(share):
        nodes, weights = np.zeros((1, 0)), np.ones(1)
        if outer.integrals:
            nodes, weights = outer.integrals[state].nodes_and_weights()
        kept = weights > NEGLIGIBLE
        which = np.full(int(kept.sum()), state)
        pairs = nested.centred_pairs(which, nodes[kept])
        found = []
        with jax.enable_x64(True):
            for lifetimes, tasks, discrete in pairs:
                values = constrained(nested.program, lifetimes, tasks, columns, discrete)
                found.append({name: np.asarray(x, np.float64) for name, x in values.items()})
        for name in found[0]:
            centre, up, down = (values[name] for values in found)
            size = np.abs(up - centre).max(initial=0.0) + 1e-300
            bent = np.abs(0.5 * (up + down) - centre).max(initial=0.0) / size
            straight[name] = straight.get(name, True) and bool(bent < STRAIGHT)
            own = np.tensordot(weights[kept] / weights[kept].sum(), centre, 1)
            total[name] = total.get(name, 0.0) + weight * own
    return {name: np.asarray(x) for name, x in total.items() if straight[name]}


def mixture_of(nested: Nested, outer: Outer) -> Mixture:
    """The belief about each task as Gaussians, one for each assignment of discrete latents."""
    program, how = nested.program, nested.split
    with jax.enable_x64(True):
        if how.tasks_are_summed:
            log_weights, loc, scale, discrete = _summed(nested, outer)
        else:
            log_weights, loc, scale, discrete = _arrows(nested, outer)
    log_weights, loc, scale = (jnp.asarray(x, jnp.float32) for x in (log_weights, loc, scale))
    arrays = {name: jnp.asarray(x) for name, x in discrete.items()}
    return Mixture(log_weights, loc, scale, program.latents, arrays)


def _arrows(nested: Nested, outer: Outer) -> tuple[Any, Any, Any, dict[str, Any]]:
    """One component for each assignment of the lifetime's discrete latents."""
    states = np.arange(nested.split.n_lifetime_states)
    lifetimes = np.zeros((len(states), nested.program.lifetime_size))
    components = []
    for real, _, found in nested.arrows(lifetimes, nested.split.lifetime_states):
        each = [jax.tree.map(lambda x, i=i: x[i], found) for i in range(real)]
        components += [quadratic.joint(one) for one in each]
    loc, scale = (jnp.stack(x, 1) for x in zip(*components, strict=True))
    log_weights = np.broadcast_to(outer.log_weights, loc.shape[:2])
    discrete = {
        name: np.broadcast_to(x, (nested.tasks, *x.shape))
        for name, x in nested.split.lifetime_states.items()
    }
    return log_weights - outer.log_evidence, loc, scale, discrete


def _summed(nested: Nested, outer: Outer) -> tuple[Any, Any, Any, dict[str, Any]]:
    """One component for each assignment of the lifetime's and of a task's discrete latents."""
    program, how, r = nested.program, nested.split, len(nested.split.linear.task)
    states, own = how.n_lifetime_states, how.n_task_states
    values, _ = nested.inner(np.arange(states), np.zeros((states, 0)))
    log_share = values - np.logaddexp.reduce(values, axis=2, keepdims=True)
    log_weights = (outer.log_weights - outer.log_evidence)[:, None, None] + log_share
    loc = np.zeros((states, nested.tasks, own, r))
    scale = np.zeros((states, nested.tasks, own, r, r))
    if r:
        index = np.indices((states, nested.tasks, own)).reshape(3, -1)
        args = index[0], np.zeros((index.shape[1], 0)), index[1], index[2]
        flat = loc.reshape(-1, r), scale.reshape(-1, r, r)
        nested.fill_gaussians(*args, *flat)
    lead = (nested.tasks, states * own)
    discrete = {}
    for scope in (how.lifetime_states, how.task_states):
        for name, x in scope.items():
            at = np.repeat(np.arange(states), own)
            at = at if program.latent(name).scope == LIFETIME else np.tile(np.arange(own), states)
            discrete[name] = np.broadcast_to(x[at], (nested.tasks, *x[at].shape))
    return (
        np.moveaxis(log_weights, 1, 0).reshape(lead),
        np.moveaxis(loc, 1, 0).reshape(*lead, r),
        np.moveaxis(scale, 1, 0).reshape(*lead, r, r),
        discrete,
    )
