"""Quadrature against integrals that are known."""

import numpy as np
import pytest
from scipy.special import gammaln, ndtr
from scipy.stats import beta

from bayes_badger.inner_loop import _interpolation
from bayes_badger.inner_loop._lattice import log_standard_normal
from bayes_badger.inner_loop._quadrature import integrate

TOLERANCE = 1e-4


def gaussian(dims, noise, chance):
    """y = A u + noise: the log likelihood, and the log evidence in closed form."""
    design, y = 3 * chance.normal(size=(dims, dims)), 2 * chance.normal(size=dims)

    def log_likelihood(which, u):
        off = (u @ design.T - y) / noise
        return -0.5 * (off**2).sum(1) - dims * np.log(noise * np.sqrt(2 * np.pi))

    covariance = design @ design.T + noise**2 * np.eye(dims)
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    return log_likelihood, -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * log_det


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("noise", [1.0, 0.03, 1e-4])
def test_gaussians_of_any_width(dims, noise):
    log_likelihood, truth = gaussian(dims, noise, np.random.default_rng(dims))
    found = integrate(log_likelihood, 1, dims)[0]
    assert found.log_evidence == pytest.approx(truth, abs=1e-5)
    assert found.error < TOLERANCE


def test_many_integrals_at_once_are_each_their_own():
    chance = np.random.default_rng(0)
    each = [gaussian(2, noise, chance) for noise in (1.0, 0.1, 0.01)]

    def log_likelihood(which, u):
        values = np.stack([function(which, u) for function, _ in each], 1)
        return values[np.arange(len(which)), which]

    found = integrate(log_likelihood, 3, 2)
    for integral, (_, truth) in zip(found, each, strict=True):
        assert integral.log_evidence == pytest.approx(truth, abs=1e-5)


def test_two_modes_far_apart():
    """The likelihood of two narrow peaks, at 2 and -1.5: log of a sum of two Gaussian integrals."""
    width, places = 0.02, (2.0, -1.5)

    def log_likelihood(which, u):
        peaks = [-0.5 * ((u[:, 0] - at) / width) ** 2 for at in places]
        return np.logaddexp(*peaks)

    scale = np.hypot(1, width)
    parts = [np.log(width / scale) - 0.5 * (at / scale) ** 2 for at in places]
    found = integrate(log_likelihood, 1, 1)[0]
    assert found.log_evidence == pytest.approx(np.logaddexp(*parts), abs=1e-6)


def test_many_narrow_modes_in_a_plane():
    """Nine peaks on a slanted line, each of known mass: none may fall between the nodes."""
    width, places = 0.01, np.linspace(-2, 2, 9)[:, None] * np.array([1.0, 0.6])

    def log_likelihood(which, u):
        off = (u[:, None] - places) / width
        return np.logaddexp.reduce(-0.5 * (off**2).sum(2), axis=1)

    scale = np.hypot(1, width)
    parts = 2 * np.log(width / scale) - 0.5 * ((places / scale) ** 2).sum(1)
    found = integrate(log_likelihood, 1, 2)[0]
    assert found.log_evidence == pytest.approx(np.logaddexp.reduce(parts), abs=1e-5)


def test_evidence_that_the_prior_does_not_expect():
    """The mass is 60 standard deviations from the prior's centre: it must be walked to."""

    def log_likelihood(which, u):
        return -0.5 * ((u[:, 0] - 120.0) / 1.0) ** 2

    found = integrate(log_likelihood, 1, 1)[0]
    assert found.log_evidence == pytest.approx(-0.5 * 120.0**2 / 2 - 0.5 * np.log(2), abs=1e-6)


def test_no_evidence_is_the_prior():
    found = integrate(lambda which, u: np.zeros(len(u)), 1, 3)[0]
    assert found.log_evidence == pytest.approx(0.0, abs=1e-5)


def test_a_truncated_likelihood_is_slow_but_right():
    """A uniform outcome: the likelihood is cut off at a point. The error estimate must cover it."""
    found = integrate(lambda which, u: np.where(u[:, 0] > 1.0, 0.0, -np.inf), 1, 1)[0]
    truth = np.log(0.15865525393145707)
    assert abs(found.log_evidence - truth) < max(5 * found.error, 1e-3)


