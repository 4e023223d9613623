"""Posteriors of small programs by dense quadrature, or by long NUTS, with NumPyro alone.

Nothing of Bayes Badger is used: the log densities are those of NumPyro's traces, in double
precision, in the coordinates of `biject_to`. Where what tasks share and one task's own latents have
three such coordinates together at most, all are laid on a lattice: a trapezoidal rule in t, where
sinh(t) is the coordinate, so that heavy tails end. Discrete latents are summed. The lattice is laid
first wide, then twice around the mass that was found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size
from numpyro.distributions import constraints
from numpyro.distributions.transforms import biject_to
from numpyro.infer import MCMC, NUTS
from scipy.special import logsumexp

BATCH, FAR, NEGLIGIBLE = 4096, 12.0, 35.0
# Kurtosis of a heavy tail; a number of no more values than this is discrete.
HEAVY, DISCRETE = 9.0, 20
# Nodes of each continuous coordinate, by how many what is shared and a task have.
NODES = {
    (0, 0): (1, 1), (0, 1): (1, 2001), (0, 2): (1, 301), (0, 3): (1, 81), (1, 0): (2001, 1),
    (2, 0): (301, 1), (3, 0): (81, 1), (1, 1): (121, 641), (1, 2): (41, 51), (2, 1): (41, 101),
}  # fmt: skip
WARMUP, DRAWS, CHAINS = 1000, 3000, 4


class Part(NamedTuple):
    """One latent: where it stands in the vector of its scope, and what it may be."""

    name: str
    of_task: bool
    start: int
    shape: tuple[int, ...]
    support: tuple[int, ...] | None

    @property
    def size(self) -> int:
        """Its coordinates."""
        return int(np.prod(self.shape))


class Weighed(NamedTuple):
    """One number of the posterior: values with weights that sum to 1.

    Attributes:
        values: `[n]`.
        weights: `[n]`.
        effective: How many independent draws they are worth; infinite for quadrature.
    """

    values: np.ndarray
    weights: np.ndarray
    effective: float

    def moments(self) -> tuple[float, float, float]:
        """Mean, standard deviation and kurtosis."""
        mean = self.weights @ self.values
        away = self.values - mean
        variance = self.weights @ away**2
        return mean, np.sqrt(variance), self.weights @ away**4 / max(variance, 1e-150) ** 2

    def quantiles(self, at: np.ndarray) -> np.ndarray:
        """Quantiles at these probabilities."""
        order = np.argsort(self.values)
        return np.interp(at, np.cumsum(self.weights[order]), self.values[order])


class Known(NamedTuple):
    """What is kept of one number of a reference, and compared.

    Attributes:
        mean: Of the posterior.
        sd: Of the posterior.
        kurtosis: Of the posterior; above `HEAVY` means and standard deviations say little.
        quartiles: The three of them.
        bent: Mean, standard deviation and kurtosis of arcsinh((value - median) / interquartile
            range) in place of the value where the tails are heavy; None where they are not, or
            where the value is discrete.
        effective: How many independent draws it rests on; infinite for quadrature.
    """

    mean: float
    sd: float
    kurtosis: float
    quartiles: tuple[float, float, float]
    bent: tuple[float, float, float] | None
    effective: float


def known(number: Weighed) -> Known:
    """The summary of one number."""
    mean, sd, kurtosis = map(float, number.moments())
    low, middle, high = map(float, number.quantiles(np.array([0.25, 0.5, 0.75])))
    bent = None
    if kurtosis > HEAVY and len(np.unique(number.values)) > DISCRETE:
        values = np.arcsinh((number.values - middle) / (high - low))
        bent = tuple(map(float, number._replace(values=values).moments()))
    return Known(mean, sd, kurtosis, (low, middle, high), bent, number.effective)


def as_json(found: Reference | str) -> dict[str, Any]:
    """A reference as what JSON can hold."""
    if isinstance(found, str):
        return {"none": found}
    numbers = [[list(name), *each] for name, each in found.numbers.items()]
    return found._asdict() | {"numbers": numbers}


def from_json(kept: dict[str, Any]) -> Reference | str:
    """The reverse of `as_json`."""
    if "none" in kept:
        return str(kept["none"])
    numbers = {}
    for name, mean, sd, kurtosis, quartiles, bent, effective in kept["numbers"]:
        bent = None if bent is None else tuple(bent)
        numbers[tuple(name)] = Known(mean, sd, kurtosis, tuple(quartiles), bent, effective)
    return Reference(kept["how"], numbers, kept["log_evidence"], kept["error"])


class Reference(NamedTuple):
    """What is right.

    Attributes:
        how: "quadrature" or "nuts".
        numbers: Every entry of every latent, by its name and index.
        log_evidence: Nats; None by NUTS.
        error: The largest change of a mean, in standard deviations, where half of the nodes are
            left out along each axis; by NUTS the largest Monte Carlo error of a mean.
    """

    how: str
    numbers: dict[tuple[Any, ...], Known]
    log_evidence: float | None
    error: float


def reference(model: Callable[..., None], columns: dict, outcome: np.ndarray) -> Reference | str:
    """The posterior of a program; or why there is no reference for it."""
    with jax.enable_x64(True):
        columns = {name: jnp.asarray(x, float) for name, x in columns.items()}
        whole = np.issubdtype(outcome.dtype, np.integer)
        y = _settled(model, columns, jnp.asarray(outcome, int if whole else float))
        try:
            parts = _parts(model, columns, y)
        except NotImplementedError as error:
            return f"no coordinates: {error}"
        shared, own = (sum(p.size for p in parts if p.of_task == of) for of in (False, True))
        free = tuple(
            sum(p.size for p in parts if p.of_task == of and p.support is None)
            for of in (False, True)
        )
        if free in NODES:
            return _quadrature(model, columns, y, parts, (shared, own))
        if any(p.support is not None for p in parts):
            return "discrete latents beside too many others"
    return _nuts(model, {k: np.asarray(v, np.float32) for k, v in columns.items()}, outcome)


def _settled(model: Callable[..., None], columns: dict, y: Array) -> Array:
    """Outcomes that sum to zero in single precision, made to do so in double precision."""
    trace = handlers.trace(handlers.seed(model, 0)).get_trace(**columns)
    support = trace["y"]["fn"].support
    if not isinstance(support, type(constraints.zero_sum(1))):
        return y
    onto = biject_to(support)
    return onto(onto.inv(y))


def _parts(model: Callable[..., None], columns: dict, y: Array) -> list[Part]:
    trace = handlers.trace(handlers.seed(model, 0)).get_trace(**columns, y=y)
    parts, ends = [], {False: 0, True: 0}
    for name, site in trace.items():
        if site["type"] != "sample" or site["is_observed"]:
            continue
        of_task = any(frame.name == "task" for frame in site["cond_indep_stack"])
        fn, value = site["fn"], site["value"]
        batch = 2 if of_task else 0
        if fn.support.is_discrete:
            values = np.asarray(fn.enumerate_support(expand=False)).ravel()
            support, shape = tuple(int(x) for x in values), value.shape[batch:]
        else:
            support, shape = None, biject_to(fn.support).inverse_shape(value.shape)[batch:]
        parts.append(Part(name, of_task, ends[of_task], tuple(shape), support))
        ends[of_task] += parts[-1].size
    return parts


def _density(
    model: Callable[..., None], columns: dict, y: Array, parts: list[Part]
) -> Callable[[Array, Array], tuple[Array, Array, dict[str, Array]]]:
    """Of coordinates `[shared]` and `[task, own]`: log p(shared), log p(task, rows), the values."""
    by_name, tasks = {p.name: p for p in parts}, y.shape[0]

    def density(shared: Array, own: Array) -> tuple[Array, Array, dict[str, Array]]:
        slopes: dict[str, Array] = {}

        def place(site: Any) -> Any:
            part = by_name.get(site["name"])
            if part is None:
                return None
            chosen = (own if part.of_task else shared)[..., part.start : part.start + part.size]
            u = chosen.reshape((tasks, 1, *part.shape) if part.of_task else part.shape)
            if part.support is not None:
                return u.astype(int)
            change = biject_to(site["fn"].support)
            value = change(u)
            slopes[part.name] = change.log_abs_det_jacobian(u, value)
            return value

        seeded = handlers.seed(model, 0)
        trace = handlers.trace(handlers.substitute(seeded, substitute_fn=place)).get_trace(
            **columns, y=y
        )
        of_shared, of_tasks = jnp.zeros(()), jnp.zeros(tasks)
        for name, site in trace.items():
            if site["type"] != "sample":
                continue
            log = site["fn"].log_prob(site["value"])
            slope = slopes.get(name, jnp.zeros(()))
            if name in by_name and not by_name[name].of_task:
                of_shared += log.sum() + slope.sum()
            else:
                of_tasks += log.reshape(tasks, -1).sum(-1)
                of_tasks += slope.reshape(tasks, -1).sum(-1) if slope.ndim else 0.0
        return of_shared, of_tasks, {p.name: trace[p.name]["value"] for p in parts}

    return density


def _indices(sizes: list[int]) -> np.ndarray:
    """Of all nodes of a lattice, `[n, axis]`."""
    index = list(itertools.product(*map(range, sizes)))
    return np.array(index, int).reshape(len(index), len(sizes))


class _Axes:
    """A lattice of one scope: for each task its own, or one for what is shared."""

    def __init__(self, parts: list[Part], boxes: int, nodes: int) -> None:
        self.supports = [p.support for p in parts for _ in range(p.size)]
        self.nodes = nodes
        dims = len(self.supports)
        self.low, self.high = np.full((boxes, dims), -FAR), np.full((boxes, dims), FAR)

    def coordinates(self) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """`[n, box, dims]`; the log of each node's weight `[n, box]`; the nodes of each axis."""
        boxes, dims = self.low.shape
        sizes = [self.nodes if s is None else len(s) for s in self.supports]
        index = _indices(sizes)
        u, log = np.zeros((len(index), boxes, dims)), np.zeros((len(index), boxes))
        for d, support in enumerate(self.supports):
            if support is not None:
                u[..., d] = np.array(support)[index[:, d]][:, None]
                continue
            width = (self.high[:, d] - self.low[:, d]) / (self.nodes - 1)
            t = self.low[:, d] + index[:, d, None] * width
            u[..., d] = np.sinh(t)
            log += np.log(np.cosh(t)) + np.log(width)
        return u, log, sizes

    def narrowed(self, mass: np.ndarray, sizes: list[int]) -> None:
        """Boxes around where the log masses `[n, box]` are not negligible."""
        for d, support in enumerate(self.supports):
            if support is not None:
                continue
            others = tuple(i for i in range(len(sizes)) if i != d)
            most = mass.reshape(*sizes, -1).max(others)
            width = (self.high[:, d] - self.low[:, d]) / (self.nodes - 1)
            for box in range(mass.shape[1]):
                kept = np.flatnonzero(most[:, box] > most[:, box].max() - NEGLIGIBLE)
                low = self.low[box, d]
                self.low[box, d] = low + max(kept[0] - 1, 0) * width[box]
                self.high[box, d] = low + min(kept[-1] + 1, self.nodes - 1) * width[box]


