"""Ascents of a log density against summits that are known."""

import numpy as np
import pytest

from bayes_badger.inner_loop._ascent import ascended, batch


def gaussian(mean, root):
    inverse = np.linalg.inv(root)

    def joint(points):
        return -0.5 * (((points - mean) @ inverse.T) ** 2).sum(1)

    return joint


@pytest.mark.parametrize("size", [1, 2, 7, 12])
@pytest.mark.parametrize("width", [1.0, 0.03])
def test_a_gaussian_is_found_with_its_covariance(size, width):
    rng = np.random.default_rng(size)
    root = width * (np.eye(size) + 0.3 * np.tril(rng.normal(size=(size, size)), -1))
    mean = rng.normal(size=size)
    (top,) = ascended(gaussian(mean, root), np.zeros(size), np.eye(size))
    assert top.arrived
    np.testing.assert_allclose(top.mean, mean, atol=0.05 * width)
    found, expected = top.root @ top.root.T, root @ root.T
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def test_asked_points_are_always_as_many():
    counts = []

    def joint(points):
        counts.append(len(points))
        return -0.5 * (points**2).sum(1) / 0.1**2

    ascended(joint, np.zeros(3), np.eye(3))
    assert set(counts) == {batch(3)}


def test_a_narrow_mode_far_from_the_middle_and_a_wide_one_are_both_found():
    wide, narrow = (
        gaussian(np.zeros(1), 0.3 * np.eye(1)),
        gaussian(np.full(1, 1.5), 0.1 * np.eye(1)),
    )
    found = ascended(lambda x: np.logaddexp(wide(x), narrow(x) + 5.0), np.zeros(1), 0.6 * np.eye(1))
    means = sorted(round(float(x.mean[0]), 1) for x in found)
    assert 1.5 in means
    assert max(found, key=lambda x: x.height).mean[0] == pytest.approx(1.5, abs=0.05)


def test_where_half_of_all_points_are_impossible_the_summit_beside_them_is_found():
    def joint(points):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(points[:, 0] > 0, 9 * np.log(points[:, 0]) - 20 * points[:, 0], -np.inf)

    top = ascended(joint, np.zeros(1), np.eye(1))[0]
    assert top.mean[0] == pytest.approx(0.45, abs=0.03)


def test_a_density_that_is_impossible_everywhere_has_no_height():
    top = ascended(lambda x: np.full(len(x), -np.inf), np.zeros(2), np.eye(2))[0]
    assert not np.isfinite(top.height)
    assert not top.arrived
