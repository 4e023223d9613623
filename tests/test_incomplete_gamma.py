"""The second derivative by the shape that JAX lacks, against identities."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.special import gammainc, gammaincc, gammaln

import bayes_badger.program  # noqa: F401 - gives JAX the rule

A, X = (
    x.ravel() for x in np.meshgrid(10.0 ** np.linspace(-2, 2, 9), 10.0 ** np.linspace(-4, 3, 15))
)
# Relative to the square of the inverse distance over which P changes, times P or 1 - P.
ALLOWED = {np.float32: 1e-2, np.float64: 1e-8}


def second(function):
    return jax.jit(jax.vmap(jax.grad(jax.grad(function))))


@pytest.mark.parametrize("dtype", ALLOWED)
def test_it_obeys_the_recurrence(dtype):
    """P(a + 1, x) = P(a, x) - x^a exp(-x) / Γ(a + 1), both sides differentiated twice."""
    with jax.enable_x64(dtype == np.float64):
        a, x = jnp.asarray(A, dtype), jnp.asarray(X, dtype)
        step = second(lambda a, x: -jnp.exp(a * jnp.log(x) - x - gammaln(a + 1)))
        found, next_one, change = second(gammainc)(a, x), second(gammainc)(a + 1, x), step(a, x)
        upper = second(gammaincc)(a, x)
        share = np.asarray(gammainc(a, x), float)
    found, upper = np.asarray(found), np.asarray(upper)
    error = np.abs(np.asarray(next_one) - found - np.asarray(change))
    size = (1 / A**2 + 1 / A + np.log(X / A) ** 2) * np.minimum(share, 1 - share)
    counts = np.minimum(share, 1 - share) > 1e-5
    assert counts.sum() > 30
    assert np.all(error[counts] <= ALLOWED[dtype] * size[counts])
    assert np.all(np.isfinite(found))
    np.testing.assert_array_equal(upper, -found)


def test_the_mixed_derivative_is_the_same_in_both_orders():
    with jax.enable_x64(True):
        a, x = jnp.asarray(A), jnp.asarray(X)
        here = jax.vmap(jax.grad(jax.grad(gammainc, 0), 1))(a, x)
        there = jax.vmap(jax.grad(jax.grad(gammainc, 1), 0))(a, x)
    np.testing.assert_allclose(here, there, rtol=1e-9, atol=1e-300)


def test_a_truncated_gamma_has_a_hessian():
    """Of a Gamma(1, rate) above `low` the density of y is that of an Exponential after `low`."""

    def log_prob(at):
        return dist.TruncatedGamma(at[0], at[1], low=0.5).log_prob(2.0)

    hessian = jax.hessian(log_prob)(jnp.array([1.0, 1.5]))
    np.testing.assert_allclose(hessian[1, 1], -1 / 1.5**2, rtol=1e-4)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-3)
    assert np.all(np.isfinite(hessian))
