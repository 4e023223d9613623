"""Every distribution of NumPyro, one line each: for tests of all that a program may be made of.

`ZOO` has an entry for each family. `make` takes the parameters, numbers or arrays that broadcast,
and gives the distribution; `at` has values at which it is tried. `roles` says where it may stand:
"prior" (of a latent), "outcome" or both. `move` is the parameter that is set by a latent or by a
column in a program that makes it depend on one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms


class Entry(NamedTuple):
    """One family: how it is made, and what of NumPyro's list it stands for."""

    make: Callable[..., Any]
    at: tuple[float, ...]
    covers: tuple[str, ...]
    roles: tuple[str, ...] = ("prior", "outcome")


BOTH, PRIOR, OUTCOME = ("prior", "outcome"), ("prior",), ("outcome",)
EYE = np.array([[1.0, 0.3], [0.3, 2.0]], np.float32)
TRIL = np.linalg.cholesky(EYE).astype(np.float32)
RING = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float32)
CORRELATION = np.array([[1.0, 0.4], [0.4, 1.0]], np.float32)


def stack(*parts: Any) -> Any:
    """Numbers that broadcast, on one last axis."""
    return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(part) for part in parts)), axis=-1)


def simplex(p: Any) -> Any:
    """Three probabilities, of which `p` is the first."""
    return stack(p, 0.6 * (1 - p), 0.4 * (1 - p))


def weights(p: Any) -> Any:
    """A mixing distribution of two parts."""
    return dist.Categorical(probs=stack(p, 1 - p))


def matrix(scale: Any, base: np.ndarray) -> Any:
    """A matrix times numbers that may have a batch."""
    return jnp.asarray(scale)[..., None, None] * base


def affine(loc: Any, scale: Any, domain: Any = constraints.real) -> Any:
    return transforms.AffineTransform(loc, scale, domain=domain)


