"""Programs that are drawn from the table of all distributions, `tests/zoo.py`.

Each has six tasks of five rows. In turn a family is the prior of a task's latent, the prior of a
latent that all tasks share, or the outcome; every family is taken once before one is taken twice.
Its parameters are constants, or depend on another latent, on a column, or on both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import Array
from numpyro import handlers

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from zoo import ZOO, Entry

TASKS, ROWS = 6, 5
AS_TASK, AS_LIFETIME, AS_OUTCOME = "prior of a task", "prior of a lifetime", "outcome"
PLACES = (AS_TASK, AS_LIFETIME, AS_OUTCOME)
DEPENDS = ("constants", "a latent", "a column", "both")
# What the first parameter of an entry may be; all others are positive.
REAL = {
    "normal", "cauchy", "student t", "laplace", "logistic", "gumbel", "soft laplace",
    "asymmetric laplace", "asymmetric laplace quantile", "log normal", "levy", "relaxed bernoulli",
    "von mises", "normal above", "normal below", "normal between", "cauchy above",
    "laplace between", "logistic below", "folded normal", "shifted exponential",
    "turned student t", "logit normal", "bernoulli logits", "categorical logits",
    "ordered logistic", "binomial logits", "geometric logits", "zero-inflated by logits",
    "hurdle by logits", "left-censored", "right-censored", "multivariate normal",
    "low rank normal", "multivariate student t", "matrix normal", "circulant normal", "car",
    "projected normal", "sine bivariate von mises", "sine skewed", "multinomial logits",
    "independent",
}  # fmt: skip
PROBABILITY = {
    "mixture of normals", "mixture of gammas", "general mixture", "bernoulli probs",
    "categorical probs", "binomial probs", "geometric probs", "zero-inflated poisson",
    "zero-inflated negative binomial", "hurdle poisson", "hurdle negative binomial",
    "hurdle gamma", "hurdle log normal", "multinomial probs",
}  # fmt: skip
CIRCULAR = {"von mises", "sine bivariate von mises", "sine skewed"}

Prior = Callable[[Any], Any]


class Drawn(NamedTuple):
    """A program with its data.

    Attributes:
        number: Which one it is.
        about: What it is made of, in words.
        families: The entries of the table that it has.
        model: The NumPyro program.
        columns: The columns `x`, `[task, row]`, and `age`, `[task, 1]`.
        outcome: What it gave, `[task, row, ...]`.
    """

    number: int
    about: str
    families: tuple[str, ...]
    model: Callable[..., None]
    columns: dict[str, np.ndarray]
    outcome: np.ndarray


def moved(name: str, by: Any, most: float = 1.0) -> Any:
    """An entry of the table whose first parameter is moved by a real number.

    Args:
        name: Of the entry.
        by: By how much: 0 leaves the parameter as it is. A batch of them gives a batch.
        most: The largest factor of a positive parameter is exp(most).
    """
    entry: Entry = ZOO[name]
    if not entry.at:
        return entry.make()
    first, *rest = entry.at
    if name in REAL:
        first = first + by
    elif name in PROBABILITY:
        first = jax.nn.sigmoid(np.log(first / (1 - first)) + by)
    else:
        first = first * jnp.exp(most * jnp.tanh(0.5 * by / most))
    return entry.make(first, *rest)


def as_real(name: str, value: Array, batch: int) -> Array:
    """A real number of a latent of any shape, which grows no faster than a logarithm.

    Args:
        name: The entry of its prior.
        value: The latent, of its batch and event shape.
        batch: How many axes the batch has.
    """
    flat = jnp.reshape(value, (*value.shape[:batch], -1)).astype(float)
    flat = jnp.sin(flat) if name in CIRCULAR else jnp.arcsinh(flat)
    size = flat.shape[-1]
    each = np.array([(-1.0) ** i / (1 + 0.3 * i) for i in range(size)])
    return (flat * each).sum(-1)


OUTCOMES: dict[str, Prior] = {
    "normal": lambda eta: dist.Normal(eta, 0.7),
    "poisson": lambda eta: dist.Poisson(jnp.exp(0.7 * eta)),
    "student t": lambda eta: dist.StudentT(5.0, eta, 0.6),
    "binomial logits": lambda eta: dist.Binomial(7, logits=eta),
    "gamma": lambda eta: dist.Gamma(3.0, 3.0 * jnp.exp(-eta)),
    "ordered logistic": lambda eta: dist.OrderedLogistic(eta, jnp.array([-1.0, 0.5, 1.5])),
    "bernoulli logits": lambda eta: dist.Bernoulli(logits=eta),
    "negative binomial by mean": lambda eta: dist.NegativeBinomial2(jnp.exp(0.7 * eta), 3.0),
}
OF_TASKS = ("normal", "gamma", "student t", "log normal", "beta", "exponential")


def drawn(number: int, seed: int = 0) -> Drawn:
    """The program of that number, and data that it gave.

    Args:
        number: From 0.
        seed: Of all programs together.
    """
    place, depends = PLACES[number % 3], DEPENDS[(number // 3) % 4]
    orders = np.random.default_rng(seed)
    named = {
        AS_TASK: [name for name, entry in ZOO.items() if "prior" in entry.roles],
        AS_OUTCOME: [name for name, entry in ZOO.items() if "outcome" in entry.roles],
    }
    named[AS_LIFETIME] = named[AS_TASK]
    order = {which: list(orders.permutation(named[which])) for which in PLACES}[place]
    name = str(order[(number // 3) % len(order)])
    rng = np.random.default_rng([seed, number])
    model, others = _MAKERS[place](name, depends, rng)
    columns = {
        "x": rng.normal(size=(TASKS, ROWS)).round(2).astype(np.float32),
        "age": rng.normal(size=(TASKS, 1)).round(2).astype(np.float32),
    }
    trace = handlers.trace(handlers.seed(model, int(rng.integers(2**31)))).get_trace(**columns)
    about = f"{name} as {place}, by {depends}; with {', '.join(others)}"
    return Drawn(number, about, (name, *others), model, columns, np.asarray(trace["y"]["value"]))


def _of_task(name: str, depends: str, rng: np.random.Generator) -> tuple[Any, tuple[str, ...]]:
    outcome = str(rng.choice(list(OUTCOMES)))
    by_latent, by_column = depends in ("a latent", "both"), depends in ("a column", "both")

    def model(x, y=None, *, age):  # type: ignore[no-untyped-def]
        a = numpyro.sample("a", dist.Normal(0.0, 1.0)) if by_latent else 0.0
        with numpyro.plate("task", x.shape[0], dim=-2):
            prior = moved(name, jnp.broadcast_to(a + age * by_column, age.shape))
            z = numpyro.sample("z", prior)
            eta = as_real(name, z, 2) + 0.5 * x
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", OUTCOMES[outcome](eta), obs=y)

    return model, (outcome,) + ("normal",) * by_latent


def _of_lifetime(name: str, depends: str, rng: np.random.Generator) -> tuple[Any, tuple[str, ...]]:
    outcome, scale = str(rng.choice(list(OUTCOMES))), bool(rng.integers(2))
    by_latent, by_column = depends in ("a latent", "both"), depends in ("a column", "both")

    def model(x, y=None, *, age):  # type: ignore[no-untyped-def]
        parent = numpyro.sample("parent", dist.Gamma(2.0, 2.0)) if by_latent else 1.0
        a = numpyro.sample("a", moved(name, jnp.log(parent)))
        shared = as_real(name, a, 0)
        with numpyro.plate("task", x.shape[0], dim=-2):
            if scale:
                prior = dist.Normal(0.5 * age * by_column, jnp.exp(0.5 * shared))
            else:
                prior = dist.Normal(shared + 0.5 * age * by_column, 0.5)
            z = numpyro.sample("z", prior)
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", OUTCOMES[outcome](z + 0.5 * x), obs=y)

    return model, (outcome, "normal") + ("gamma",) * by_latent


def _of_outcome(name: str, depends: str, rng: np.random.Generator) -> tuple[Any, tuple[str, ...]]:
    own = str(rng.choice(OF_TASKS))
    by_latent, by_column = depends in ("a latent", "both"), depends in ("a column", "both")

    def model(x, y=None, *, age):  # type: ignore[no-untyped-def]
        a = numpyro.sample("a", dist.Normal(0.0, 1.0)) if by_latent else 0.0
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", moved(own, jnp.broadcast_to(a, age.shape)))
            eta = as_real(own, z, 2) - 0.5
            with numpyro.plate("step", x.shape[1], dim=-1):
                fn = moved(name, jnp.broadcast_to(eta + 0.5 * x * by_column, x.shape), most=3.0)
                fn = fn if ZOO[name].at else fn.expand(x.shape)
                numpyro.sample("y", fn, obs=y)

    return model, (own,) + ("normal",) * by_latent


_MAKERS = {AS_TASK: _of_task, AS_LIFETIME: _of_lifetime, AS_OUTCOME: _of_outcome}
