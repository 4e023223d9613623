"""A network's posterior: a proper density, blind to the order of rows, and near a closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop import set_network
from bayes_badger.inner_loop._society import as_mixture
from bayes_badger.trust import judged

ROWS = 5
DOSES = np.linspace(-1.5, 1.5, 4)


def plane(dose, y=None, *, w):
    """Level and slope of each task; w is told of it, and which dose a row has."""
    x = jnp.asarray(DOSES)[dose]
    with numpyro.plate("task", dose.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0, 1))
        slope = numpyro.sample("slope", dist.Normal(w, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + slope * x, 1), obs=y)


@pytest.fixture(scope="module")
def known():
    """The program, 64 tasks of it, and their exact posteriors of u."""
    rng, program = np.random.default_rng(0), bb.lift(plane)
    dose, w = rng.integers(len(DOSES), size=(64, ROWS)), rng.normal(size=(64, 1))
    x = DOSES[dose]
    u = rng.normal(size=(64, 2))
    y = u[:, :1] + (w + u[:, 1:]) * x + rng.normal(size=x.shape)
    evidence = from_arrays(program.signature, {"dose": dose}, y, {"w": w})
    design = np.stack([np.ones_like(x), x], -1)
    precision = np.eye(2) + np.swapaxes(design, 1, 2) @ design
    mean = np.linalg.solve(precision, np.swapaxes(design, 1, 2) @ (y - w * x)[..., None])[..., 0]
    return program, evidence, mean, np.linalg.inv(precision)


def network(seed=0):
    return set_network.Network(3, 2, 16, 4, jax.random.key(seed))


def test_the_order_of_rows_and_what_is_not_real_are_nothing_to_it():
    rng = np.random.default_rng(0)
    rows, seen = rng.normal(size=(6, 3)).astype(np.float32), np.arange(6) < 4
    one = network()(jnp.asarray(rows), jnp.asarray(seen))
    other = rows[[2, 0, 3, 1, 5, 4]].copy()
    other[4:] = 99.0
    two = network()(jnp.asarray(other), jnp.asarray(seen))
    for x, z in zip(one, two, strict=True):
        np.testing.assert_allclose(x, z, atol=1e-6)


def test_without_rows_it_is_still_a_density():
    found = network()(jnp.zeros((3, 3)), jnp.zeros(3, bool))
    assert all(np.isfinite(x).all() for x in found)
    assert float(jnp.exp(found.log_weights).sum()) == pytest.approx(1.0, abs=1e-6)
    diagonal = np.diagonal(found.root, axis1=1, axis2=2)
    assert (diagonal > 0).all()
    np.testing.assert_array_equal(np.triu(found.root, 1), 0)


def test_it_comes_near_the_exact_posterior(known):
    """KL from the exact Gaussian, by draws from it, is below .1 nats in the mean of 64 tasks."""
    program, evidence, mean, covariance = known
    settings = set_network.Settings(steps=2000, tasks=64, width=32, components=2, rate=3e-3)
    told = []
    trained = set_network.trained(
        program, evidence, jax.random.key(0), settings, lambda *words: told.append(words)
    )
    data, seen = _blocks(evidence)
    society = set_network._asked(*trained[:2], data, seen)
    mixture = as_mixture(society, program.latents)
    root = np.linalg.cholesky(covariance)
    noise = np.random.default_rng(1).normal(size=(64, 400, 2))
    u = mean[:, None] + noise @ np.swapaxes(root, 1, 2)
    exact = -0.5 * (noise**2).sum(-1) - np.log(2 * np.pi)
    exact -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(-1)[:, None]
    found = eqx.filter_vmap(lambda m, u: jax.vmap(m.log_prob)(u))(mixture, jnp.asarray(u))
    divergence = (exact - np.asarray(found)).mean()
    assert 0 < divergence < 0.1
    assert told[-1][:3] == ("training", 2000, 2000)


def test_its_posterior_is_weighed_like_any_other(known):
    program, evidence, mean, _ = known
    run_settings = {"chains": 1, "draws": 200, "steps": 100, "tasks": 32, "width": 16}
    loop = set_network.make(set_network.Settings(**run_settings))
    posterior = loop.infer(program, evidence, jax.random.key(0))
    assert posterior.approximate
    assert "trained on 3,200 simulations" in posterior.notes[0]
    weighed, verdicts = judged(program, evidence, posterior, jax.random.key(1))
    level = weighed.draws.values["level"].mean((0, 1))
    assert np.abs(level - mean[:, 0]).max() < 0.25
    assert not verdicts.flagged.all()


def _blocks(evidence):
    block = evidence.padded()
    return data_of(block), jnp.asarray(block.mask)
