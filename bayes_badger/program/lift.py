"""Lifts a NumPyro program: traces what it is made of, and proves that it keeps the contract."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import Array

from bayes_badger.errors import BadgerError
from bayes_badger.program.crowding import forget_if_crowded
from bayes_badger.program.examples import STEPS, TASKS, from_inputs, guesses
from bayes_badger.program.found import (
    Trial,
    derived_of,
    drawn_outcome,
    information_is_known,
    initial_parameters,
    latents_of,
    mend_value_per_row,
    outcome_of,
)
from bayes_badger.program.program import EXPECTED, OBSERVED, SIGMA_POINTS, Program
from bayes_badger.program.proof import NotAcceptedError, latents_without_gradient, prove
from bayes_badger.program.structure import check_structure, find_outcome
from bayes_badger.program.support import support_moves
from bayes_badger.program.told import told
from bayes_badger.program.walk import Data
from bayes_badger.signature import Signature, read_signature


def lift(
    model: Callable[..., Any],
    *,
    example: Data | None = None,
    settings: Mapping[str, Any] | None = None,
    groups: Mapping[str, Any] | None = None,
    inputs: Callable[..., Mapping[str, Array]] | None = None,
    name: str | None = None,
    seed: int = 0,
) -> Program:
    """Lifts a program: from a NumPyro function to pure functions of one flat vector.

    The contract is proved numerically, on 5 tasks of 7 steps: the likelihood of all at once, of one
    task at a time and of one step at a time must agree, and a row's likelihood must not move when
    other rows do.

    Args:
        model: The program: see `bayes_badger.signature` for what its parameters mean.
        example: Rows that it is known to accept, `[5, 7, ...]`, best drawn from the user's data.
        settings: Values of its settings, instead of their defaults.
        groups: Table columns behind a column, `{"X": ["x1", "x2"]}`.
        inputs: `inputs(key, tasks, steps)` gives columns where there is no example.
        name: What messages call the program.
        seed: Of the draws with which the contract is proved, and of `numpyro.prng_key()`.

    Raises:
        BadgerError: Where the program does not keep the contract, with the line to write instead.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> def coin(toss, heads=None):
        ...     with numpyro.plate("task", toss.shape[0], dim=-2):
        ...         p = numpyro.sample("p", dist.Uniform(0, 1))
        ...         with numpyro.plate("step", toss.shape[1], dim=-1):
        ...             numpyro.sample("heads", dist.Bernoulli(p), obs=heads)
        >>> program = lift(coin)
        >>> [(latent.name, latent.scope) for latent in program.latents], program.size
        ([('p', 'task')], 1)
    """
    forget_if_crowded()
    signature = read_signature(model, name, groups)
    bound = _bind(model, signature, settings or {})
    key = jax.random.key(seed)
    if example is not None:
        return _lift(bound, signature, example, key)
    if inputs is not None:
        return _lift(bound, signature, from_inputs(signature, inputs, key, TASKS, STEPS), key)
    refusals = []
    for guess in guesses(signature, key):
        try:
            return _lift(bound, signature, guess, key)
        except NotAcceptedError as error:
            refusals.append(error)
    raise refusals[0]


def _lift(model: Callable[..., Any], signature: Signature, example: Data, key: Array) -> Program:
    with told(signature):
        outcome = find_outcome(model, signature, example, key)
        trial = Trial(model, signature, example, outcome, key)
        data = example._replace(outcome=drawn_outcome(trial))
        trial = trial._replace(data=data)
        sites = trial.sites(data)
        mend = functools.partial(mend_value_per_row, trial)
        check_structure(sites, signature, data, outcome, trial.grown(1, 1), mend)
        program = Program(
            name=signature.program,
            model=model,
            signature=signature,
            latents=latents_of(trial),
            derived=derived_of(trial, sites),
            outcome=outcome_of(trial, sites[outcome]),
            information=EXPECTED if information_is_known(trial) else OBSERVED,
            without_gradient=(),
            left_out=(),
            parameters=initial_parameters(trial, sites),
            example=data.task(slice(0, 1)).step(slice(0, 1)),
        )
        _check_labels(program)
        if support_moves(program, data, key):
            moves = dataclasses.replace(program.outcome, support_moves=True)
            program = dataclasses.replace(program, outcome=moves)
        astray = prove(program, data, key)
        blind = latents_without_gradient(program, data, key)
        derived = tuple(x for x in program.derived if x.name not in astray)
        named = {name for name, site in sites.items() if site.kind == "deterministic"}
        return dataclasses.replace(
            program,
            derived=derived,
            left_out=tuple(sorted(named - {x.name for x in derived})),
            without_gradient=blind,
            information=SIGMA_POINTS if blind else program.information,
        )


def _check_labels(program: Program) -> None:
    """That values which have names have one each."""
    for latent in program.latents:
        values = program.enumerate_support(latent.name) if latent.labels else None
        if values is not None and len(latent.labels) != len(values):
            raise BadgerError(
                f"{program.name}: {latent.name} has {len(values)} values and "
                f'{len(latent.labels)} labels: give each a name, infer={{"labels": [...]}}'
            )


def _bind(
    model: Callable[..., Any], signature: Signature, settings: Mapping[str, Any]
) -> Callable[..., Any]:
    signature.check_settings(settings)
    return _Bound(model, **settings) if settings else model


class _Bound(functools.partial[Any]):
    """A program with settings; equal to another with the same, so that it is not compiled again."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Bound):
            return NotImplemented
        return self._told() == other._told()

    def __hash__(self) -> int:
        return hash(self._told())

    def _told(self) -> tuple[Any, ...]:
        """What tells it apart: 1, 1.0 and True do. With what may change later it is only itself."""
        values = [*enumerate(self.args), *self.keywords.items()]
        if not all(type(x) in _PLAIN for _, x in values):
            return (id(self),)
        return id(self.func), *((name, type(x), repr(x)) for name, x in values)


_PLAIN = (bool, int, float, str, type(None))
