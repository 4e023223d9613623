"""Expected Fisher information against E[score scoreᵀ], summed or integrated over the outcome."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import expit, logit, polygamma

from bayes_badger.program.information import outcome_information

# Each family: from its parameters theta to the distribution, a theta, and its outcomes: a list of
# them, or a map from (0, 1) to the line for an integral.
LEGENDRE = np.polynomial.legendre.leggauss(1200)
LINE = ("line", lambda t: np.sinh(8 * (2 * t - 1)) * 3)
POSITIVE = ("positive", lambda t: np.exp(24 * t - 18))
UNIT = ("unit", lambda t: expit(24 * (2 * t - 1)))
FAMILIES = {
    "normal": (lambda t: dist.Normal(t[0], jnp.exp(t[1])), [0.3, -0.4], LINE),
    "log normal": (lambda t: dist.LogNormal(t[0], jnp.exp(t[1])), [0.3, -0.4], POSITIVE),
    "laplace": (lambda t: dist.Laplace(t[0], jnp.exp(t[1])), [0.0, -0.4], LINE),
    "cauchy": (lambda t: dist.Cauchy(t[0], jnp.exp(t[1])), [0.3, -1.4], LINE),
    "logistic": (lambda t: dist.Logistic(t[0], jnp.exp(t[1])), [0.3, -0.4], LINE),
    "gumbel": (lambda t: dist.Gumbel(t[0], jnp.exp(t[1])), [0.3, -0.4], LINE),
    "weibull": (lambda t: dist.Weibull(jnp.exp(t[0]), jnp.exp(t[1])), [0.3, 0.4], POSITIVE),
    "half normal": (lambda t: dist.HalfNormal(jnp.exp(t[0])), [0.3], POSITIVE),
    "half cauchy": (lambda t: dist.HalfCauchy(jnp.exp(t[0])), [-4.0], POSITIVE),
    "exponential": (lambda t: dist.Exponential(jnp.exp(t[0])), [0.3], POSITIVE),
    "gamma": (
        lambda t: dist.Gamma(jnp.exp(t[0]), jnp.exp(t[0] - t[1])),
        [1.1, 0.4],
        POSITIVE,
    ),
    "inverse gamma": (
        lambda t: dist.InverseGamma(jnp.exp(t[0]), jnp.exp(t[0] - t[1])),
        [2.1, 0.4],
        POSITIVE,
    ),
    "beta": (lambda t: dist.Beta(jnp.exp(t[0]), jnp.exp(t[1])), [0.7, 1.4], UNIT),
    "bernoulli logits": (lambda t: dist.BernoulliLogits(t[0]), [0.7], [0, 1]),
    "bernoulli probs": (lambda t: dist.BernoulliProbs(jax.nn.sigmoid(t[0])), [0.7], [0, 1]),
    "binomial logits": (lambda t: dist.BinomialLogits(t[0], 5), [-0.7], range(6)),
    "binomial probs": (lambda t: dist.BinomialProbs(jax.nn.sigmoid(t[0]), 5), [0.7], range(6)),
    "categorical logits": (lambda t: dist.CategoricalLogits(t), [0.7, -1.0, 0.1], range(3)),
    "categorical probs": (
        lambda t: dist.CategoricalProbs(jax.nn.softmax(t)),
        list(np.log([0.5, 0.3, 0.2])),
        range(3),
    ),
    "multinomial logits": (
        lambda t: dist.MultinomialLogits(t, 2),
        [0.7, -1.0, 0.1],
        [(2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1)],
    ),
    "poisson": (lambda t: dist.Poisson(jnp.exp(t[0])), [0.7], range(40)),
    "geometric probs": (lambda t: dist.GeometricProbs(jax.nn.sigmoid(t[0])), [0.7], range(60)),
    "geometric logits": (lambda t: dist.GeometricLogits(t[0]), [0.2], range(80)),
    **{
        f"student {df}": (
            lambda t: dist.StudentT(jnp.exp(t[2]), t[0], jnp.exp(t[1])),
            [0.3, -0.4, np.log(df)],
            LINE,
        )
        for df in (2.0, 5.0)
    },
}


def expected_outer_score(make, theta, outcomes):
    """E[score scoreᵀ], and what the probabilities sum to."""
    theta = jnp.asarray(theta, jnp.float32)
    if isinstance(outcomes, tuple):
        nodes, weights = LEGENDRE
        t, weights = (nodes + 1) / 2, weights / 2
        y = outcomes[1](t)
        weights = weights * (outcomes[1](t + 1e-6) - outcomes[1](t - 1e-6)) / 2e-6
        inside = (y > 1e-30) & (y < 1 - 1e-6) if outcomes[0] == "unit" else np.isfinite(y)
        y, weights = y[inside], weights[inside]
    else:
        y = np.array(list(outcomes))
        weights = np.ones(len(y))
    log_prob = jax.value_and_grad(lambda theta, y: make(theta).log_prob(y))
    y = jnp.asarray(y, jnp.float32 if y.dtype.kind == "f" else jnp.int32)
    density, score = jax.jit(jax.vmap(log_prob, (None, 0)))(theta, y)
    p = weights * np.exp(np.asarray(density, float))
    score = np.where(p[:, None] > 0, np.asarray(score, float), 0.0)
    return (score * p[:, None]).T @ score, p.sum()


@pytest.mark.parametrize("name", FAMILIES)
def test_is_the_expected_outer_score(name):
    make, theta, outcomes = FAMILIES[name]
    computed_theta, information = outcome_information(make(jnp.asarray(theta, jnp.float32)))
    # Probabilities know their logits up to a constant, of which there is no information.
    difference = np.asarray(computed_theta) - np.array(theta)
    if "categorical" in name:
        difference = difference - difference.mean()
    np.testing.assert_allclose(difference, 0.0, atol=1e-5)
    expected, total = expected_outer_score(make, theta, outcomes)
    np.testing.assert_allclose(total, 1.0, atol=1e-3)
    size = np.abs(np.diag(expected)).max()
    np.testing.assert_allclose(information, expected, atol=3e-3 * size)
    check_psd(information)


def check_psd(information):
    information = np.asarray(information, float)
    assert np.all(np.isfinite(information))
    scale = np.abs(information).max((-1, -2), keepdims=True) + 1e-300
    assert np.all(np.linalg.eigvalsh(information / scale) >= -1e-6)


@pytest.mark.parametrize("df", [0.1, 1.0, 14.9, 15.1, 300.0, 1e6])
def test_student_t_for_all_degrees_of_freedom(df):
    _, information = outcome_information(dist.StudentT(df, 0.0, 1.0))
    check_psd(information)
    remaining = information[2, 2] - information[1, 2] ** 2 / information[1, 1]
    assert remaining >= 0
    if df < 1000:
        exact = df**2 * (
            0.25 * (polygamma(1, df / 2) - polygamma(1, (df + 1) / 2))
            - (df + 5) / (2 * df * (df + 1) * (df + 3))
        )
        np.testing.assert_allclose(information[2, 2], exact, rtol=2e-3)


EXTREMES = {
    "bernoulli": lambda t: dist.BernoulliLogits(300.0 * t),
    "bernoulli probs": lambda t: dist.BernoulliProbs(jnp.where(t > 0, 1.0, 0.0) + 0.0 * t),
    "binomial": lambda t: dist.BinomialLogits(-200.0 * t, 1000),
    "categorical": lambda t: dist.CategoricalLogits(t * jnp.array([-300.0, 0.0, 300.0])),
    "certain": lambda t: dist.CategoricalProbs(jnp.array([0.0, 1.0, 0.0]) + 0.0 * t),
    "one of many": lambda t: dist.CategoricalLogits(t * jnp.linspace(0.0, 60.0, 50)),
    "ordered": lambda t: dist.OrderedLogistic(30.0 * t, jnp.array([-1.0, 0.0, 1.0])),
    "poisson": lambda t: dist.Poisson(jnp.exp(80.0 * t)),
    "poisson overflows": lambda t: dist.Poisson(jnp.exp(95.0 * t)),
    "gamma": lambda t: dist.Gamma(jnp.exp(20.0 * t), jnp.exp(-20.0 * t)),
    "beta": lambda t: dist.Beta(jnp.exp(15.0 * t), jnp.exp(14.0 * t)),
    "beta apart": lambda t: dist.Beta(jnp.exp(15.0 * t), jnp.exp(-15.0 * t)),
    "dirichlet": lambda t: dist.Dirichlet(jnp.exp(t * jnp.array([-12.0, 0.0, 12.0]))),
    "normal": lambda t: dist.Normal(1e6 * t, jnp.exp(-30.0 * t)),
    "geometric": lambda t: dist.GeometricProbs(jnp.exp(-90.0 * (1.0 + t))),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("t", [-1.0, 1.0])
def test_extremes_stay_finite(name, t):
    make = EXTREMES[name]
    theta, information = outcome_information(make(jnp.float32(t)))
    check_psd(information)
    assert np.all(np.isfinite(theta))
    if not ("overflows" in name and t > 0):
        slope = jax.jacfwd(lambda t: outcome_information(make(t))[0])(jnp.float32(t))
        assert np.all(np.isfinite(slope))


def test_a_rare_class_keeps_its_information():
    _, information = outcome_information(dist.CategoricalLogits(jnp.array([-60.0, 0.0])))
    np.testing.assert_allclose(information[0, 0], np.exp(-60.0), rtol=1e-5)
    np.testing.assert_allclose(np.sum(information, -1), 0.0, atol=0.0)


def test_ordered_logistic_by_enumeration():
    cuts = jnp.array([-1.0, 0.5, 1.0])

    def make(eta):
        return dist.OrderedLogistic(eta, cuts)

    eta = jnp.float32(0.3)
    slope = jax.jacfwd(lambda eta: outcome_information(make(eta))[0])(eta)
    information = slope @ outcome_information(make(eta))[1] @ slope
    y = jnp.arange(4)
    score = jax.vmap(lambda y: jax.grad(lambda eta: make(eta).log_prob(y))(eta))(y)
    p = jnp.exp(jax.vmap(make(eta).log_prob)(y))
    np.testing.assert_allclose(information, jnp.sum(p * score**2), rtol=1e-4)


def test_multivariate_normal_in_closed_form():
    """Of two parameters that move both: E[score²] = |L⁻¹ dm|² + tr((L⁻¹ dL + ...)²)/2 by trace."""
    base = jnp.array([[1.0, 0.0], [0.5, 2.0]])

    def make(t):
        tril = base + t[1] * jnp.array([[0.3, 0.0], [1.0, -0.2]])
        return dist.MultivariateNormal(t[0] * jnp.array([1.0, -2.0]), scale_tril=tril)

    t = jnp.array([0.3, 0.2])
    jacobian = jax.jacfwd(lambda t: outcome_information(make(t))[0])(t)
    computed = jacobian.T @ outcome_information(make(t))[1] @ jacobian
    precision = np.linalg.inv(np.asarray(make(t).covariance_matrix, float))
    change = np.asarray(jax.jacfwd(lambda t: make(t).covariance_matrix)(t)[..., 1], float)
    shift = np.array([1.0, -2.0])
    expected = np.diag(
        [shift @ precision @ shift, 0.5 * np.trace(precision @ change @ precision @ change)]
    )
    np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-5)


def test_wrappers():
    rates = jnp.array([1.0, 2.0, 3.0])
    fn = dist.Poisson(rates).expand((4, 3))
    theta, information = outcome_information(fn)
    assert (theta.shape, information.shape) == ((4, 3, 1), (4, 3, 1, 1))
    theta, information = outcome_information(fn.to_event(1))
    assert (theta.shape, information.shape) == ((4, 3), (4, 3, 3))
    np.testing.assert_allclose(information[2], np.diag(rates))
    mask = jnp.arange(4) < 2
    _, masked = outcome_information(fn.to_event(1).mask(mask))
    np.testing.assert_allclose(masked, information * mask[:, None, None])
    pair = dist.Normal(jnp.zeros((2, 3)), 2.0).to_event(2)
    theta, information = outcome_information(pair)
    assert (theta.shape, information.shape) == ((12,), (12, 12))
    np.testing.assert_allclose(np.diag(information), np.tile([0.25, 2.0], 6))


@pytest.mark.parametrize(
    "make",
    [
        lambda: dist.Uniform(0.0, 1.0),
        lambda: dist.NegativeBinomial2(3.0, 2.0),
        lambda: dist.ZeroInflatedPoisson(0.2, 3.0),
        lambda: dist.TruncatedNormal(0.0, 1.0, low=0.0).expand((3,)).to_event(1),
    ],
)
def test_unknown_families_say_so(make):
    assert outcome_information(make()) is None


def test_probabilities_are_told_as_logits():
    theta, _ = outcome_information(dist.BernoulliProbs(jnp.array([0.2, 0.9])))
    np.testing.assert_allclose(theta[:, 0], logit([0.2, 0.9]), rtol=1e-5)