def _quadrature(
    model: Callable[..., None], columns: dict, y: Array, parts: list[Part], dims: tuple[int, int]
) -> Reference:
    tasks = y.shape[0]
    of_shared, of_tasks = ([p for p in parts if p.of_task == of] for of in (False, True))
    free = tuple(sum(p.size for p in some if p.support is None) for some in (of_shared, of_tasks))
    density = jax.jit(jax.vmap(_density(model, columns, y, parts)))
    fine = NODES[free]
    shared, own = _Axes(of_shared, 1, fine[0]), _Axes(of_tasks, tasks, fine[1])
    for last in (False, False, True):
        a, log_a, sizes_a = shared.coordinates()
        z, log_z, sizes_z = own.coordinates()
        n_a, n_z = len(a), len(z)
        prior, rows = np.zeros(n_a * n_z), np.zeros((n_a * n_z, tasks))
        values: dict[str, list[np.ndarray]] = {p.name: [] for p in parts}
        for start in range(0, n_a * n_z, BATCH):
            place = np.minimum(np.arange(start, start + BATCH), n_a * n_z - 1)
            found = density(a[place // n_z, 0], z[place % n_z])
            end = min(start + BATCH, n_a * n_z)
            prior[start:end] = np.asarray(found[0])[: end - start]
            rows[start:end] = np.asarray(found[1])[: end - start]
            for name in values if last else ():
                values[name].append(np.asarray(found[2][name])[: end - start])
        prior = _finite(prior).reshape(n_a, n_z)[:, 0] + log_a[:, 0]
        rows = _finite(rows).reshape(n_a, n_z, tasks) + log_z
        each = logsumexp(rows, axis=1)
        joint = prior + each.sum(1)
        if not last:
            shared.narrowed(joint[:, None], sizes_a)
            with np.errstate(invalid="ignore"):
                others = np.nan_to_num(joint[:, None] - each, nan=-np.inf, neginf=-np.inf)
            own.narrowed(logsumexp(rows + others[:, None], axis=0), sizes_z)
    total = float(logsumexp(joint))
    stored = {name: np.concatenate(x) for name, x in values.items()}
    numbers = _numbers(parts, stored, joint, rows, each, (n_a, n_z))
    half_a, half_z = _half(sizes_a, shared.supports), _half(sizes_z, own.supports)
    rows_half, prior_half = rows[half_a][:, half_z], prior[half_a]
    each_half = logsumexp(rows_half, axis=1)
    kept = (np.arange(n_a)[half_a][:, None] * n_z + np.arange(n_z)[half_z]).ravel()
    coarse = _numbers(
        parts, {name: x[kept] for name, x in stored.items()},
        prior_half + each_half.sum(1), rows_half, each_half, (half_a.sum(), half_z.sum()),
    )  # fmt: skip
    summaries = {name: known(number) for name, number in numbers.items()}
    return Reference("quadrature", summaries, total, _apart(numbers, coarse))


def _finite(log: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(log) | (log == np.inf), -np.inf, log)


def _half(sizes: list[int], supports: list) -> np.ndarray:
    """Every second node along each continuous axis, `[n]`."""
    index = _indices(sizes)
    even = [index[:, d] % 2 == 0 for d in range(len(sizes)) if supports[d] is None]
    return np.all(even, axis=0) if even else np.ones(len(index), bool)


def _numbers(
    parts: list[Part],
    values: dict[str, np.ndarray],
    joint: np.ndarray,
    rows: np.ndarray,
    each: np.ndarray,
    shape: tuple[int, int],
) -> dict[tuple[Any, ...], Weighed]:
    of_shared = np.exp(joint - logsumexp(joint))
    # p(z_i, a | D): of a by all tasks, of z_i given a by its own rows.
    with np.errstate(invalid="ignore"):
        given = np.exp(rows - each[:, None])
    both = np.nan_to_num(of_shared[:, None, None] * given)
    numbers = {}
    for part in parts:
        found = values[part.name].reshape(*shape, *values[part.name].shape[1:]).astype(float)
        if part.of_task:
            found = found.reshape(*found.shape[:3], *found.shape[4:])
            for index in np.ndindex(*found.shape[2:]):
                at = found[(slice(None), slice(None), *index)].ravel()
                weights = both[:, :, index[0]].ravel()
                numbers[(part.name, *index)] = _weighed(at, weights)
        else:
            for index in np.ndindex(*found.shape[2:]):
                at = found[(slice(None), 0, *index)]
                numbers[(part.name, *index)] = _weighed(at, of_shared)
    return numbers


def _weighed(values: np.ndarray, weights: np.ndarray) -> Weighed:
    kept = weights > 1e-18
    return Weighed(values[kept], weights[kept] / weights[kept].sum(), np.inf)


def _apart(fine: dict[tuple[Any, ...], Weighed], coarse: dict[tuple[Any, ...], Weighed]) -> float:
    apart = [0.0]
    for name, number in fine.items():
        mean, sd, _ = number.moments()
        if sd > 1e-9:
            apart.append(abs(coarse[name].moments()[0] - mean) / sd)
    return float(max(apart))


def _nuts(model: Callable[..., None], columns: dict, outcome: np.ndarray) -> Reference:
    kernel = NUTS(model, target_accept_prob=0.9)
    chains = MCMC(
        kernel, num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    chains.run(jax.random.key(7), **columns, y=outcome)
    numbers: dict[tuple[Any, ...], Weighed] = {}
    errors = [0.0]
    for name, found in chains.get_samples(group_by_chain=True).items():
        draws = np.asarray(found, float)
        if draws.ndim > 3 and draws.shape[2:4] == (outcome.shape[0], 1):
            draws = draws[:, :, :, 0]
        for index in np.ndindex(*draws.shape[2:]):
            one = draws[(slice(None), slice(None), *index)]
            if one.std() < 1e-9:
                effective = np.inf
            else:
                effective = float(effective_sample_size(one))
                errors.append(1 / np.sqrt(effective))
            n = one.size
            numbers[(name, *index)] = Weighed(one.ravel(), np.full(n, 1 / n), effective)
    summaries = {name: known(number) for name, number in numbers.items()}
    return Reference("nuts", summaries, None, float(max(errors)))