def test_a_discontinuity_is_not_hidden():
    """In two dimensions a cut cannot be resolved: the result must say how rough it is."""

    def log_likelihood(which, u):
        return np.where((u**2).sum(1) > 2.0, 0.0, -np.inf)

    found = integrate(log_likelihood, 1, 2)[0]
    assert abs(found.log_evidence + 1.0) < max(5 * found.error, 1e-3)


@pytest.mark.parametrize(("heads", "tosses"), [(0, 1), (3, 10), (700, 1000)])
def test_a_curved_likelihood(heads, tosses):
    """Bernoulli outcomes with p = Φ(u), uniform: the evidence is a Beta function."""
    from scipy.special import log_ndtr

    def log_likelihood(which, u):
        return heads * log_ndtr(u[:, 0]) + (tosses - heads) * log_ndtr(-u[:, 0])

    truth = gammaln(heads + 1) + gammaln(tosses - heads + 1) - gammaln(tosses + 2)
    found = integrate(log_likelihood, 1, 1)[0]
    assert found.log_evidence == pytest.approx(truth, abs=TOLERANCE)


def test_draws_of_the_interpolation_follow_the_density():
    """Moments of a skewed density, against its nodes; five standard errors each side."""

    def log_likelihood(which, u):
        return -np.exp(2 * u[:, 0]) + 3 * u[:, 0] - 2 * (u[:, 1] - 0.5 * u[:, 0] ** 2) ** 2

    found = integrate(log_likelihood, 1, 2)[0]
    nodes, weights = found.nodes_and_weights()
    count = 20_000
    draws, nearest = _interpolation.draw(found.lattices[0], count, np.random.default_rng(0))
    for power in (1, 2, 3):
        truth = weights @ nodes**power
        spread = np.sqrt(weights @ nodes ** (2 * power) - truth**2)
        assert (np.abs((draws**power).mean(0) - truth) < 5 * spread / np.sqrt(count)).all()
    assert np.abs(draws - nearest).max() <= np.abs(found.lattices[0].cell).sum()


def test_the_density_of_cell_draws_integrates_to_one():
    log_likelihood, _ = gaussian(2, 0.5, np.random.default_rng(1))
    found = integrate(log_likelihood, 1, 2)[0]
    draws, log_density = found.lattices[0].draw(20_000, np.random.default_rng(2))
    target = log_standard_normal(draws) + log_likelihood(None, draws) - found.log_evidence
    ratio = np.exp(target - log_density)
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def test_draws_are_as_wide_as_what_was_integrated():
    """Of a posterior in one dimension that leans: mean, sd and quantiles, of many draws."""
    many, rows, yes = 200_000, 8, 7

    def log_likelihood(which, u):
        p = np.clip(ndtr(u[:, 0]), 1e-300, 1.0)
        return yes * np.log(p) + (rows - yes) * np.log(np.clip(ndtr(-u[:, 0]), 1e-300, 1.0))

    (integral,) = integrate(log_likelihood, 1, 1)
    true = beta(1 + yes, 1 + rows - yes)
    u, _ = _interpolation.draw(integral.lattices[0], many, np.random.default_rng(0))
    p = ndtr(u[:, 0])
    error = 1 / np.sqrt(many)
    assert abs((p.mean() - true.mean()) / true.std()) < 5 * error
    assert abs(p.std() / true.std() - 1) < 5 * error
    for q in (0.01, 0.05, 0.5, 0.95, 0.99):
        assert abs((p < true.ppf(q)).mean() - q) < 5 * error * np.sqrt(q * (1 - q)) + 1e-4
    # One lattice's own proposals are wider than that, and their density says by how much.
    at, log_density = integral.lattices[0].draw(many, np.random.default_rng(1))
    logs = integral.lattices[0].log_density().max()
    weights = np.exp(log_likelihood(None, at) - 0.5 * at[:, 0] ** 2 - log_density - logs)
    again = np.average(ndtr(at[:, 0]), weights=weights)
    assert abs(again - true.mean()) < 5 * error * true.std()


def test_evidence_that_is_impossible_everywhere_is_told_as_such():
    """One integral of two; the other is what it would be alone."""

    def log_likelihood(which, u):
        return np.where(which == 0, -np.inf, -0.5 * u[:, 0] ** 2)

    impossible, possible = integrate(log_likelihood, 2, 1)
    assert impossible.log_evidence == -np.inf
    assert abs(possible.log_evidence + 0.5 * np.log(2)) < 1e-5
