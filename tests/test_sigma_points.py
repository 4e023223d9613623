"""Sigma points: exact on polynomials, and right about functions that have no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayes_badger.program.sigma_points import nearest_psd, sigma_points, stein_score_and_hessian


def problem(d):
    """A symmetric matrix, a vector, a mean and a scale, all of no special kind."""
    keys = jax.random.split(jax.random.key(d), 4)
    square = jax.random.normal(keys[0], (d, d))
    linear, mean = jax.random.normal(keys[1], (2, d))
    tril = jnp.tril(0.3 * jax.random.normal(keys[2], (d, d)), -1) + jnp.diag(
        jax.random.uniform(keys[3], (d,), minval=0.3, maxval=2.0)
    )
    return square + square.T, linear, mean, tril


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_the_rule_is_exact_to_degree_five(d):
    points, weights = (np.asarray(array, float) for array in sigma_points(d))
    assert points.shape == (1 + 2 * d * d, d)
    moments = {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0, 5: 0.0}
    powers = [power for power in np.ndindex(*[6] * min(d, 3)) if sum(power) <= 5]
    for power in powers:
        computed = weights @ np.prod(points[:, : len(power)] ** np.array(power), axis=1)
        np.testing.assert_allclose(computed, np.prod([moments[p] for p in power]), atol=1e-5)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_quadratics_are_exact(d):
    square, linear, mean, tril = problem(d)

    def log_likelihood(x):
        return 0.5 * x @ square @ x + linear @ x + 1000.0

    g, h = jax.jit(lambda: stein_score_and_hessian(log_likelihood, mean, tril))()
    np.testing.assert_allclose(g, square @ mean + linear, atol=2e-3)
    np.testing.assert_allclose(h, square, atol=1e-2)


def test_cubics_keep_their_hessian():
    square, linear, mean, tril = problem(3)

    def log_likelihood(x):
        return (linear @ x) ** 3 + x @ square @ x

    _, h = stein_score_and_hessian(log_likelihood, mean, tril)
    np.testing.assert_allclose(h, jax.hessian(log_likelihood)(mean), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("d", [1, 4])
def test_a_step_has_a_slope(d, sign):
    _, _, _, tril = problem(d)
    direction = jnp.arange(1.0, d + 1.0)
    mean = jnp.zeros(d)

    def step(x):
        return jnp.where(sign * (direction @ x) > 0.1, 0.0, -3.0)

    g, h = stein_score_and_hessian(step, mean, tril)
    assert np.all(np.isfinite(g))
    assert np.all(np.isfinite(h))
    assert sign * (g @ (tril @ tril.T @ direction)) > 0
    assert np.all(np.asarray(jax.grad(step)(mean)) == 0)


def test_nearest_psd():
    square, _, _, tril = problem(4)
    clipped = np.asarray(nearest_psd(square), float)
    values, vectors = np.linalg.eigh(np.asarray(square, float))
    np.testing.assert_allclose(clipped, (vectors * np.maximum(values, 0)) @ vectors.T, atol=1e-4)
    assert np.linalg.eigvalsh(clipped).min() > -1e-5
    covariance = tril @ tril.T
    np.testing.assert_allclose(nearest_psd(covariance), covariance, atol=1e-4)
    batch = jnp.stack([square, -square])
    np.testing.assert_allclose(nearest_psd(batch)[0] - nearest_psd(batch)[1], square, atol=1e-4)


@pytest.mark.parametrize(
    "matrix", [jnp.zeros((3, 3)), -jnp.eye(3), jnp.diag(jnp.array([1.0, 0.0, -1.0])), jnp.eye(3)]
)
def test_nearest_psd_has_a_finite_derivative(matrix):
    gradient = jax.grad(lambda matrix: jnp.sum(jnp.sin(nearest_psd(matrix))))(matrix)
    assert np.all(np.isfinite(gradient))


def test_nearest_psd_differentiates():
    square, _, _, _ = problem(4)
    move = problem(5)[0][:4, :4]
    step = 1e-2
    slope = (nearest_psd(square + step * move) - nearest_psd(square - step * move)) / (2 * step)
    np.testing.assert_allclose(
        jax.jvp(nearest_psd, (square,), (move,))[1], slope, rtol=2e-2, atol=5e-3
    )
