"""One walk through a NumPyro program: the only place that touches effect handlers.

A walk calls the user's function once, with every latent given (by value, by coordinate, or drawn
with a key), and returns what happened at each site. Everything that a lifted program can do is
made of walks. One thread at a time walks (`tracing`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, PRNGKeyArray, PyTree
from numpyro import handlers
from numpyro.distributions.transforms import biject_to
from numpyro.primitives import Messenger

from bayes_badger.program.plates import PlateGuard
from bayes_badger.program.prior_normal import from_normal, to_normal
from bayes_badger.program.support import settled
from bayes_badger.program.tracing import TRACING
from bayes_badger.signature import STATE, Signature

WHITENED, UNCONSTRAINED = "whitened", "unconstrained"


class Data(NamedTuple):
    """What a program is called with: `tasks` tasks of `steps` steps each.

    Attributes:
        columns: Evidence, by name: `[task, step, ...]`.
        task_columns: Columns of the task, by name: `[task, 1, ...]`.
        outcome: `[task, step, ...]`, or None to draw it.
        state: What an earlier call of a stateful program returned, or None at the start.
    """

    columns: Mapping[str, Array]
    task_columns: Mapping[str, Array]
    outcome: Array | None = None
    state: PyTree = None

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return next(iter(self.columns.values())).shape[0]

    @property
    def steps(self) -> int:
        """Number of steps of each task."""
        return next(iter(self.columns.values())).shape[1]

    @property
    def answers(self) -> Array:
        """The outcome, where there must be one."""
        if self.outcome is None:
            raise ValueError("these data have no outcome")
        return self.outcome

    def in_working_precision(self) -> Data:
        """The same with numbers as wide as JAX computes: 64 bits under `jax.enable_x64`.

        Columns are read with 32 bits. NumPyro's samplers and users' scans cannot mix the two.
        """

        def wide(x: Any) -> Any:
            kinds = ((jnp.signedinteger, int), (jnp.floating, float))
            to = [y for kind, y in kinds if jnp.issubdtype(x.dtype, kind)]
            return jnp.asarray(x, jax.dtypes.canonicalize_dtype(to[0])) if to else x

        columns, task_columns = ({k: wide(v) for k, v in x.items()} for x in self[:2])
        outcome = None if self.outcome is None else wide(self.outcome)
        return Data(columns, task_columns, outcome, self.state)

    def task(self, index: Any) -> Data:
        """The data of one task, or of several."""
        return self._replace(
            columns={k: _taken(v, index) for k, v in self.columns.items()},
            task_columns={k: _taken(v, index) for k, v in self.task_columns.items()},
            outcome=None if self.outcome is None else _taken(self.outcome, index),
            state=jax.tree.map(lambda x: _taken(x, index), self.state),
        )

    def step(self, index: Any, state: PyTree = None) -> Data:
        """The data of some steps of every task, `index` a slice; with the state before them."""
        return self._replace(
            columns={k: _taken(v, index, axis=1) for k, v in self.columns.items()},
            outcome=None if self.outcome is None else _taken(self.outcome, index, axis=1),
            state=state,
        )


def _taken(x: Any, index: Any, axis: int = 0) -> Array:
    """Some entries: on the host where they are known there, for there nothing is compiled."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((x, index))):
        return x[index] if axis == 0 else x[:, index]
    x, size = np.asarray(x), x.shape[axis]
    if isinstance(index, slice):
        index = np.arange(size)[index]
    # As JAX does, the last one stands for what is beyond.
    index = np.minimum(np.asarray(index), size - 1)
    return jnp.asarray(np.take(x, index, axis))


class Plate(NamedTuple):
    """A plate around a site: its name, its dim (negative) and its size."""

    name: str
    dim: int
    size: int


class Site(NamedTuple):
    """What happened at one site.

    Attributes:
        kind: "latent", "outcome", "observed", "factor", "deterministic" or "parameter".
        fn: Its distribution; None where it has none.
        value: What it took.
        plates: The plates around it.
        role: The user's own label, `infer={"role": ...}`, or None.
        log_density: Of its coordinate, `[batch]`; None where it was not given by coordinate.
        scale: What `handlers.scale` multiplies its log density by, or None.
        constraint: The support of a parameter, or None.
        labels: What the user calls its values, `infer={"labels": [...]}`; empty for none.
    """

    kind: str
    fn: Any
    value: Any
    plates: tuple[Plate, ...]
    role: str | None = None
    log_density: Any = None
    scale: Any = None
    constraint: Any = None
    labels: tuple[str, ...] = ()

    @property
    def log_prob(self) -> Array:
        """Log density of the value in the user's own space, `[batch]`, in nats."""
        value = settled(self.fn, self.value) if self.kind == "outcome" else self.value
        log_prob = self.fn.log_prob(value)
        return log_prob if self.scale is None else self.scale * log_prob

    def inside(self, plate: str) -> bool:
        """Whether a plate of that name is around it."""
        return any(frame.name == plate for frame in self.plates)


