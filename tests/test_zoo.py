"""Every distribution of NumPyro: maps, densities, information, simulation, and the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from hypothesis import given, settings
from hypothesis import strategies as some
from numpyro import handlers
from zoo import ATOMS, COUNTS, OUT_OF_SCOPE, OUTCOME, PRIOR, UNIVARIATE, VECTORS, ZOO

from bayes_badger.errors import BadgerError
from bayes_badger.program import Data, lift
from bayes_badger.program.information import outcome_information
from bayes_badger.program.prior_normal import from_normal, normal_shape, to_normal
from bayes_badger.program.support import supported

U = np.linspace(-8.0, 8.0, 33)
MAPPED = [name for name, entry in UNIVARIATE.items() if normal_shape(entry.make(*entry.at)) == ()]
MAPPED_VECTORS = [name for name, entry in VECTORS.items() if normal_shape(entry.make(*entry.at))]
# Numerical inverses of a density that is compiled for the family alone take longer.
GENERIC = {
    "soft laplace", "asymmetric laplace", "asymmetric laplace quantile", "levy", "dagum",
    "power law, cut twice", "von mises", "folded normal",
}  # fmt: skip


SLOW_TO_COMPILE = GENERIC | {"student t", "student t by df", "gamma above", "gamma between"}
SLOW_TO_DRAW = {
    "sine bivariate von mises", "sine skewed", "hurdle negative binomial", "lkj cholesky",
    "dirichlet multinomial", "beta negative binomial", "wishart", "inverse wishart",
    "gamma above", "gamma between", "zero-inflated negative binomial",
}  # fmt: skip


def slowly(names, slow):
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


def test_every_distribution_is_here_or_has_a_reason_not_to_be():
    covered = {name for entry in ZOO.values() for name in entry.covers}
    public = {name for name in dist.__all__ if name[0].isupper()}
    assert covered | set(OUT_OF_SCOPE) == public
    assert not covered & set(OUT_OF_SCOPE)


def check_there_and_back(fn, dtype):
    """Finite, increasing, inverse to each other at `U`, to the rounding of the value."""
    fn = fn.expand((len(U),))
    numbers = from_normal(fn, jnp.asarray(U, dtype))
    value, back = np.asarray(numbers, float), np.asarray(to_normal(fn, numbers), float)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(back))
    assert np.all(np.diff(value) >= 0)
    # Far out a value may round to an end of the support.
    inside = np.asarray(supported(fn, numbers))
    assert np.all(inside | (np.abs(U) > 4.5))
    assert np.all(np.isfinite(np.asarray(fn.log_prob(numbers))[inside]))
    # A value is rounded, and next to an end of a support many u have the same one: what some
    # roundings are in u, by the slope to the flatter side.
    steps = np.diff(value) / np.diff(U)
    slope = np.minimum(np.append(steps, steps[-1]), np.insert(steps, 0, steps[0]))
    rounding = 16 * np.finfo(dtype).eps * np.maximum(np.abs(value), np.abs(value[len(U) // 2]))
    error, allowed = np.abs(back - U), 2e-4 + rounding / np.maximum(slope, 1e-300)
    assert np.all(error <= allowed), list(zip(U, error, allowed, strict=True))


@pytest.mark.parametrize("name", slowly(MAPPED, GENERIC))
def test_quantile_and_cdf_invert_each_other(name):
    entry = UNIVARIATE[name]
    check_there_and_back(entry.make(*entry.at), np.float32)


@pytest.mark.parametrize("name", slowly(MAPPED, GENERIC))
def test_quantile_and_cdf_invert_each_other_in_double(name):
    entry = UNIVARIATE[name]
    with jax.enable_x64(True):
        check_there_and_back(entry.make(*entry.at), np.float64)


@pytest.mark.parametrize("name", MAPPED_VECTORS)
def test_vectors_come_back(name):
    entry = VECTORS[name]
    fn = entry.make(*entry.at)
    u = jax.random.normal(jax.random.key(0), (5, *normal_shape(fn)))
    fn = fn.expand((5,))
    value = from_normal(fn, u)
    np.testing.assert_allclose(to_normal(fn, value), u, atol=2e-3)
    assert np.all(np.isfinite(fn.log_prob(value)))
    assert np.all(supported(fn, value))


@pytest.mark.parametrize("name", slowly(MAPPED, SLOW_TO_COMPILE))
def test_the_map_has_numpyros_own_density(name):
    """dx/du times the density of x is that of a standard normal."""
    entry = UNIVARIATE[name]
    with jax.enable_x64(True):
        fn = entry.make(*entry.at).expand((len(U),))
        u = jnp.linspace(-2.5, 2.5, len(U))
        value, slope = jax.jvp(lambda u: from_normal(fn, u), (u,), (jnp.ones_like(u),))
        density = fn.log_prob(value) + jnp.log(slope)
    np.testing.assert_allclose(density, st.norm.logpdf(u), atol=1e-4)


@pytest.mark.parametrize("name", slowly(MAPPED, SLOW_TO_COMPILE))
def test_what_numpyro_draws_is_normal_in_u(name):
    """Mean and variance of u of NumPyro's own draws, five standard errors."""
    entry, n = UNIVARIATE[name], 4000
    fn = entry.make(*entry.at)
    u = np.asarray(to_normal(fn.expand((n,)), fn.sample(jax.random.key(0), (n,))), float)
    assert abs(u.mean()) < 5 / np.sqrt(n)
    assert abs((u**2).mean() - 1) < 5 * np.sqrt(2 / n)


@pytest.mark.parametrize("name", slowly(ZOO, SLOW_TO_DRAW))
def test_what_numpyro_draws_is_within_the_support(name):
    entry = ZOO[name]
    fn = entry.make(*entry.at)
    drawn = fn.sample(jax.random.key(0), (20,))
    inside = supported(fn, drawn)
    assert inside.shape == drawn.shape
    assert np.all(inside)
    assert np.all(np.isfinite(fn.log_prob(drawn)))


SCALED = {
    "normal": lambda s: dist.Normal(0.0, s),
    "cauchy": lambda s: dist.Cauchy(0.0, s),
    "laplace": lambda s: dist.Laplace(0.0, s),
    "logistic": lambda s: dist.Logistic(0.0, s),
    "gumbel": lambda s: dist.Gumbel(0.0, s),
    "half normal": dist.HalfNormal,
    "half cauchy": dist.HalfCauchy,
    "exponential": lambda s: dist.Exponential(1 / s),
    "uniform": lambda s: dist.Uniform(0.0, s),
    "log normal": lambda s: dist.LogNormal(jnp.log(s), 0.5),
    "weibull": lambda s: dist.Weibull(s, 1.5),
    "pareto": lambda s: dist.Pareto(s, 1.5),
    "log uniform": lambda s: dist.LogUniform(s, 10 * s),
    "truncated normal": lambda s: dist.TruncatedNormal(0.0, s, low=0.0),
    "gamma": lambda s: dist.Gamma(2.0, 1 / s),
    "gamma by shape": lambda s: dist.Gamma(s, 1.0),
    "inverse gamma": lambda s: dist.InverseGamma(3.0, s),
    "student t": lambda s: dist.StudentT(5.0, 0.0, s),
    "beta": lambda s: dist.Beta(s, 2.0),
}


@settings(derandomize=True, max_examples=40, deadline=None)
@given(some.sampled_from(sorted(SCALED)), some.floats(-4.0, 6.0))
def test_maps_at_all_scales(name, log10):
    check_there_and_back(SCALED[name](jnp.float32(10.0**log10)), np.float32)
