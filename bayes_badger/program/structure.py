"""What the sites of a program must be, as far as shapes tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from bayes_badger.errors import BadgerError, listed
from bayes_badger.program.plates import DIMS, STEP, TASK
from bayes_badger.program.walk import Data, Site, walk
from bayes_badger.signature import Signature


def sites_of(
    model: Callable[..., Any], signature: Signature, data: Data, key: Array, outcome: str | None
) -> dict[str, Site]:
    """Walks once without computing anything: the sites have shapes, not values."""
    seen: dict[str, Site] = {}

    def trace(data: Data) -> None:
        seen.update(walk(model, signature, data, key=key, outcome_site=outcome).sites)

    jax.eval_shape(trace, data)
    return seen


def find_outcome(model: Callable[..., Any], signature: Signature, data: Data, key: Array) -> str:
    """The site that is observed with the outcome given, and not without it.

    Raises:
        BadgerError: If no site is, or several are.
    """
    program, argument = signature.program, signature.outcome
    some = data.step(slice(0, 1)) if signature.stateful else data
    free = sites_of(model, signature, some._replace(outcome=None), key, None)
    size = (some.tasks, some.steps)
    fitting = [
        name
        for name, site in free.items()
        if site.kind == "latent" and tuple(site.fn.batch_shape[-2:]) == size
    ]
    for name in sorted(fitting, key=lambda name: name != argument):
        value = free[name].value
        given = some._replace(outcome=jnp.zeros(value.shape, value.dtype))
        try:
            seen = sites_of(model, signature, given, key, None)
        except (TypeError, ValueError):
            continue  # not a value that the outcome can have
        observed = [
            n for n, site in seen.items() if site.kind == "observed" and free[n].kind == "latent"
        ]
        if len(observed) > 1:
            raise BadgerError(
                f"{program}: {listed(observed)} are all observed with {argument}: a program has "
                "one outcome; gather them on one axis with .to_event(1)"
            )
        if observed == [name]:
            return name
    _explain(free, signature, size)
    raise BadgerError(
        f"{program}: no site is observed with '{argument}': "
        f"write numpyro.sample('{argument}', ..., obs={argument}) inside plate 'step'"
    )


def check_structure(
    sites: dict[str, Site],
    signature: Signature,
    data: Data,
    outcome: str,
    grown: Mapping[str, Site],
    culprit: Callable[[str], str],
) -> None:
    """Refuses sites that stand where they cannot be.

    Args:
        sites: Of a walk with the outcome given.
        signature: What the program asks for.
        data: What it was called with.
        outcome: The outcome's site.
        grown: The sites with more tasks and more steps.
        culprit: Names the column that gives a latent a value per row.

    Raises:
        BadgerError: For the first that does.
    """
    program = signature.program
    _explain({outcome: sites[outcome]}, signature, (data.tasks, data.steps))
    for name, site in sites.items():
        if site.kind in ("observed", "factor") and site.inside(STEP):
            what = "is a factor" if site.kind == "factor" else "is observed"
            raise BadgerError(
                f"{program}: site '{name}' {what} for each row, but only '{outcome}' is the "
                f"outcome: make it part of {signature.outcome}, gathered on one axis"
            )
        if site.kind != "latent":
            continue
        batch = tuple(site.fn.batch_shape)
        if site.scale is not None or _is_masked(site.fn):
            raise BadgerError(
                f"{program}: latent '{name}' is inside handlers.scale or .mask, which changes its "
                "prior in silence: write the prior that is meant, and mask the outcome alone"
            )
        if site.inside(STEP):
            raise BadgerError(
                f"{program}: latent '{name}' is inside plate 'step', so that every row has its "
                "own: move it out of plate 'step', or integrate it out of the outcome"
            )
        if site.inside(TASK):
            own_plate = any(plate.dim == -1 for plate in site.plates)
            if batch[-1] != 1 and not own_plate:
                raise BadgerError(
                    f"{program}: {name} has {data.tasks} x {batch[-1]} values for {data.tasks} "
                    f"tasks: {culprit(name)}"
                )
            shape, more = list(site.fn.shape()), list(grown[name].fn.shape())
            del shape[len(batch) - 2], more[len(batch) - 2]
            if shape != more:
                raise _sized_by_rows(program, name)
        elif site.fn.shape() != grown[name].fn.shape():
            if batch[-2:] not in ((data.tasks, 1), (data.tasks, data.steps)):
                raise _sized_by_rows(program, name)
            raise BadgerError(
                f"{program}: {name} has {' x '.join(map(str, batch))} values outside plate 'task': "
                "move it inside, or do not let a lifetime's latent depend on columns"
            )


def _sized_by_rows(program: str, name: str) -> BadgerError:
    return BadgerError(
        f"{program}: latent '{name}' has as many values as there are steps or tasks, but these "
        "differ from call to call: give it a fixed size, and index it by a column"
    )


def _is_masked(fn: Any) -> bool:
    while hasattr(fn, "base_dist"):
        if isinstance(fn, dist.MaskedDistribution):
            return True
        fn = fn.base_dist
    return False


def _explain(sites: dict[str, Site], signature: Signature, size: tuple[int, int]) -> None:
    """Says what is wrong with plates that some site should be in."""
    program, column = signature.program, signature.columns[0]
    frames = {plate.name for site in sites.values() for plate in site.plates}
    for axis, plate in enumerate((TASK, STEP)):
        if plate not in frames:
            raise BadgerError(
                f"{program}: the outcome is not inside a plate named '{plate}': "
                f"write with numpyro.plate('{plate}', {column}.shape[{axis}], dim={DIMS[plate]})"
            )
    for name, site in sites.items():
        beside = [p.name for p in site.plates if p.name not in DIMS]
        if site.kind != "latent" and site.inside(STEP) and beside:
            raise BadgerError(
                f"{program}: the outcome '{name}' is in plate '{beside[0]}' beside task and step: "
                "gather it on one axis, by .to_event(1)"
            )
        batch = tuple(site.fn.batch_shape)[-2:] if site.fn is not None else size
        if site.inside(STEP) and batch != size:
            raise BadgerError(
                f"{program}: {name} has {' x '.join(map(str, batch))} values for {size[0]} tasks "
                f"of {size[1]} steps: keep every column's axes [task, step]"
            )
