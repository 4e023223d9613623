"""Tasks that are not as the program expects: named where planted, rarely where not."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import binom, chi2

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.unlike import DRAWS, TAIL, exceeding_zero, unlike

TASKS, STEPS = 500, 6
# Of the whole file: one chance in a million of a failure that is none.
FALSE_ALARM = 1e-6


def levels(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + 0 * x, 1), obs=y)


@pytest.fixture(scope="module")
def looked_at():
    """Tail probabilities, by draws from the posterior in closed form."""
    program = bb.lift(levels)

    def of(y):
        y = np.asarray(y, float)
        evidence = from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})
        chance = np.random.default_rng(1)
        mean, sd = y.sum(1) / (STEPS + 1), (STEPS + 1) ** -0.5
        draws = {"level": mean + sd * chance.normal(size=(1, DRAWS, len(y)))}
        return evidence, unlike(program, evidence, draws, jax.random.key(0))

    return of


def expected(rng):
    return rng.normal(size=(TASKS, 1)) + rng.normal(size=(TASKS, STEPS))


def test_where_all_is_as_expected_few_runs_name_any(looked_at):
    _, found = looked_at(expected(np.random.default_rng(0)))
    each, zeros = 5, np.zeros((5, 1))
    some = from_arrays(bb.lift(levels).signature, {"x": zeros}, zeros, {})
    named = [len(found.select(run).told(some)) for run in np.arange(TASKS).reshape(-1, each)]
    assert sum(named) <= binom.isf(FALSE_ALARM, len(named), each * 2 * TAIL)
    # Neither is it blind: tails are spread over the unit interval.
    assert (found.outcomes < 0.2).any()
    assert (found.outcomes > 0.8).any()


def test_a_tail_beyond_all_draws_is_extrapolated():
    """Of a chi-square, whose tail is nearly exponential: in the middle within a factor of three."""
    rng = np.random.default_rng(0)
    for tail in (1e-3, 1e-4, 1e-5):
        x = chi2.rvs(5, size=(DRAWS, 400), random_state=rng) - chi2.isf(tail, 5)
        found = exceeding_zero(x)
        assert tail / 1.5 < np.median(found) < 4 * tail
        assert np.quantile(found, 0.05) > 0.3 * tail


def test_draws_that_are_all_alike():
    np.testing.assert_array_equal(exceeding_zero(np.zeros((DRAWS, 1))), 1.0)
    np.testing.assert_allclose(exceeding_zero(np.full((DRAWS, 1), -1.0)), 0.0, atol=1e-12)


def test_one_draw_is_enough_to_ask():
    rng, program = np.random.default_rng(0), bb.lift(levels)
    y = expected(rng)[:3]
    y[1] += 50
    evidence = from_arrays(program.signature, {"x": np.zeros_like(y)}, y, {})
    found = unlike(program, evidence, {"level": np.zeros((1, 1, 3))}, jax.random.key(0))
    assert found.outcomes[1] < 1e-5 < found.outcomes[[0, 2]].min()


def test_a_task_with_other_noise_is_named(looked_at):
    y = expected(np.random.default_rng(0))
    y[7] = [6.0, -6.0, 5.0, -5.0, 0.0, 0.0]
    evidence, found = looked_at(y)
    assert found.outcomes[7] < TAIL
    assert (
        "'7': fewer than 1 in 50,000 would have outcomes as unlikely" in found.told(evidence, 9)[0]
    )


def test_a_task_from_elsewhere_is_named(looked_at):
    y = expected(np.random.default_rng(0))
    y[3] = 8.0 + np.array([1.0, -1.0, 0.5, -0.5, 0.0, 0.0])
    evidence, found = looked_at(y)
    assert found.latents[3] < TAIL
    assert "'3': fewer than 1 in 50,000 would have latents as far out" in found.told(evidence, 9)[0]


def test_a_task_without_rows_is_as_any_other(looked_at):
    program = bb.lift(levels)
    evidence = from_arrays(program.signature, {"x": np.zeros((3, 0))}, np.zeros((3, 0)), {})
    draws = {"level": np.random.default_rng(0).normal(size=(1, DRAWS, 3))}
    found = unlike(program, evidence, draws, jax.random.key(0))
    np.testing.assert_array_equal(found.outcomes, 1.0)
    assert not found.told(evidence)


def test_fit_and_predict_name_them(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(8, 1)) + rng.normal(size=(8, STEPS))
    y[2] += [9, -9, 8, -8, 0, 0]
    table = {"task": np.repeat(np.arange(8), STEPS), "x": np.zeros(y.size), "y": y.ravel()}
    run = bb.fit(levels, table)
    assert float(run.tree["trust"]["tail_of_outcomes"].sel(task=2)) < TAIL
    assert "1 of 8 tasks look like nothing the program expects ('2'" in run.warnings[0]
    new = {"task": ["new"] * STEPS, "x": np.zeros(STEPS), "y": y[2]}
    tree = bb.predict(run, new, program=levels)
    assert "('new': fewer than 1 in 1,000" in tree.attrs["notes"]
