"""What an expert expects of an outcome adds up to one, whatever the outcome's family."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.integrate import quad

import bayes_badger as bb
from bayes_badger.inner_loop._plan import make_plan
from bayes_badger.inner_loop._predictive import (
    CLOUD,
    LINE,
    NORMAL,
    SCALED_NORMAL,
    log_predictive,
)
from bayes_badger.program import Data


def family(make):
    """A program with two latents of the task, and outcomes of one family."""

    def model(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", make(z[..., 0] + 0 * x, z[..., 1]), obs=y)

    return bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})


def row(y):
    return Data({"x": jnp.zeros((1, 1))}, {}, jnp.asarray(y)[None, None])


# Places over the reals and over the positive numbers, and the width that each stands for.
T = np.linspace(-80.0, 20.0, 8001)
REAL = np.sinh(T[T >= -20]), np.cosh(T[T >= -20]) * (T[1] - T[0])
POSITIVE = np.exp(T), np.exp(T) * (T[1] - T[0])


def counts_to(n):
    return np.arange(n), np.ones(n)


CUTS = jnp.array([-1.0, 0.5, 1.0])
FAMILIES = {
    "bernoulli": (lambda a, b: dist.Bernoulli(logits=a - 2 * b), LINE, counts_to(2)),
    "binomial": (lambda a, b: dist.Binomial(9, logits=a + b), LINE, counts_to(10)),
    "poisson": (lambda a, b: dist.Poisson(jnp.exp(0.7 * a + 0.3 * b)), LINE, counts_to(1500)),
    "negative binomial": (
        lambda a, b: dist.NegativeBinomial2(jnp.exp(0.7 * a), jnp.exp(0.3 * b)),
        CLOUD,
        counts_to(1500),
    ),
    "geometric": (lambda a, b: dist.Geometric(logits=0.7 * a + 0.3 * b), LINE, counts_to(1500)),
    "categorical": (
        lambda a, b: dist.Categorical(logits=jnp.stack([a, a * b, b + 0 * a], -1)),
        CLOUD,
        counts_to(3),
    ),
    "ordered": (
        lambda a, b: dist.OrderedLogistic(a + b, CUTS),
        CLOUD,
        counts_to(4),
    ),
    "normal": (lambda a, b: dist.Normal(jnp.sin(a) + b, 0.3), NORMAL, REAL),
    "scaled normal": (lambda a, b: dist.Normal(a + b, jnp.exp(0.5 * a)), SCALED_NORMAL, REAL),
    "student": (lambda a, b: dist.StudentT(4.0, a, jnp.exp(b)), CLOUD, REAL),
    "laplace": (lambda a, b: dist.Laplace(a, jnp.exp(0.5 * b)), CLOUD, REAL),
    "log normal": (lambda a, b: dist.LogNormal(a, jnp.exp(0.5 * b)), CLOUD, POSITIVE),
    "gamma": (lambda a, b: dist.Gamma(jnp.exp(0.5 * a), jnp.exp(b)), CLOUD, POSITIVE),
    "exponential": (lambda a, b: dist.Exponential(jnp.exp(a + b)), LINE, POSITIVE),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_predictives_are_normalised(name):
    make, kind, (places, widths) = FAMILIES[name]
    program = family(make)
    outcomes = jnp.asarray(places, jnp.int32 if program.outcome.discrete else jnp.float32)
    plan = make_plan(program, jax.tree.map(lambda x: jnp.repeat(x, 4, 1), row(outcomes[1])))
    assert plan.predictive == kind

    @jax.jit
    def predicted(root):
        mean = jnp.array([0.3, -0.4])
        return jax.vmap(lambda y: log_predictive(program, kind, mean, root, row(y)))(outcomes)

    wide = jnp.array([[1.5, 0.0], [0.4, 1.2]])
    for root in (wide, 0.1 * wide):
        assert np.exp(np.asarray(predicted(root), float)) @ widths == pytest.approx(1.0, abs=1e-4)


def test_a_line_is_as_good_as_quadrature():
    """Bernoulli, its logit N(3, 25): most of the mass is where the curve bends."""
    program = family(lambda a, b: dist.Bernoulli(logits=3 + 4 * a + 3 * b))

    @jax.jit
    def predicted(outcomes):
        prior = jnp.zeros(2), jnp.eye(2)
        return jax.vmap(lambda y: log_predictive(program, LINE, *prior, row(y)))(outcomes)

    found = np.asarray(predicted(jnp.array([0, 1])), float)
    for y, sign in ((0, -1), (1, 1)):

        def integrand(logit, sign=sign):
            return stats.norm.pdf(logit, 3, 5) / (1 + np.exp(-sign * logit))

        truth, _ = quad(integrand, -60, 60, points=(0.0, 3.0), limit=200)
        assert np.exp(found[y]) == pytest.approx(truth, abs=1e-4)
