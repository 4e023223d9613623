"""What the sites of a program must be, as far as shapes tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from bayes_badger.errors import BadgerError, listed
from bayes_badger.program.plates import DIMS, STEP, TASK
from bayes_badger.program.walk import Data, Plate, Site, family, walk
from bayes_badger.signature import Signature


class AbstractSite(NamedTuple):
    """What shapes tell of a site. It holds no array, so it can be read after its trace has ended.

    Attributes:
        kind: As of `Site`.
        plates: The plates around it.
        value: Shapes and dtypes of its value: a `jax.ShapeDtypeStruct`, or a tree of them.
        batch: Batch shape of its distribution; None where it has none, as in the next four.
        shape: Shape of one draw from it.
        family: Name of its distribution, without what is wrapped around it.
        support: Name of its support.
        discrete: Whether its support is discrete.
        scaled: Whether `handlers.scale` or `.mask` is around it.
    """

    kind: str
    plates: tuple[Plate, ...]
    value: Any
    batch: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    family: str = ""
    support: str = ""
    discrete: bool = False
    scaled: bool = False

    def inside(self, plate: str) -> bool:
        """Whether a plate of that name is around it."""
        return any(frame.name == plate for frame in self.plates)


def sites_of(
    model: Callable[..., Any], signature: Signature, data: Data, key: Array, outcome: str | None
) -> dict[str, AbstractSite]:
    """Walks once without computing anything: the sites have shapes, not values."""
    seen: dict[str, AbstractSite] = {}

    def trace(data: Data) -> None:
        walked = walk(model, signature, data, key=key, outcome_site=outcome)
        seen.update({name: _abstract(site) for name, site in walked.sites.items()})

    jax.eval_shape(trace, data)
    return seen


def support_name(site: Site) -> str:
    """The name of a site's support, without what is wrapped around it."""
    support = site.fn.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return type(support).__name__.strip("_").lower()


def _abstract(site: Site) -> AbstractSite:
    value = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), _dtype(x)), site.value)
    if site.fn is None or site.kind == "factor":
        return AbstractSite(site.kind, site.plates, value)
    return AbstractSite(
        site.kind,
        site.plates,
        value,
        batch=tuple(site.fn.batch_shape),
        shape=tuple(site.fn.shape()),
        family=type(family(site.fn)).__name__,
        support=support_name(site),
        discrete=bool(site.fn.support.is_discrete),
        scaled=site.scale is not None or _is_masked(site.fn),
    )


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


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
        if site.kind == "latent" and (site.batch or ())[-2:] == size
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
    sites: Mapping[str, AbstractSite],
    signature: Signature,
    data: Data,
    outcome: str,
    grown: Mapping[str, AbstractSite],
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
        batch, shape, more = site.batch or (), list(site.shape or ()), list(grown[name].shape or ())
        if site.scaled:
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
            del shape[len(batch) - 2], more[len(batch) - 2]
            if shape != more:
                raise _sized_by_rows(program, name)
        elif shape != more:
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


def _explain(
    sites: Mapping[str, AbstractSite], signature: Signature, size: tuple[int, int]
) -> None:
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
        batch = size if site.batch is None else site.batch[-2:]
        if site.inside(STEP) and batch != size:
            raise BadgerError(
                f"{program}: {name} has {' x '.join(map(str, batch))} values for {size[0]} tasks "
                f"of {size[1]} steps: keep every column's axes [task, step]"
            )
