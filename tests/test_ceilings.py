"""The ceilings, at a few tasks: `grid` on `wave` against its reference, closed forms by hand."""

import numpy as np
import pytest
from scipy import stats

from benchmarks import ceilings


@pytest.fixture(scope="module")
def waves():
    return ceilings.simulated("wave")


def found_and_references(name, program, lifetimes, steps, tasks=None):
    some = [lifetime.first(steps, tasks) for lifetime in lifetimes]
    found = ceilings.ceiling(name, program, some)
    return found, *ceilings.references(name, some, steps)


@pytest.mark.parametrize("steps", [5, 50])
def test_waves_are_as_the_reference_says(waves, steps):
    found, _, log_q = found_and_references("wave", *waves, steps, tasks=8)
    np.testing.assert_allclose(found.log_q, log_q, atol=0.02)
    assert found.error < 1e-4
    assert found.inside.shape == (3 * 8,)


@pytest.mark.slow
def test_all_waves_at_ten_steps(waves):
    found, _, log_q = found_and_references("wave", *waves, 10)
    assert np.quantile(np.abs(found.log_q - log_q), 0.99) < 0.02
    assert found.log_q.mean() == pytest.approx(2.545, abs=1e-3)
    # 768 pairs, which within a task depend on each other: five standard errors of 256.
    assert found.inside.mean() == pytest.approx(0.9, abs=5 * np.sqrt(0.9 * 0.1 / 256))


def test_coins_are_beta():
    program, lifetimes = ceilings.simulated("coin", tasks=8)
    for steps in (2, 50):
        found, log_evidence, log_q = found_and_references("coin", program, lifetimes, steps)
        np.testing.assert_allclose(found.log_evidence, log_evidence, atol=1e-4)
        np.testing.assert_allclose(found.log_q, log_q, atol=1e-4)
        heads = lifetimes[0].first(steps).evidence.outcome.reshape(8, -1).sum(1)
        posterior = stats.beta(1 + heads, 1 + steps - heads)
        np.testing.assert_allclose(log_q[0], posterior.logpdf(lifetimes[0].truth["p"]), rtol=1e-6)


def test_levels_are_one_gaussian():
    program, lifetimes = ceilings.simulated("gaussian", tasks=32)
    found, log_evidence, log_q = found_and_references("gaussian", program, lifetimes, 3)
    assert found.log_q.shape == (2, 16)
    np.testing.assert_allclose(found.log_evidence, log_evidence, atol=1e-6)
    np.testing.assert_allclose(found.log_q, log_q, atol=1e-4)


def test_the_closed_form_of_levels_is_that_of_all_outcomes():
    """Means and rests of tasks, against the covariance of everything written out."""
    rng = np.random.default_rng(1)
    y, z = rng.normal(size=(4, 3)), rng.normal(size=4)
    log_evidence, log_q = ceilings._levels(y, 0.0, z)
    levels = np.ones((4, 4)) + np.eye(4)
    across = np.repeat(levels, 3, 1)
    outcomes = np.repeat(across, 3, 0) + np.eye(12)
    wanted = stats.multivariate_normal.logpdf(y.ravel(), cov=outcomes)
    np.testing.assert_allclose(4 * log_evidence, [wanted])
    mean = across @ np.linalg.solve(outcomes, y.ravel())
    spread = levels - across @ np.linalg.solve(outcomes, across.T)
    np.testing.assert_allclose(log_q, stats.norm.logpdf(z, mean, np.sqrt(np.diag(spread))))


def test_ranks_inside_have_chance_nine_tenths():
    ranks = ceilings.HIGHEST - ceilings.LOWEST
    assert ranks / (ceilings.DRAWS + 1) == 0.9
