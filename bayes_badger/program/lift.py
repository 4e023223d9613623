"""Lifts a NumPyro program: traces what it is made of, and proves that it keeps the contract."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions.transforms import biject_to

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.program.information import outcome_information
from bayes_badger.program.latent import LIFETIME, ROLES, TASK, Derived, Latent
from bayes_badger.program.prior_normal import has_closed_form, normal_shape
from bayes_badger.program.program import EXPECTED, OBSERVED, SIGMA_POINTS, Outcome, Program
from bayes_badger.program.proof import NotAcceptedError, latents_without_gradient, prove
from bayes_badger.program.signature import Signature, read_signature
from bayes_badger.program.structure import check_structure, find_outcome, sites_of
from bayes_badger.program.walk import UNCONSTRAINED, WHITENED, Data, Site, family, walk

# Unequal, and no divisors of one another, so that no axis can be taken for the other.
TASKS, STEPS = 5, 7


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
        model: The program: see `bayes_badger.program.signature` for what its parameters mean.
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
    signature = read_signature(model, name, groups)
    bound = _bind(model, signature, settings or {})
    key = jax.random.key(seed)
    if example is not None:
        return _lift(bound, signature, example, key)
    if inputs is not None:
        return _lift(bound, signature, from_inputs(signature, inputs, key, TASKS, STEPS), key)
    refusals = []
    for guess in _guesses(signature, key):
        try:
            return _lift(bound, signature, guess, key)
        except NotAcceptedError as error:
            refusals.append(error)
    raise refusals[0]


def _lift(model: Callable[..., Any], signature: Signature, example: Data, key: Array) -> Program:
    with _told(signature):
        outcome = find_outcome(model, signature, example, key)
        observed = _drawn(model, signature, example, outcome, key)
        data = example._replace(outcome=observed)
        sites = sites_of(model, signature, data, key, outcome)
        check_structure(
            sites, signature, data, outcome, _culprit(model, signature, data, outcome, key)
        )
        program = Program(
            name=signature.program,
            model=model,
            signature=signature,
            latents=_latents(sites),
            derived=_derived(model, signature, data, outcome, key, sites),
            outcome=_outcome(sites[outcome], outcome, observed),
            information=_information(model, signature, data, outcome, key),
            without_gradient=(),
            parameters=_parameters(model, signature, data, outcome, key, sites),
            example=data.task(slice(0, 1)).step(slice(0, 1)),
        )
        prove(program, data, key)
        blind = latents_without_gradient(program, data, key)
        information = SIGMA_POINTS if blind else program.information
        return dataclasses.replace(program, without_gradient=blind, information=information)


def _bind(
    model: Callable[..., Any], signature: Signature, settings: Mapping[str, Any]
) -> Callable[..., Any]:
    for key in settings:
        if key not in signature.settings:
            known = list(signature.settings)
            has = f"it has {listed(known)}" if known else "it has none"
            raise BadgerError(
                f"{signature.program} has no setting '{key}'{did_you_mean(key, known)}: {has}"
            )
    return functools.partial(model, **settings) if settings else model


def from_inputs(
    signature: Signature, inputs: Callable[..., Any], key: Array, tasks: int, steps: int
) -> Data:
    """The columns that a file's own `inputs(key, tasks, steps)` gives.

    Raises:
        BadgerError: Where it leaves a column out, or gives one of another shape.
    """
    given = inputs(key, tasks, steps)
    columns = {}
    for name in (*signature.columns, *signature.task_columns):
        expected = (tasks, steps if name in signature.columns else 1)
        shape = jnp.shape(given[name]) if name in given else None
        if shape is None or shape[:2] != expected:
            raise BadgerError(
                f"{signature.program}: inputs(key, {tasks}, {steps}) must give '{name}' with shape "
                f"{expected}, and gives {'nothing' if shape is None else shape}"
            )
        columns[name] = jnp.asarray(given[name])
    return Data(
        {name: columns[name] for name in signature.columns},
        {name: columns[name] for name in signature.task_columns},
    )


def _guesses(signature: Signature, key: Array) -> Iterator[Data]:
    """Columns to try a program on when there are none: any numbers, positive ones, then labels."""

    def made(kind: Callable[[Array, tuple[int, ...]], Array]) -> Data:
        keys = iter(jax.random.split(key, len(signature.names)))

        def draw(name: str, steps: int) -> Array:
            features = signature.groups.get(name)
            shape = (TASKS, steps) if features is None else (TASKS, steps, len(features))
            return kind(next(keys), shape)

        return Data(
            {name: draw(name, STEPS) for name in signature.columns},
            {name: draw(name, 1) for name in signature.task_columns},
        )

    yield made(jax.random.normal)
    yield made(lambda key, shape: jnp.exp(jax.random.normal(key, shape)))
    yield made(lambda key, shape: jax.random.randint(key, shape, 0, 2))


class _told:  # noqa: N801 - used as a function
    """Turns what a program raises when it is called into one line that names the program."""

    def __init__(self, signature: Signature) -> None:
        self.program = signature.program

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, BadgerError) or not isinstance(error, Exception):
            return
        where = _line_of(traceback)
        if isinstance(error, jax.errors.ConcretizationTypeError):
            raise NotAcceptedError(
                f"{self.program}{where} chooses by the value of its data or latents, which cannot "
                "be compiled: write jnp.where instead of if, and give sizes by x.shape"
            ) from error
        first = str(error).strip().splitlines()
        raise NotAcceptedError(
            f"{self.program}{where} fails on {TASKS} tasks of {STEPS} steps: "
            f"{type(error).__name__}: {first[0] if first else ''}"
        ) from error


def _line_of(traceback: Any) -> str:
    """Names the last line of the user's own code in a traceback."""
    found = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        own = "site-packages" in code.co_filename or "bayes_badger" in code.co_filename
        if not own and not code.co_filename.startswith("<frozen"):
            found = f", line {traceback.tb_lineno},"
        traceback = traceback.tb_next
    return found


