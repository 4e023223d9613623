"""The density of a mixture in the user's own space, site by site."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from bayes_badger.belief.gaussian import log_terms, scale_tril_of_rows
from bayes_badger.belief.logs import log_sum_exp, normalised
from bayes_badger.belief.mixture import Mixture
from bayes_badger.belief.selection import in_vector, positions
from bayes_badger.errors import BadgerError, listed
from bayes_badger.program import TASK, Latent, Program


def log_prob_by_site(
    mixture: Mixture,
    program: Program,
    values: Mapping[str, ArrayLike],
    task_columns: Mapping[str, ArrayLike] | None = None,
) -> dict[str, Float[Array, ""]]:
    """Log density of each latent in the user's own space, in nats, given those before it.

    By the chain rule in the program's order, so that the sum is the joint log density of all. With
    u the coordinate of a site and v its value, log p(v | before) = log p(u | before) + log |du/dv|.

    Args:
        mixture: The belief about one task: over all latents of the program, or over its first ones
            (each site's coordinate depends on the sites before it).
        program: The program, in the coordinates of the belief.
        values: Of one task, in the user's own space, `[*shape]` by name, without an axis of tasks.
        task_columns: Columns of that task, `[...]` by name.

    Returns:
        A scalar for each latent of the belief. It is -inf for a discrete latent with a value that
        no component has, and for all that follow.

    Raises:
        BadgerError: Where the belief is not over the program's first latents, in its coordinates,
            or a value is missing or has another shape.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> from bayes_badger.belief import standard_normal
        >>> from bayes_badger.program import lift
        >>> def coin(toss, heads=None):
        ...     with numpyro.plate("task", toss.shape[0], dim=-2):
        ...         p = numpyro.sample("p", dist.Uniform(0, 4))
        ...         with numpyro.plate("step", toss.shape[1], dim=-1):
        ...             numpyro.sample("heads", dist.Bernoulli(p / 4), obs=heads)
        >>> program = lift(coin)
        >>> belief = standard_normal(program.latents)
        >>> densities = log_prob_by_site(belief, program, {"p": jnp.array(1.0)})
        >>> print(f"{densities['p']:.4f}")
        -1.3863
    """
    _check_latents(mixture.latents, program)
    _check_values(mixture.latents, values)
    discrete = {x.name: jnp.asarray(values[x.name]) for x in mixture.latents if x.discrete}
    given = {latent.name: jnp.asarray(values[latent.name]) for latent in mixture.latents}
    lead = {
        x.name: given[x.name][None] if x.scope == TASK else given[x.name] for x in mixture.latents
    }
    columns = {name: jnp.asarray(x)[None, None] for name, x in (task_columns or {}).items()}
    lifetime, task, log_jacobian = program.coordinates_and_log_jacobian(lead, columns, 1)
    places = positions(program.latents)
    rows = [i for latent in in_vector(mixture.latents) for i in places[latent.name]]
    u = jnp.concatenate([lifetime, task[0]])[np.asarray(rows, int)]
    return {
        name: density + log_jacobian[name].reshape(()) if name in log_jacobian else density
        for name, density in _in_turn(mixture, u, discrete).items()
    }


def _in_turn(
    mixture: Mixture, u: Float[Array, " d"], discrete: Mapping[str, Array]
) -> dict[str, Array]:
    """Log density of each latent's coordinate, or value, given those before it.

    One triangular factor in the program's order serves all: its rows are the conditionals.
    """
    places = positions(mixture.latents)
    rows = [i for latent in mixture.latents for i in places[latent.name]]
    index = np.asarray(rows, int)

    def of_component(loc: Array, scale_tril: Array) -> Array:
        return log_terms(u[index], loc[index], scale_tril_of_rows(scale_tril, rows))

    terms = jax.vmap(of_component)(mixture.loc, mixture.scale_tril)
    log_weights, start, densities = normalised(mixture.log_weights), 0, {}
    for latent in mixture.latents:
        if latent.discrete:
            same = mixture.agrees({latent.name: discrete[latent.name]})
            joint = jnp.where(same, log_weights, -jnp.inf)
        else:
            joint = log_weights + terms[:, start : start + latent.size].sum(-1)
            start += latent.size
        densities[latent.name] = log_sum_exp(joint)
        log_weights = normalised(joint)
    return densities


def _check_latents(latents: tuple[Latent, ...], program: Program) -> None:
    first = program.latents[: len(latents)]
    if latents == first:
        return
    names, wanted = [x.name for x in latents], [x.name for x in first]
    if names != wanted:
        raise BadgerError(
            f"the belief is over {listed(names, 12)}, but {program.name} begins with "
            f"{listed(wanted, 12)}: a site has a density of its own in the user's space only with "
            "those before it, so take a belief over all latents, or over the first ones"
        )
    kinds = {a.name: a.kind for a, b in zip(latents, first, strict=True) if a.kind != b.kind}
    mend = f"use program.with_coordinates({kinds})" if kinds else "lift the program it was made for"
    raise BadgerError(f"the belief and {program.name} have other coordinates: {mend}")


def _check_values(latents: tuple[Latent, ...], values: Mapping[str, ArrayLike]) -> None:
    for latent in latents:
        if latent.name not in values:
            raise BadgerError(f"no value of '{latent.name}': log_prob_by_site needs one for each")
        shape = jnp.shape(values[latent.name])
        if shape != latent.shape:
            raise BadgerError(
                f"'{latent.name}' has shape {shape}, but {latent.shape} for one task: "
                "map over tasks with eqx.filter_vmap"
            )
