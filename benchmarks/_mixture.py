"""One number for each task, y ~ N(z, 1), under a prior that is a learned mixture of normals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpy.typing import ArrayLike
from scipy import stats

import bayes_badger as bb
from bayes_badger.program import Program


def lifted(name: str, parts: int, width: float, scale: ArrayLike) -> Program:
    """The program.

    Args:
        name: What it is called.
        parts: Normals in the mixture, equal at the start.
        width: Their places at the start are from -width to width.
        scale: Their standard deviation at the start; or one for each.
    """

    def model(x, y=None):  # type: ignore[no-untyped-def]
        logits = numpyro.param("logits", jnp.zeros(parts))
        places = numpyro.param("places", jnp.linspace(-width, width, parts))
        scales = numpyro.param(
            "scales",
            jnp.broadcast_to(jnp.asarray(scale, float), parts),
            constraint=dist.constraints.positive,
        )
        prior = dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(places, scales))
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", prior)
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)

    return bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))}, name=name)


def density(parameters: Mapping[str, Any], nodes: np.ndarray) -> np.ndarray:
    """Of the mixture, on equally spaced nodes; narrower than a node is as narrow as a node."""
    p = {name: np.asarray(x, float) for name, x in parameters.items()}
    weights = np.exp(p["logits"] - np.logaddexp.reduce(p["logits"]))
    scales = np.maximum(p["scales"], nodes[1] - nodes[0])
    return np.asarray((weights * stats.norm.pdf(nodes[:, None], p["places"], scales)).sum(1))