def _drawn(
    model: Callable[..., Any], signature: Signature, data: Data, outcome: str, key: Array
) -> Array:
    """An outcome from the program itself, which is sure to be one that it can explain."""

    def draw(data: Data, key: Array) -> Any:
        done = walk(model, signature, data, key=key, outcome_site=outcome)
        return done.sites[outcome].value, done.state

    if not signature.stateful:
        return jax.jit(draw)(data._replace(outcome=None), key)[0]
    state, drawn = None, []
    for t in range(data.steps):
        value, state = jax.jit(draw)(
            data.step(slice(t, t + 1), state)._replace(outcome=None), jax.random.fold_in(key, t)
        )
        drawn.append(value)
    return jnp.concatenate(drawn, 1)


def _parameters(
    model: Callable[..., Any],
    signature: Signature,
    data: Data,
    outcome: str,
    key: Array,
    sites: Mapping[str, Site],
) -> dict[str, Any]:
    """The values that the program's own initialisers give its parameters."""
    names = [name for name, site in sites.items() if site.kind == "parameter"]
    if not names:
        return {}

    def values(data: Data, key: Array) -> dict[str, Any]:
        done = walk(model, signature, data, key=key, outcome_site=outcome)
        return {name: done.sites[name].value for name in names}

    return jax.jit(values)(data, key)


def _information(
    model: Callable[..., Any], signature: Signature, data: Data, outcome: str, key: Array
) -> str:
    """Whether the outcome's family has its Fisher information in closed form."""
    known = []

    def ask(data: Data) -> None:
        done = walk(model, signature, data, key=key, outcome_site=outcome)
        known.append(outcome_information(done.sites[outcome].fn) is not None)

    jax.eval_shape(ask, data)
    return EXPECTED if known[0] else OBSERVED


def _culprit(
    model: Callable[..., Any], signature: Signature, data: Data, outcome: str, key: Array
) -> Callable[[str], str]:
    """Finds the column that gives a latent a value per row: with one row of it, it has not."""

    def mend(latent: str) -> str:
        for name, x in data.columns.items():
            one = data._replace(columns={**data.columns, name: x[:, :1]})
            try:
                sites = sites_of(model, signature, one, key, outcome)
            except Exception:  # noqa: S112 - a column that cannot be shortened is not it
                continue
            if sites[latent].fn.batch_shape[-1] == 1:
                return f"make {name} keyword-only"
        return "make the column it depends on keyword-only"

    return mend