class Walk(NamedTuple):
    """All sites, in the program's own order, and the state it returned."""

    sites: dict[str, Site]
    state: PyTree


def walk(
    model: Callable[..., Any],
    signature: Signature,
    data: Data,
    *,
    key: PRNGKeyArray,
    outcome_site: str | None = None,
    values: Mapping[str, Array] | None = None,
    coordinates: Mapping[str, Array] | None = None,
    kinds: Mapping[str, str] | None = None,
    parameters: Mapping[str, PyTree] | None = None,
) -> Walk:
    """Calls the program once.

    Args:
        model: The program, with its settings bound.
        signature: What it asks for.
        data: What it is called with.
        key: For latents that are not given, for the outcome, and for `numpyro.prng_key()`.
        outcome_site: The name of the outcome's site; None while it is not known.
        values: Latents by value, shaped as their sites.
        coordinates: Latents by coordinate, shaped as their sites.
        kinds: Which coordinate each has, "whitened" (prior-normal) or "unconstrained".
        parameters: Values of the `numpyro.param` sites.

    Raises:
        BadgerError: Where a plate has not the size of the data.
    """
    data = data.in_working_precision()
    placed = _Place(coordinates or {}, kinds or {})
    kwargs: dict[str, Any] = {**data.task_columns, signature.outcome: data.outcome}
    if signature.stateful:
        kwargs[STATE] = data.state
    with (
        TRACING,
        handlers.trace() as trace,
        handlers.substitute(data={**(values or {}), **(parameters or {})}),
        handlers.seed(rng_seed=key, hide_types=["plate"]),
        PlateGuard(signature, data.tasks, data.steps),
        placed,
    ):
        state = model(*(data.columns[name] for name in signature.columns), **kwargs)
    sites = {}
    for name, message in trace.items():
        kind = _kind(message, name, outcome_site)
        if kind is None:
            continue
        frames = message.get("cond_indep_stack", ())
        sites[name] = Site(
            kind=kind,
            fn=message.get("fn") if message["type"] == "sample" else None,
            value=message["value"],
            plates=tuple(Plate(frame.name, frame.dim, frame.size) for frame in frames),
            role=(message.get("infer") or {}).get("role"),
            log_density=placed.log_density.get(name),
            scale=message.get("scale"),
            constraint=(message.get("kwargs") or {}).get("constraint"),
            labels=tuple(str(x) for x in (message.get("infer") or {}).get("labels", ())),
        )
    return Walk(sites, state if signature.stateful else None)


def to_coordinate(fn: dist.Distribution, value: Array, kind: str) -> Array:
    """A latent's coordinate at a value: the inverse of what a walk does with a coordinate."""
    return to_normal(fn, value) if kind == WHITENED else biject_to(fn.support).inv(value)


class _Place(Messenger):
    """Puts latents at given coordinates."""

    def __init__(self, coordinates: Mapping[str, Array], kinds: Mapping[str, str]) -> None:
        super().__init__()
        self.coordinates, self.kinds = coordinates, kinds
        self.log_density: dict[str, Array] = {}

    def process_message(self, msg: Any) -> None:
        if msg["type"] != "sample" or msg["name"] not in self.coordinates:
            return
        fn, u, kind = msg["fn"], self.coordinates[msg["name"]], self.kinds[msg["name"]]
        if kind == WHITENED:
            msg["value"] = from_normal(fn, u)
            log_density = -0.5 * (u**2 + jnp.log(2 * jnp.pi))
            event = u.ndim - len(fn.batch_shape)
            self.log_density[msg["name"]] = log_density.sum(tuple(range(u.ndim - event, u.ndim)))
        else:
            bijection = biject_to(fn.support)
            value = bijection(u)
            msg["value"] = value
            log_det = bijection.log_abs_det_jacobian(u, value)
            extra = jnp.ndim(log_det) - len(fn.batch_shape)
            if extra > 0:
                log_det = log_det.sum(tuple(range(-extra, 0)))
            self.log_density[msg["name"]] = fn.log_prob(value) + log_det


def _kind(message: Any, name: str, outcome_site: str | None) -> str | None:
    if message["type"] == "param":
        return "parameter"
    if message["type"] == "deterministic":
        return "deterministic"
    if message["type"] != "sample":
        return None
    if name == outcome_site:
        return "outcome"
    if not message["is_observed"]:
        return "latent"
    return "factor" if isinstance(family(message["fn"]), dist.Unit) else "observed"


def family(fn: dist.Distribution) -> dist.Distribution:
    """The distribution inside what plates, `.to_event` and `.mask` wrap around it.

    Example:
        >>> type(family(dist.Poisson(1.0).expand((3,)).to_event(1))).__name__
        'Poisson'
    """
    wrappers = (dist.ExpandedDistribution, dist.Independent, dist.MaskedDistribution)
    while isinstance(fn, wrappers):
        fn = fn.base_dist
    return fn
