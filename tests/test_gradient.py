"""Meta-learning by gradients: against closed forms, and learned through its steps."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.distributions.constraints import positive

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import gradient
from bayes_badger.outer_loop import Settings, after_steps, learn
from bayes_badger.program.parameters import free

STEPS, RATE = 3, 0.1


def levels(x, y=None):
    """A level for each task, around a mean and with a spread that are learned."""
    mean = numpyro.param("mean", 0.5)
    spread = numpyro.param("spread", 2.0, constraint=positive)
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(mean, spread))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + 0 * x, 1), obs=y)


@pytest.fixture(scope="module")
def program():
    return bb.lift(levels)


def evidence_of(program, y):
    y = np.asarray(y, float)
    return from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})


def test_steps_on_a_parabola_are_those_of_its_closed_form(program):
    """u goes to the top by the factor 1 - rate · spread² each step."""
    y = np.random.default_rng(0).normal(size=(4, 6))
    loop = gradient.make(gradient.Settings(steps=STEPS, rate=RATE, chains=1, draws=2))
    found = loop.infer(program, evidence_of(program, y), jax.random.key(0)).draws.values["level"]
    left = (1 - RATE * 2.0**2) ** STEPS
    expected = y.mean(1) + left * (0.5 - y.mean(1))
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[0, 0], found[0, 1])


def test_without_steps_it_is_the_middle_of_the_prior(program):
    loop = gradient.make(gradient.Settings(steps=0, chains=1, draws=1))
    posterior = loop.infer(program, evidence_of(program, np.ones((3, 2))), jax.random.key(0))
    np.testing.assert_allclose(posterior.draws.values["level"], 0.5)
    assert "not a belief" in posterior.notes[0]


def test_what_goes_astray_is_told(program):
    loop = gradient.make(gradient.Settings(steps=200, rate=100.0, chains=1, draws=1))
    posterior = loop.infer(program, evidence_of(program, np.ones((3, 2))), jax.random.key(0))
    assert "3 of 3 tasks went astray: lower rate" in posterior.warnings[0]


@pytest.mark.parametrize(("rows", "real"), [(1, 1), (2, 2), (6, 5)])
def test_some_rows_are_learned_from_and_some_are_asked_for(rows, real):
    seen = np.arange(rows) < real
    keys = jax.random.split(jax.random.key(0), 200)
    shown = np.asarray(jax.vmap(after_steps.learned_from, (0, None))(keys, jnp.asarray(seen)))
    assert not shown[:, ~seen].any()
    assert set(shown.sum(1)) == (set(range(1, real)) if real > 1 else {0})
    # Each row as often as any other: a binomial within five standard errors.
    share = shown[:, seen].mean(0)
    if real > 1:
        assert np.abs(share - share.mean()).max() < 5 * np.sqrt(0.25 / len(keys))


def test_slopes_through_the_steps_are_those_of_differences(program):
    evidence = evidence_of(program, np.random.default_rng(1).normal(size=(5, 4)))
    loop = gradient.make(gradient.Settings(steps=STEPS, rate=RATE))
    flat, unflatten = ravel_pytree(free(program))

    def score(point):
        parameters = unflatten(jnp.asarray(point, jnp.float32))
        return after_steps.scores_and_slopes(program, parameters, evidence, loop, jax.random.key(3))

    values, slopes = score(flat)
    assert (values.shape, slopes.shape) == ((5,), (5, 2))
    for i in range(2):
        step = 1e-2 * np.eye(2)[i]
        expected = (score(flat + step)[0] - score(flat - step)[0]) / 2e-2
        np.testing.assert_allclose(slopes[:, i], expected, atol=2e-2, rtol=1e-2)


def test_it_learns_where_to_start_and_how_far_to_step():
    """Of two rows one predicts the other: the best step is τ²/(τ² + 1) of the way (shrinkage)."""
    tau, rng, program = 0.7, np.random.default_rng(0), bb.lift(levels)
    y = 3.0 + tau * rng.normal(size=(1000, 1)) + rng.normal(size=(1000, 2))
    loop = gradient.make(gradient.Settings(steps=1, rate=0.5))
    settings = Settings(steps=400, rate=0.05)
    found = learn(
        program, evidence_of(program, y), jax.random.key(0), settings, inner=loop
    ).program.parameters
    # Standard errors of a mean of 1,000 pairs, and of their correlation.
    assert float(found["mean"]) == pytest.approx(y.mean(), abs=0.1)
    share = 0.5 * float(found["spread"]) ** 2
    best = np.corrcoef(y.T)[0, 1]
    assert share == pytest.approx(best, abs=0.05)
    assert abs(best - tau**2 / (tau**2 + 1)) < 5 / np.sqrt(1000)


def test_the_command_learns_for_it(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(20, 1)) + rng.normal(size=(20, 4))
    table = {"task": np.repeat(np.arange(20), 4), "x": np.zeros(y.size), "y": y.ravel()}
    run = bb.fit(levels, table, inference="gradient", outer_steps=25)
    notes = " ".join(run.spec["result"]["notes"])
    assert "learned mean, spread in 25 outer steps" in notes
    assert "not a belief" in notes
