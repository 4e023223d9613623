"""Ascents end where closed forms have their summits, each for itself, with few evaluations."""

import numpy as np
import pytest

from bayes_badger.trust.ascents import ascended

SIZE = 12


def test_of_a_ridge_whose_curvatures_differ_a_thousandfold():
    """A Gaussian density: its height at the summit is 0, and the summit is its mean."""
    rng = np.random.default_rng(0)
    root, _ = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))
    precision = root @ np.diag(np.geomspace(1.0, 1e3, SIZE)) @ root.T
    mean, asked = rng.normal(size=SIZE), []

    def heights(x):
        asked.append(len(x))
        away = x - mean
        return -0.5 * np.einsum("ni,ij,nj->n", away, precision, away), -away @ precision

    ends, found = ascended(heights, rng.normal(size=(9, SIZE)), 120)
    assert (found > -0.05).all()
    assert np.abs((ends - mean) @ np.linalg.cholesky(precision)).max() < 0.3
    # Those that have arrived are not asked any more.
    assert asked[0] == 9
    assert sum(asked) < 9 * 80


def test_each_ascent_ends_in_its_own_mode():
    """Two Gaussians in a plane: who starts nearer to one ends there."""

    def heights(x):
        parts = [-0.5 * ((x - at) ** 2).sum(1) for at in (-4.0, 4.0)]
        height = np.logaddexp(*parts)
        weight = [np.exp(part - height)[:, None] for part in parts]
        return height, -weight[0] * (x + 4.0) - weight[1] * (x - 4.0)

    starts = np.array([[-3.0, -2.0], [3.0, 2.5], [-6.0, -5.0]])
    ends, _ = ascended(heights, starts, 60)
    assert ends == pytest.approx(4.0 * np.sign(starts), abs=0.05)


def test_beyond_where_the_density_is_finite_a_step_is_shorter():
    """log x - x on x > 0, whose summit is 1; a start outside is left where it is."""

    def heights(x):
        inside = (x > 0).all(1)
        safe = np.where(x > 0, x, 1.0)
        value = np.where(inside, (np.log(safe) - safe).sum(1), np.nan)
        return value, 1 / safe - 1

    ends, found = ascended(heights, np.array([[5.0], [0.01], [-1.0]]), 60)
    assert ends[:2] == pytest.approx(1.0, abs=0.05)
    assert ends[2] == -1.0
    assert found[2] == -np.inf
