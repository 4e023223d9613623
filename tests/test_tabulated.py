"""Tabulated quantiles against SciPy, the numerical inverse, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from bayes_badger.program import numerical_families, tabulated
from bayes_badger.program.numerical_inverse import quantile

U = np.linspace(-9.7, 9.7, 1201)


def back(lower, upper):
    """U from the smaller of the masses below and above."""
    with np.errstate(divide="ignore"):
        return np.where(U < 0, special.ndtri(lower), -special.ndtri(upper))


@pytest.mark.parametrize("concentration", [0.1, 0.5, 1.0, 2.0, 30.0, 1e4])
def test_the_mass_below_a_gamma_quantile_is_that_below_u(concentration):
    with jax.enable_x64(True):
        x = np.exp(np.asarray(tabulated.log_gamma(concentration, jnp.asarray(U))))
    found = back(special.gammainc(concentration, x), special.gammaincc(concentration, x))
    np.testing.assert_allclose(found, U, atol=1e-7)


@pytest.mark.parametrize("pair", [(0.5, 0.5), (1.0, 1.0), (2.0, 7.0), (0.3, 4.0), (100.0, 3.0)])
def test_the_mass_below_a_beta_quantile_is_that_below_u(pair):
    with jax.enable_x64(True):
        logit = np.asarray(tabulated.logit_beta(*pair, jnp.asarray(U)))
    lower = special.betainc(*pair, special.expit(logit))
    upper = special.betainc(*pair[::-1], special.expit(-logit))
    np.testing.assert_allclose(back(lower, upper), U, atol=1e-7)


def test_the_mass_below_a_half_normal_quantile_is_that_below_u():
    with jax.enable_x64(True):
        x = np.exp(np.asarray(tabulated.log_half_normal(jnp.asarray(U))))
    found = back(special.erf(x / np.sqrt(2)), 2 * stats.norm.sf(x))
    np.testing.assert_allclose(found, U, atol=1e-7)


def test_very_small_concentrations_follow_their_power_law():
    with jax.enable_x64(True):
        found = np.asarray(tabulated.log_gamma(1e-4, jnp.asarray([-5.0, 0.0])))
    log_mass = np.array([special.log_ndtr(-5.0), np.log(0.5)])
    np.testing.assert_allclose(found, (log_mass + special.gammaln(1.0001)) / 1e-4, rtol=1e-9)


def test_arrays_of_parameters_broadcast():
    each = np.array([[0.5], [2.0]])
    u = jnp.array([-1.0, 0.0, 3.0])
    found = tabulated.log_gamma(each, jnp.broadcast_to(u, (2, 3)))
    rows = [tabulated.log_gamma(x, u) for x in each[:, 0].tolist()]
    np.testing.assert_allclose(found, jnp.stack(rows), rtol=1e-6)


def test_slope_and_curvature_are_those_of_the_numerical_inverse():
    kernel = numerical_families._log_gamma_kernel

    def numerical(u):
        return quantile(kernel, u, jnp.asarray(2.5))

    def table(u):
        return tabulated.log_gamma(2.5, u)

    with jax.enable_x64(True):
        u = jnp.linspace(-6.0, 6.0, 41)
        for order in (jax.grad, lambda f: jax.grad(jax.grad(f))):
            found, expected = (jax.vmap(order(f))(u) for f in (table, numerical))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_beyond_the_last_knot_the_tangent_goes_on():
    u = jnp.array([-40.0, -11.0, -10.5, 10.5, 11.0, 40.0])
    found = np.asarray(tabulated.log_gamma(2.0, u))
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    slopes = np.diff(found)[[0, 1]] / np.diff(np.asarray(u))[[0, 1]]
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-4)


def test_what_has_no_table_is_left_to_the_numerical_inverse():
    u = jnp.zeros(2)
    assert tabulated.log_gamma(1e9, u) is None
    assert jax.jit(lambda c: jnp.zeros(()) if tabulated.log_gamma(c, u) is None else c)(2.0) == 0
    # SciPy's quantile of a Beta so narrow is not monotone.
    assert (
        tabulated.logit_beta(0.3, 2000.0, u) is None
        or np.isfinite(tabulated.logit_beta(0.3, 2000.0, u)).all()
    )