def _latents(sites: Mapping[str, Site]) -> tuple[Latent, ...]:
    latents = []
    for name, site in sites.items():
        if site.kind != "latent":
            continue
        scope = TASK if site.inside(TASK) else LIFETIME
        axis = len(site.fn.batch_shape) - 2 if scope == TASK else None
        squeeze = scope == TASK and not any(plate.dim == -1 for plate in site.plates)
        value_shape = list(jnp.shape(site.value))
        if axis is not None:
            del value_shape[axis : axis + 1 + squeeze]
        shapes = _coordinate_shapes(site, axis)
        kind = shapes[0][0] if shapes else "none"
        latents.append(
            Latent(
                name=name,
                scope=scope,
                role=site.role or ROLES[scope],
                shape=tuple(value_shape),
                family=type(family(site.fn)).__name__,
                support=_support_name(site),
                kind=kind,
                shapes=shapes,
                task_axis=axis,
                squeeze=squeeze,
                closed_form=kind == WHITENED and has_closed_form(site.fn),
            )
        )
    return tuple(latents)


def _coordinate_shapes(
    site: Site, task_axis: int | None
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The coordinates a latent can have, best first; the axis of tasks left out."""
    if site.fn.support.is_discrete:
        return ()

    def without_tasks(shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if task_axis is None else shape[:task_axis] + shape[task_axis + 1 :]

    shapes = []
    whitened = normal_shape(site.fn)
    if whitened is not None:
        shapes.append((WHITENED, without_tasks(tuple(whitened))))
    try:
        free = tuple(biject_to(site.fn.support).inverse_shape(site.fn.shape()))
        shapes.append((UNCONSTRAINED, without_tasks(free)))
    except NotImplementedError:
        if whitened is None:
            raise BadgerError(
                f"{site.fn} has a support that cannot be mapped to the real line: "
                "choose another distribution"
            ) from None
    return tuple(shapes)


def _support_name(site: Site) -> str:
    support = site.fn.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return type(support).__name__.strip("_").lower()


def _derived(
    model: Callable[..., Any],
    signature: Signature,
    data: Data,
    outcome: str,
    key: Array,
    sites: Mapping[str, Site],
) -> tuple[Derived, ...]:
    """Finds which axis of each deterministic follows the tasks, by changing their number."""
    names = [name for name, site in sites.items() if site.kind == "deterministic"]
    if not names:
        return ()

    def shapes(tasks: int, steps: int) -> dict[str, tuple[int, ...]]:
        rows, cells = np.arange(tasks) % data.tasks, np.arange(steps) % data.steps
        some = data.task(rows).step(cells)

        def values(some: Data) -> dict[str, Any]:
            done = walk(model, signature, some, key=key, outcome_site=outcome)
            return {name: done.sites[name].value for name in names}

        return {k: tuple(v.shape) for k, v in jax.eval_shape(values, some).items()}

    base = shapes(TASKS, STEPS)
    more_tasks, more_steps = shapes(TASKS + 1, STEPS), shapes(TASKS, STEPS + 1)
    derived = []
    for name in names:
        if base[name] != more_steps[name]:
            continue  # it has a value per row: predictions are had from the predictive
        moved = [
            i for i, (a, b) in enumerate(zip(base[name], more_tasks[name], strict=True)) if a != b
        ]
        axis = moved[0] if moved else None
        shape = list(base[name])
        squeeze = axis is not None and axis + 1 < len(shape) and shape[axis + 1] == 1
        if axis is not None:
            del shape[axis : axis + 1 + squeeze]
        scope = LIFETIME if axis is None else TASK
        derived.append(Derived(name, scope, tuple(shape), axis, squeeze))
    return tuple(derived)


def _outcome(site: Site, name: str, value: Array) -> Outcome:
    discrete = bool(site.fn.support.is_discrete)
    return Outcome(
        site=name,
        family=type(family(site.fn)).__name__,
        support=_support_name(site),
        discrete=discrete,
        shape=tuple(value.shape[2:]),
    )
