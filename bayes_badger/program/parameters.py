"""Parameters of a program as an optimiser moves them: without bounds, and as a table of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree
from numpyro.distributions.transforms import biject_to

from bayes_badger.errors import BadgerError, listed
from bayes_badger.program.program import Program


def free(program: Program) -> dict[str, PyTree]:
    """Its parameters without bounds: each leaf where its constraint's bijection comes from."""
    constraints = program.constraints
    return {
        name: jax.tree.map(lambda x, c=constraints[name]: _inverse(c, jnp.asarray(x)), tree)
        for name, tree in program.parameters.items()
    }


def bound(program: Program, parameters: Mapping[str, PyTree]) -> Program:
    """The program with parameters that are given without bounds: the inverse of `free`."""
    constraints = program.constraints
    return dataclasses.replace(
        program,
        parameters={
            name: jax.tree.map(lambda x, c=constraints[name]: _forward(c, x), tree)
            for name, tree in parameters.items()
        },
    )


def at_start(program: Program) -> Program:
    """The program with the parameters that its own initialisers give, before anything is learned.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("sinusoid_prior", tasks=2, steps=2, outer_steps=0)
        >>> bool((at_start(run.program).parameters["mean"] == run.parameters["mean"]).all())
        True
    """
    # Here, since that file builds on what this one builds on.
    from bayes_badger.program.found import Trial, initial_parameters

    data = program.example
    if data.outcome is None:
        data = data._replace(outcome=program.simulate(jax.random.key(0), data).outcome)
    trial = Trial(program.model, program.signature, data, program.outcome.site, jax.random.key(0))
    return dataclasses.replace(program, parameters=initial_parameters(trial, trial.sites(data)))


def as_table(program: Program) -> dict[str, np.ndarray]:
    """Its parameters as arrays by name, `net$params.layers[0].weight`: what is stored."""
    leaves = jax.tree_util.tree_leaves_with_path(program.parameters)
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def from_table(program: Program, table: Mapping[str, np.ndarray]) -> Program:
    """The program with parameters from a table.

    Raises:
        BadgerError: Where names or shapes are not the program's.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(program.parameters)
    wanted = {_name(path): np.shape(leaf) for path, leaf in paths}
    found = {name: np.shape(x) for name, x in table.items()}
    if wanted != found:
        odd = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise BadgerError(f"{program.name} has other parameters than were stored: {listed(odd)}")
    leaves = [jnp.asarray(table[_name(path)]) for path, _ in paths]
    return dataclasses.replace(program, parameters=jax.tree.unflatten(tree, leaves))


def _name(path: Any) -> str:
    first, *rest = path
    return str(first.key) + jax.tree_util.keystr(tuple(rest))


def _moves(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _forward(constraint: Any, x: Array) -> Array:
    return biject_to(constraint)(x) if constraint is not None and _moves(x) else x


def _inverse(constraint: Any, x: Array) -> Array:
    return biject_to(constraint).inv(x) if constraint is not None and _moves(x) else x


def moving_supports(program: Program) -> tuple[str, ...]:
    """Latents whose support moves with the parameters, as of `Uniform(0, longest)`."""

    def bounds(parameters: Mapping[str, PyTree]) -> dict[str, list[Any]]:
        walked = dataclasses.replace(program, parameters=dict(parameters)).walk_at(
            {}, program.example
        )
        names = [latent.name for latent in program.latents]
        return {name: jax.tree.leaves(walked.sites[name].fn.support) for name in names}

    def alike(x: Any, y: Any) -> bool:
        return bool(np.array_equal(np.asarray(x), np.asarray(y)))

    here = bounds(program.parameters)
    away = bounds(bound(program, jax.tree.map(_elsewhere, free(program))).parameters)
    return tuple(name for name in here if not all(map(alike, here[name], away[name])))


def _elsewhere(x: Array) -> Array:
    return x + 0.1 if _moves(x) else x
