"""Programs on which a policy is bred: none of them is on the shelf, or in another benchmark.

Curves that saturate, grow, oscillate, bend, jump between two answers, with outcomes that are
continuous, counted, or yes and no; two to five latents, 1 to 10 rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array

import bayes_badger as bb
from bayes_badger.outer_loop.breeding import Source

# Latents of a task are standard normal; a curve makes of them, [task, 1] each, what a row has.
Curve = Callable[[list[Array], Array], dist.Distribution]


def _saturating(z: list[Array], x: Array) -> dist.Distribution:
    dose = jnp.exp(x)
    return dist.Normal(2 * jnp.exp(0.5 * z[0]) * dose / (jnp.exp(z[1]) + dose), 0.2)


def _growing(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Normal(2 * jnp.exp(0.5 * z[0]) * jax.nn.sigmoid(z[1] + jnp.exp(z[2]) * x), 0.15)


def _oscillating(z: list[Array], x: Array) -> dist.Distribution:
    return dist.StudentT(5.0, jnp.sin(jnp.exp(0.4 * z[0]) * x + 1.5 * z[1]), 0.3)


def _bending(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Normal(z[0] ** 2 + z[1] + 0.5 * z[1] * x, 0.5)


def _two_answers(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Normal(jnp.abs(z[0] + 0.3 * x) - z[1] * z[2], 0.4)


def _choosing(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Bernoulli(logits=2 * jnp.exp(z[0]) * (x - z[1]) + z[2])


def _counted(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Poisson(jnp.exp(0.5 + 0.7 * z[0] + z[1] * jnp.cos(x + z[2])))


def _counted_unevenly(z: list[Array], x: Array) -> dist.Distribution:
    return dist.NegativeBinomial2(jnp.exp(1 + z[0] + 0.5 * z[1] * x), jnp.exp(1 + 0.5 * z[2]))


def _of_unknown_noise(z: list[Array], x: Array) -> dist.Distribution:
    line = z[0] + z[1] * x + 0.5 * z[2] * x**2
    return dist.Normal(line + 0.5 * jnp.tanh(z[3] * x), jnp.exp(-1 + 0.5 * z[4]))


def _steps(z: list[Array], x: Array) -> dist.Distribution:
    return dist.Normal(z[0] + 2 * z[1] * jax.nn.sigmoid(4 * (x - z[2])), jnp.exp(-1.5 + 0.3 * z[3]))


FAMILIES: Mapping[str, tuple[int, Curve]] = {
    "saturating": (2, _saturating),
    "growing": (3, _growing),
    "oscillating": (2, _oscillating),
    "bending": (2, _bending),
    "two_answers": (3, _two_answers),
    "choosing": (3, _choosing),
    "counted": (3, _counted),
    "counted_unevenly": (3, _counted_unevenly),
    "of_unknown_noise": (5, _of_unknown_noise),
    "steps": (4, _steps),
}


def sources(*names: str) -> list[Source]:
    """Those of some names, or all of them."""
    return [
        Source(bb.lift(_model(*FAMILIES[name]), inputs=_inputs, name=name), _inputs)
        for name in names or FAMILIES
    ]


def _model(latents: int, curve: Curve) -> Callable[..., None]:
    def model(x: Any, y: Any = None) -> None:
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = [numpyro.sample(f"z{i}", dist.Normal(0, 1)) for i in range(latents)]
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", curve(z, x), obs=y)

    return model


def _inputs(key: Any, tasks: int, rows: int) -> dict[str, Array]:
    return {"x": jax.random.uniform(key, (tasks, rows), minval=-3.0, maxval=3.0)}