# fmt: off
UNIVARIATE = {
    "normal": Entry(dist.Normal, (1.0, 2.0), ("Normal",)),
    "cauchy": Entry(dist.Cauchy, (1.0, 2.0), ("Cauchy",)),
    "student t": Entry(lambda m, s: dist.StudentT(5.0, m, s), (1.0, 2.0), ("StudentT",)),
    "student t by df": Entry(dist.StudentT, (4.0, 1.0, 2.0), ("StudentT",)),
    "laplace": Entry(dist.Laplace, (1.0, 0.5), ("Laplace",)),
    "logistic": Entry(dist.Logistic, (1.0, 0.5), ("Logistic",)),
    "gumbel": Entry(dist.Gumbel, (1.0, 0.5), ("Gumbel",)),
    "soft laplace": Entry(dist.SoftLaplace, (1.0, 2.0), ("SoftLaplace",)),
    "asymmetric laplace": Entry(dist.AsymmetricLaplace, (1.0, 2.0, 1.4), ("AsymmetricLaplace",)),
    "asymmetric laplace quantile": Entry(dist.AsymmetricLaplaceQuantile, (1.0, 2.0, 0.3), ("AsymmetricLaplaceQuantile",)),
    "log normal": Entry(dist.LogNormal, (0.5, 0.7), ("LogNormal",)),
    "half normal": Entry(dist.HalfNormal, (3.0,), ("HalfNormal",)),
    "half cauchy": Entry(dist.HalfCauchy, (5.0,), ("HalfCauchy",)),
    "exponential": Entry(dist.Exponential, (2.0,), ("Exponential",)),
    "gamma": Entry(dist.Gamma, (2.0, 1.5), ("Gamma",)),
    "chi2": Entry(dist.Chi2, (5.0,), ("Chi2",)),
    "inverse gamma": Entry(dist.InverseGamma, (3.0, 2.0), ("InverseGamma",)),
    "weibull": Entry(dist.Weibull, (2.0, 1.5), ("Weibull",)),
    "gompertz": Entry(dist.Gompertz, (0.5, 2.0), ("Gompertz",)),
    "pareto": Entry(dist.Pareto, (2.0, 1.5), ("Pareto",)),
    "levy": Entry(dist.Levy, (1.0, 2.0), ("Levy",)),
    "dagum": Entry(dist.Dagum, (2.0, 3.0, 1.5), ("Dagum",)),
    "uniform": Entry(lambda w: dist.Uniform(-1.0, -1.0 + w), (4.0,), ("Uniform",)),
    "log uniform": Entry(lambda w: dist.LogUniform(0.1, 0.1 + w), (30.0,), ("LogUniform",)),
    "beta": Entry(dist.Beta, (2.0, 5.0), ("Beta",)),
    "beta proportion": Entry(lambda k: dist.BetaProportion(0.3, k), (6.0,), ("BetaProportion",)),
    "kumaraswamy": Entry(dist.Kumaraswamy, (2.0, 5.0), ("Kumaraswamy",)),
    "power law": Entry(lambda a: dist.LowerTruncatedPowerLaw(-1.0 - a, 2.0), (1.5,), ("LowerTruncatedPowerLaw",)),
    "power law, cut twice": Entry(lambda a: dist.DoublyTruncatedPowerLaw(-a, 1.0, 9.0), (1.5,), ("DoublyTruncatedPowerLaw",)),
    "relaxed bernoulli": Entry(lambda m: dist.RelaxedBernoulliLogits(0.8, m), (0.4,), ("RelaxedBernoulliLogits", "RelaxedBernoulli")),
    "von mises": Entry(dist.VonMises, (0.5, 2.0), ("VonMises",)),
    "normal above": Entry(lambda m, s: dist.TruncatedNormal(m, s, low=0.5), (1.0, 2.0), ("TruncatedNormal", "LeftTruncatedDistribution")),
    "normal below": Entry(lambda m, s: dist.TruncatedNormal(m, s, high=0.5), (1.0, 2.0), ("RightTruncatedDistribution",)),
    "normal between": Entry(lambda m, s: dist.TruncatedNormal(m, s, low=-1.0, high=2.0), (1.0, 2.0), ("TwoSidedTruncatedDistribution",)),
    "cauchy above": Entry(lambda m, s: dist.TruncatedCauchy(m, s, low=0.0), (1.0, 2.0), ("TruncatedCauchy",)),
    "laplace between": Entry(lambda m, s: dist.TruncatedDistribution(dist.Laplace(m, s), low=-1.0, high=4.0), (1.0, 2.0), ("TruncatedDistribution",)),
    "logistic below": Entry(lambda m, s: dist.TruncatedDistribution(dist.Logistic(m, s), high=4.0), (1.0, 2.0), ("TruncatedDistribution",)),
    "gamma above": Entry(lambda a, b: dist.TruncatedGamma(a, b, low=0.5), (2.0, 1.5), ("TruncatedGamma", "LeftTruncatedGamma")),
    "gamma below": Entry(lambda a, b: dist.TruncatedGamma(a, b, high=3.0), (2.0, 1.5), ("RightTruncatedGamma",)),
    "gamma between": Entry(lambda a, b: dist.TruncatedGamma(a, b, low=0.5, high=3.0), (2.0, 1.5), ("TwoSidedTruncatedGamma",)),
    "folded normal": Entry(lambda m, s: dist.FoldedDistribution(dist.Normal(m, s)), (1.0, 2.0), ("FoldedDistribution",)),
    "shifted exponential": Entry(lambda m, r: dist.TransformedDistribution(dist.Exponential(r), affine(m, 1.0, constraints.positive)), (0.5, 2.0), ("TransformedDistribution",)),
    "turned student t": Entry(lambda m: dist.TransformedDistribution(dist.StudentT(5.0), affine(m, -2.0)), (0.5,), ("TransformedDistribution",)),
    "logit normal": Entry(lambda m, s: dist.TransformedDistribution(dist.Normal(m, s), transforms.SigmoidTransform()), (0.5, 0.7), ("TransformedDistribution",)),
    "mixture of normals": Entry(lambda p, s: dist.MixtureSameFamily(weights(p), dist.Normal(jnp.array([-3.0, 1.0]), stack(s, s))), (0.3, 0.7), ("MixtureSameFamily",)),
    "mixture of gammas": Entry(lambda p, b: dist.Mixture(weights(p), dist.Gamma(jnp.array([1.0, 9.0]), stack(b, b))), (0.3, 1.5), ("Mixture", "MixtureSameFamily")),
    "general mixture": Entry(lambda p, s: dist.MixtureGeneral(weights(p), [dist.Normal(0.0, s), dist.Cauchy(1.0, s)]), (0.3, 1.5), ("MixtureGeneral",)),
}
COUNTS = {
    "bernoulli probs": Entry(lambda p: dist.Bernoulli(probs=p), (0.3,), ("Bernoulli", "BernoulliProbs")),
    "bernoulli logits": Entry(lambda m: dist.Bernoulli(logits=m), (0.4,), ("BernoulliLogits",)),
    "categorical probs": Entry(lambda p: dist.Categorical(simplex(p)), (0.5,), ("Categorical", "CategoricalProbs")),
    "categorical logits": Entry(lambda m: dist.Categorical(logits=stack(m, 0.0, -m)), (0.5,), ("CategoricalLogits",)),
    "discrete uniform": Entry(lambda: dist.DiscreteUniform(1, 5), (), ("DiscreteUniform",)),
    "ordered logistic": Entry(lambda m: dist.OrderedLogistic(m, jnp.array([-1.0, 0.5, 1.0])), (0.4,), ("OrderedLogistic",)),
    "binomial probs": Entry(lambda p: dist.Binomial(7, p), (0.3,), ("Binomial", "BinomialProbs")),
    "binomial logits": Entry(lambda m: dist.Binomial(7, logits=m), (0.4,), ("BinomialLogits",)),
    "beta binomial": Entry(lambda a, b: dist.BetaBinomial(a, b, 7), (2.0, 3.0), ("BetaBinomial",)),
    "geometric probs": Entry(lambda p: dist.Geometric(probs=p), (0.3,), ("Geometric", "GeometricProbs"), OUTCOME),
    "geometric logits": Entry(lambda m: dist.Geometric(logits=m), (0.4,), ("GeometricLogits",), OUTCOME),
    "poisson": Entry(dist.Poisson, (3.0,), ("Poisson",), OUTCOME),
    "gamma poisson": Entry(dist.GammaPoisson, (4.0, 1.5), ("GammaPoisson",), OUTCOME),
    "negative binomial by mean": Entry(dist.NegativeBinomial2, (4.0, 3.0), ("NegativeBinomial2",), OUTCOME),
    "negative binomial probs": Entry(lambda n, p: dist.NegativeBinomial(n, probs=p), (4.0, 0.3), ("NegativeBinomial", "NegativeBinomialProbs"), OUTCOME),
    "negative binomial logits": Entry(lambda n, m: dist.NegativeBinomial(n, logits=m), (4.0, 0.4), ("NegativeBinomialLogits",), OUTCOME),
    "beta negative binomial": Entry(lambda a, b: dist.BetaNegativeBinomial(a, b, 3.0), (9.0, 3.0), ("BetaNegativeBinomial",), OUTCOME),
    "zero-inflated poisson": Entry(dist.ZeroInflatedPoisson, (0.3, 3.0), ("ZeroInflatedPoisson", "ZeroInflatedProbs"), OUTCOME),
    "zero-inflated by logits": Entry(lambda m, r: dist.ZeroInflatedDistribution(dist.Poisson(r), gate_logits=m), (0.4, 3.0), ("ZeroInflatedDistribution", "ZeroInflatedLogits"), OUTCOME),
    "zero-inflated negative binomial": Entry(lambda p, m: dist.ZeroInflatedNegativeBinomial2(m, 3.0, gate=p), (0.3, 4.0), ("ZeroInflatedNegativeBinomial2",), OUTCOME),
    "hurdle poisson": Entry(dist.HurdlePoisson, (0.3, 3.0), ("HurdlePoisson", "HurdleProbs"), OUTCOME),
    "hurdle by logits": Entry(lambda m, r: dist.HurdleDistribution(dist.Poisson(r), gate_logits=m), (0.4, 3.0), ("HurdleDistribution", "HurdleLogits"), OUTCOME),
    "hurdle negative binomial": Entry(lambda p, m: dist.HurdleNegativeBinomial2(p, m, 3.0), (0.3, 4.0), ("HurdleNegativeBinomial2",), OUTCOME),
}
ATOMS = {
    "hurdle gamma": Entry(dist.HurdleGamma, (0.3, 2.0, 1.5), ("HurdleGamma",), OUTCOME),
    "hurdle log normal": Entry(dist.HurdleLogNormal, (0.3, 0.5, 0.7), ("HurdleLogNormal",), OUTCOME),
    "left-censored": Entry(lambda m, s: dist.LeftCensoredDistribution(dist.Normal(m, s), False), (1.0, 2.0), ("LeftCensoredDistribution",), OUTCOME),
    "right-censored": Entry(lambda m, s: dist.RightCensoredDistribution(dist.Normal(m, s), False), (1.0, 2.0), ("RightCensoredDistribution",), OUTCOME),
}
VECTORS = {
    "multivariate normal": Entry(lambda m, s: dist.MultivariateNormal(stack(m, m), scale_tril=matrix(s, TRIL)), (1.0, 2.0), ("MultivariateNormal",)),
    "low rank normal": Entry(lambda m: dist.LowRankMultivariateNormal(stack(m, m, m), jnp.array([[1.0], [0.5], [-1.0]]), jnp.array([0.5, 1.0, 2.0])), (1.0,), ("LowRankMultivariateNormal",)),
    "multivariate student t": Entry(lambda m, s: dist.MultivariateStudentT(5.0, stack(m, m), matrix(s, TRIL)), (1.0, 2.0), ("MultivariateStudentT",)),
    "matrix normal": Entry(lambda m: dist.MatrixNormal(matrix(m, np.ones((2, 2), np.float32)), TRIL, TRIL), (1.0,), ("MatrixNormal",)),
    "dirichlet": Entry(lambda a: dist.Dirichlet(stack(a, 2.0, 1.0)), (0.7,), ("Dirichlet",)),
    "lkj cholesky": Entry(lambda c: dist.LKJCholesky(3, c), (1.7,), ("LKJCholesky",), PRIOR),
    "lkj": Entry(lambda c: dist.LKJ(3, c), (1.7,), ("LKJ",), PRIOR),
    "wishart cholesky": Entry(lambda k: dist.WishartCholesky(k, scale_tril=TRIL), (5.0,), ("WishartCholesky",), PRIOR),
    "wishart": Entry(lambda k: dist.Wishart(k, scale_tril=TRIL), (5.0,), ("Wishart",), PRIOR),
    "inverse wishart cholesky": Entry(lambda k: dist.InverseWishartCholesky(k, scale_tril=TRIL), (5.0,), ("InverseWishartCholesky",), PRIOR),
    "inverse wishart": Entry(lambda k: dist.InverseWishart(k, scale_tril=TRIL), (5.0,), ("InverseWishart",), PRIOR),
    "random walk": Entry(lambda s: dist.GaussianRandomWalk(s, 3), (0.7,), ("GaussianRandomWalk",)),
    "state space": Entry(lambda s: dist.GaussianStateSpace(3, 0.8 * jnp.eye(2), scale_tril=matrix(s, TRIL)), (0.7,), ("GaussianStateSpace",)),
    "zero-sum normal": Entry(lambda: dist.ZeroSumNormal(0.7, event_shape=(3,)), (), ("ZeroSumNormal",)),
    "circulant normal": Entry(lambda m: dist.CirculantNormal(stack(m, m, m), covariance_row=jnp.array([2.0, 0.3, 0.3])), (1.0,), ("CirculantNormal",)),
    "car": Entry(lambda m, k: dist.CAR(stack(m, m, m), 0.4, k, RING), (1.0, 2.0), ("CAR",)),
    "gaussian copula": Entry(lambda r: dist.GaussianCopula(dist.Exponential(stack(r, r)), correlation_matrix=CORRELATION), (2.0,), ("GaussianCopula",)),
    "projected normal": Entry(lambda m: dist.ProjectedNormal(stack(m, 0.3, 0.1)), (1.0,), ("ProjectedNormal",)),
    "sine bivariate von mises": Entry(lambda m: dist.SineBivariateVonMises(m, 0.2, 2.0, 3.0, correlation=0.8), (0.5,), ("SineBivariateVonMises",)),
    "sine skewed": Entry(lambda m: dist.SineSkewed(dist.VonMises(stack(m, m), 2.0).to_event(1), jnp.array([0.3, -0.2])), (0.5,), ("SineSkewed",)),
    "euler maruyama": Entry(lambda: dist.EulerMaruyama(jnp.array([0.0, 0.1, 0.2]), lambda x, t: (-x, 0.7), dist.Normal(0.0, 0.7)), (), ("EulerMaruyama",)),
    "multinomial probs": Entry(lambda p: dist.Multinomial(7, simplex(p)), (0.5,), ("Multinomial", "MultinomialProbs"), OUTCOME),
    "multinomial logits": Entry(lambda m: dist.Multinomial(7, logits=stack(m, 0.0, -m)), (0.5,), ("MultinomialLogits",), OUTCOME),
    "dirichlet multinomial": Entry(lambda a: dist.DirichletMultinomial(stack(a, 2.0, 1.0), 7), (0.7,), ("DirichletMultinomial",), OUTCOME),
    "independent": Entry(lambda m, s: dist.Normal(stack(m, 0.0), s[..., None] if jnp.ndim(s) else s).to_event(1), (1.0, 2.0), ("Independent",)),
}
# fmt: on
ZOO = {**UNIVARIATE, **COUNTS, **ATOMS, **VECTORS}
OUT_OF_SCOPE = {
    "Distribution": "the base of all others",
    "ExpandedDistribution": "what a plate makes: every entry is tried in plates",
    "MaskedDistribution": "a wrapper: tests/test_program.py and tests/test_prior_normal.py",
    "Unit": "what numpyro.factor makes: tests/test_program.py",
    "Delta": "a latent with one value is a deterministic: refused",
    "GaussianCopulaBeta": "NumPyro draws it with tensorflow_probability alone",
    "ImproperUniform": "no draw from the prior: refused",
    "IntervalCensoredDistribution": "an outcome of two ends, which has no draw",
    "TruncatedPolyaGamma": "an auxiliary variable of Gibbs samplers",
}
