"""The prior-normal map: against scipy, its own density, and finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro.distributions import transforms

from bayes_badger.errors import BadgerError
from bayes_badger.program.prior_normal import (
    from_normal,
    has_closed_form,
    normal_shape,
    to_normal,
)

U = np.linspace(-4.5, 4.5, 19)


class Lomax(dist.Distribution):
    """A family that NumPyro does not have: only its density and its support are known."""

    arg_constraints = {"alpha": dist.constraints.positive}  # noqa: RUF012
    support = dist.constraints.positive

    def __init__(self, alpha):
        self.alpha = alpha
        super().__init__(batch_shape=jnp.shape(alpha))

    def log_prob(self, value):
        return jnp.log(self.alpha) - (self.alpha + 1.0) * jnp.log1p(value)


class Skewed(dist.Distribution):
    """A normal times a logistic, on the whole line."""

    arg_constraints = {"slope": dist.constraints.real}  # noqa: RUF012
    support = dist.constraints.real

    def __init__(self, slope):
        self.slope = slope
        super().__init__(batch_shape=jnp.shape(slope))

    def log_prob(self, value):
        log_sigmoid = jax.nn.log_sigmoid(self.slope * (value - 20.0))
        return dist.Normal(20.0, 3.0).log_prob(value) + jnp.log(2.0) + log_sigmoid


def truncnorm(loc, scale, low=-np.inf, high=np.inf):
    return st.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)


CLOSED = {
    "normal": (dist.Normal, (1.0, 2.0), lambda a, b: st.norm(a, b)),
    "log normal": (dist.LogNormal, (0.5, 0.7), lambda a, b: st.lognorm(b, scale=np.exp(a))),
    "half normal": (dist.HalfNormal, (3.0,), lambda a: st.halfnorm(scale=a)),
    "half cauchy": (dist.HalfCauchy, (5.0,), lambda a: st.halfcauchy(scale=a)),
    "cauchy": (dist.Cauchy, (1.0, 2.0), st.cauchy),
    "uniform": (dist.Uniform, (-1.0, 3.0), lambda a, b: st.uniform(a, b - a)),
    "log uniform": (dist.LogUniform, (0.1, 30.0), st.loguniform),
    "exponential": (dist.Exponential, (2.0,), lambda a: st.expon(scale=1 / a)),
    "laplace": (dist.Laplace, (1.0, 0.5), st.laplace),
    "logistic": (dist.Logistic, (1.0, 0.5), st.logistic),
    "gumbel": (dist.Gumbel, (1.0, 0.5), st.gumbel_r),
    "weibull": (dist.Weibull, (2.0, 1.5), lambda a, b: st.weibull_min(b, scale=a)),
    "pareto": (dist.Pareto, (2.0, 1.5), lambda a, b: st.pareto(b, scale=a)),
    "gompertz": (dist.Gompertz, (0.5, 2.0), lambda a, b: st.gompertz(a, scale=1 / b)),
    "truncated below": (
        lambda a, b: dist.TruncatedNormal(a, b, low=0.5),
        (1.0, 2.0),
        partial(truncnorm, low=0.5),
    ),
    "truncated above": (
        lambda a, b: dist.TruncatedNormal(a, b, high=0.5),
        (1.0, 2.0),
        partial(truncnorm, high=0.5),
    ),
    "truncated far out": (
        lambda a, b: dist.TruncatedNormal(a, b, low=5.0, high=9.0),
        (1.0, 1.0),
        partial(truncnorm, low=5.0, high=9.0),
    ),
    "half normal by truncation": (
        lambda b: dist.TruncatedNormal(0.0, b, low=0.0),
        (2.0,),
        lambda b: st.halfnorm(scale=b),
    ),
    "half cauchy by truncation": (
        lambda b: dist.TruncatedCauchy(0.0, b, low=0.0),
        (2.0,),
        lambda b: st.halfcauchy(scale=b),
    ),
    "truncated both": (
        lambda a, b: dist.TruncatedNormal(a, b, low=-1.0, high=2.0),
        (1.0, 2.0),
        partial(truncnorm, low=-1.0, high=2.0),
    ),
}
NUMERICAL = {
    **{
        f"gamma {a}": (dist.Gamma, (a, 2.0), lambda a, b: st.gamma(a, scale=1 / b))
        for a in (0.2, 1.0, 4.0, 1000.0)
    },
    **{f"beta {a} {b}": (dist.Beta, (a, b), st.beta) for a, b in [(2.0, 5.0), (1000.0, 600.0)]},
    **{f"student {df}": (dist.StudentT, (df, 1.0, 2.0), st.t) for df in (1.0, 3.0, 30.0, 100.0)},
    "inverse gamma": (dist.InverseGamma, (3.0, 2.0), lambda a, b: st.invgamma(a, scale=b)),
    "chi2": (dist.Chi2, (5.0,), st.chi2),
    "left of a beta": (dist.Beta, (0.2, 3.0), st.beta),
    "generic heavy tail": (Lomax, (1.5,), st.lomax),
    "generic line": (dist.SoftLaplace, (3.0, 2.0), lambda a, b: st.hypsecant(a, b)),
    "generic levy": (dist.Levy, (1.0, 2.0), st.levy),
}
FAMILIES = CLOSED | NUMERICAL
rows = pytest.mark.parametrize("name", FAMILIES)


def quantile(reference, u):
    """The reference's quantile in float64, each half from its own tail."""
    return np.where(u < 0, reference.ppf(st.norm.cdf(u)), reference.isf(st.norm.sf(u)))


@partial(jax.jit, static_argnums=0)
def derivatives(make, theta, u):
    """Value, its derivatives in u and in the parameters, and u and density of the value."""

    def value(theta, u):
        return from_normal(make(*theta), u)

    def at(u):
        x, slope = jax.value_and_grad(value, 1)(theta, u)
        fn = make(*theta)
        return x, slope, jax.jacfwd(value)(theta, u), to_normal(fn, x), fn.log_prob(x)

    return jax.vmap(at)(u)


def evaluated(name, u):
    """The five arrays of `derivatives`, in float32; compiled once per family."""
    make, parameters, _ = FAMILIES[name]
    u = np.concatenate([u, np.zeros(40 - len(u))])[:40]
    arrays = derivatives(make, jnp.asarray(parameters, jnp.float32), jnp.asarray(u, jnp.float32))
    return [np.asarray(array, float) for array in arrays]


@rows
def test_equals_scipy(name):
    _, parameters, reference = FAMILIES[name]
    value = evaluated(name, U)[0][: len(U)]
    expected = quantile(reference(*parameters), U)
    # In units of u, beyond the value's own rounding.
    slope = np.gradient(expected, U)
    rounding = 4e-7 * (np.abs(expected) + np.abs(parameters[0]))
    assert np.max((np.abs(value - expected) - rounding) / slope) < 1e-4
    if np.all(expected > 0) and "truncated" not in name:
        np.testing.assert_allclose(np.log(value), np.log(expected), atol=2e-4)


@rows
def test_comes_back(name):
    # Beyond this, values next to an end of the support round to it.
    reach = 3.0 if name == "uniform" or "truncated" in name else 4.5
    u = np.linspace(-reach, reach, 13)
    np.testing.assert_allclose(evaluated(name, u)[3][: len(u)], u, atol=3e-3)


@rows
def test_has_its_own_density(name):
    u = np.linspace(-3.0, 3.0, 13)
    _, slope, _, _, log_prob = (array[: len(u)] for array in evaluated(name, u))
    # In float32, NumPyro's own normalising constants are off by this much in some families.
    tolerance = 2e-3 if "1000" in name or "far out" in name else 3e-4
    np.testing.assert_allclose(log_prob + np.log(slope), st.norm.logpdf(u), atol=tolerance)


@rows
def test_derivatives_in_parameters(name):
    _, parameters, reference = FAMILIES[name]
    u = np.array([-3.0, -1.0, 0.0, 0.7, 3.0])
    computed = evaluated(name, u)[2][: len(u)]
    for i, parameter in enumerate(parameters):
        step = 1e-4 * parameter * np.eye(len(parameters))[i]
        high, low = (quantile(reference(*(np.array(parameters) + s * step)), u) for s in (1, -1))
        expected = (high - low) / (2 * step[i])
        scale = np.abs(expected) + 1e-3 * np.max(np.abs(expected)) + 1e-6
        assert np.max(np.abs(computed[:, i] - expected) / scale) < 1e-2, (i, computed[:, i])


@rows
def test_gradients_are_finite(name):
    u = np.array([-6.0, -1e-20, 0.0, 1e-20, 6.0])
    value, slope, by_parameters, _, _ = (array[: len(u)] for array in evaluated(name, u))
    for array in (value, slope, by_parameters):
        assert np.all(np.isfinite(array))
    assert np.all(slope[1:-1] > 0)
    np.testing.assert_allclose(slope[1:-1], slope[2], rtol=1e-4)


slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "name",
    [
        "half cauchy",
        "laplace",
        "gamma 4.0",
        slow("truncated both"),
        slow("beta 2.0 5.0"),
        slow("student 3.0"),
        slow("generic line"),
    ],
)
def test_second_derivatives(name):
    make, parameters, _ = FAMILIES[name]
    theta = jnp.asarray([*parameters, 0.8], jnp.float32)

    def value(theta):
        return from_normal(make(*theta[:-1]), theta[-1])

    gradient, second = jax.jit(jax.grad(value)), jax.jit(jax.jacfwd(jax.jacrev(value)))
    hessian = second(theta)
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-2, atol=1e-4)
    step = 1e-2
    for i in range(len(theta)):
        move = step * jnp.eye(len(theta))[i]
        change = (gradient(theta + move) - gradient(theta - move)) / (2 * step)
        np.testing.assert_allclose(hessian[i], change, rtol=2e-2, atol=3e-3)
    for u in (-6.0, 0.0, 6.0):
        assert np.all(np.isfinite(second(theta.at[-1].set(u))))


COVARIANCE = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.7]], np.float32)
VECTORS = {
    "normal by covariance": lambda: dist.MultivariateNormal(jnp.ones(3), COVARIANCE),
    "normal by precision": lambda: dist.MultivariateNormal(
        jnp.ones(3), precision_matrix=jnp.asarray(COVARIANCE)
    ),
    "low rank": lambda: dist.LowRankMultivariateNormal(
        jnp.ones(3), jnp.array([[1.0], [0.5], [-1.0]]), jnp.array([0.5, 1.0, 2.0])
    ),
    "student": lambda: dist.MultivariateStudentT(4.0, jnp.ones(3), jnp.linalg.cholesky(COVARIANCE)),
    "matrix": lambda: dist.MatrixNormal(
        jnp.ones((2, 3)), jnp.array([[1.0, 0.0], [0.4, 2.0]]), jnp.linalg.cholesky(COVARIANCE)
    ),
    "walk": lambda: dist.GaussianRandomWalk(0.7, 4),
    "independent": lambda: dist.Gamma(jnp.array([0.5, 2.0, 9.0]), 2.0).to_event(1),
    "ordered": lambda: dist.TransformedDistribution(
        dist.Normal(0.0, 2.0).expand((3,)), transforms.OrderedTransform()
    ),
    "affine": lambda: dist.TransformedDistribution(
        dist.StudentT(3.0), transforms.AffineTransform(1.0, -2.0)
    ),
}
# Families on a manifold, with free coordinates in which the Jacobian is square.
CORNERS = np.tril_indices(4, -1)
MANIFOLDS = {
    "dirichlet": (
        lambda: dist.Dirichlet(jnp.array([0.7, 2.0, 5.0, 1.0])),
        lambda value: value[:-1],
        4e-4,
    ),
    "lkj cholesky": (lambda: dist.LKJCholesky(4, 1.7), lambda value: value[CORNERS], 1e-3),
    "lkj": (lambda: dist.LKJ(4, 0.8), lambda value: value[CORNERS], 2e-3),
    "lkj 2": (lambda: dist.LKJCholesky(2, 3.0), lambda value: value[1, :1], 1e-3),
    "wishart": (
        lambda: dist.WishartCholesky(5.0, scale_tril=jnp.linalg.cholesky(COVARIANCE)),
        lambda value: value[np.tril_indices(3)],
        1e-3,
    ),
}


def check_density(fn, free, tolerance):
    shape = normal_shape(fn)
    size = int(np.prod(shape))

    @jax.jit
    def evaluate(u):
        def value(u):
            x = from_normal(fn, u.reshape(shape))
            return free(x).reshape(-1), x

        jacobian, x = jax.jacrev(value, has_aux=True)(u)
        return x, jacobian, jnp.sum(fn.log_prob(x)), to_normal(fn, x)

    for key in range(3):
        u = jax.random.normal(jax.random.key(key), (size,))
        _, jacobian, log_prob, back = evaluate(u)
        density = log_prob + np.linalg.slogdet(np.asarray(jacobian, float))[1]
        np.testing.assert_allclose(density, st.norm.logpdf(u).sum(), atol=tolerance)
        np.testing.assert_allclose(back.reshape(-1), u, atol=2e-3)
    assert np.all(np.isfinite(evaluate(jnp.zeros(size))[1]))


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_have_their_own_density(name):
    check_density(VECTORS[name](), lambda value: value, 2e-4)


@pytest.mark.parametrize("name", MANIFOLDS)
def test_manifolds_have_their_own_density(name):
    make, free, tolerance = MANIFOLDS[name]
    check_density(make(), free, tolerance)


def test_decreasing_transforms_still_increase_with_u():
    fn = VECTORS["affine"]()
    assert from_normal(fn, 1.0) > from_normal(fn, 0.0) > from_normal(fn, -1.0)


def test_wrappers_broadcast_what_they_wrap():
    row = dist.Gamma(jnp.array([[0.5], [2.0], [9.0]]), 2.0)
    u = jax.random.normal(jax.random.key(0), (5, 3, 4))
    expected = jax.vmap(
        jax.vmap(lambda a, u: from_normal(dist.Gamma(a, 2.0).expand((4,)), u)), (None, 0)
    )(jnp.array([0.5, 2.0, 9.0]), u)
    expanded = row.expand((5, 3, 4))
    for fn in (
        expanded,
        expanded.to_event(2),
        expanded.mask(False),
        expanded.to_event(1).mask(True),
    ):
        assert normal_shape(fn) == (5, 3, 4)
        np.testing.assert_allclose(from_normal(fn, u), expected, rtol=1e-5)
        np.testing.assert_allclose(to_normal(fn, expected), u, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: dist.LKJCholesky(3, jnp.ones((2, 1))).expand((2, 4)), (2, 4, 3)),
        (lambda: dist.Dirichlet(jnp.ones((2, 5))).to_event(1), (2, 4)),
        (lambda: dist.MultivariateNormal(jnp.zeros(3), jnp.eye(3)).expand((2,)), (2, 3)),
        (lambda: dist.TruncatedNormal(jnp.zeros(3), 1.0, low=0.0).expand((2, 3)), (2, 3)),
        (lambda: dist.Weibull(jnp.ones(2), 1.0).expand((4, 2)).to_event(2), (4, 2)),
    ],
)
def test_batches(make, shape):
    fn = make()
    assert normal_shape(fn) == shape
    u = jax.random.normal(jax.random.key(1), shape)
    value = jax.jit(lambda u: from_normal(fn, u))(u)
    assert value.shape == fn.shape()
    np.testing.assert_allclose(to_normal(fn, value), u, atol=1e-3)


@pytest.mark.parametrize(
    "fn",
    [
        lambda: dist.Poisson(1.0),
        lambda: dist.BernoulliLogits(0.0).expand((3,)),
        lambda: dist.CategoricalProbs(jnp.ones(3) / 3).mask(True),
        lambda: dist.ImproperUniform(dist.constraints.real, (), ()),
        lambda: dist.ImproperUniform(dist.constraints.real, (2,), ()).to_event(1),
        lambda: dist.Delta(1.0),
        lambda: dist.HurdleGamma(0.3, 2.0, 1.0),
        lambda: dist.ProjectedNormal(jnp.ones(3)),
    ],
)
def test_no_map(fn):
    assert normal_shape(fn()) is None
    assert not has_closed_form(fn())
    with pytest.raises(BadgerError, match="no map"):
        from_normal(fn(), jnp.zeros(()))


def test_closed_forms_are_known():
    assert all(has_closed_form(make(*parameters)) for make, parameters, _ in CLOSED.values())
    assert not any(has_closed_form(make(*parameters)) for make, parameters, _ in NUMERICAL.values())
    assert has_closed_form(dist.Normal(0, 1).expand((2,)).to_event(1).mask(False))
    assert not has_closed_form(dist.LKJ(3, 1.0))


def test_a_wrong_shape_is_named():
    with pytest.raises(BadgerError, match=r"\(3,\)"):
        from_normal(dist.Normal(jnp.zeros(3), 1.0), jnp.zeros(2))


def test_far_beyond_the_tails_stays_finite():
    for fn in (dist.Gamma(2.0, 1.0), dist.Beta(2.0, 2.0), dist.StudentT(30.0), Skewed(1.0)):
        u = jnp.array([-12.0, -9.0, 9.0, 12.0])
        value = from_normal(fn.expand((4,)), u)
        assert np.all(np.isfinite(value))
        assert np.all(np.diff(value) >= 0)


def test_a_generic_family_far_from_zero():
    fn = Skewed(0.8)
    u = jnp.linspace(-4.0, 4.0, 9)
    value = jax.vmap(lambda u: from_normal(fn, u))(u)
    expected = quantile(st.norm(20, 3), np.asarray(u))
    # The density is skewed, so only its own identity is known.
    slope = jax.vmap(jax.grad(lambda u: from_normal(fn, u)))(u)
    np.testing.assert_allclose(fn.log_prob(value) + jnp.log(slope), st.norm.logpdf(u), atol=1e-3)
    assert np.all(np.asarray(value) > expected - 1e-3)


CLUSTERS = dist.MixtureSameFamily(
    dist.Categorical(probs=jnp.array([0.3, 0.5, 0.2])),
    dist.Normal(jnp.array([-3.0, 0.0, 9.0]), jnp.array([0.3, 1.0, 0.5])),
)


def test_a_mixture_of_normals_there_and_back_through_its_gaps():
    u = jnp.linspace(-6.0, 6.0, 97)
    value = from_normal(CLUSTERS.expand((97,)), u)
    assert (jnp.diff(value) > 0).all()
    exact = sum(
        w * st.norm.cdf(np.asarray(value, float), m, s)
        for w, m, s in ((0.3, -3.0, 0.3), (0.5, 0.0, 1.0), (0.2, 9.0, 0.5))
    )
    error = np.abs(exact - st.norm.cdf(np.asarray(u, float)))
    assert (error < 2e-6).all()
    # In a gap of the clusters u hardly moves: what is lost there is a value without mass.
    back = to_normal(CLUSTERS.expand((97,)), value)
    np.testing.assert_allclose(back, u, atol=2e-3)


def test_a_mixture_of_normals_may_be_learned():
    def value(logits, loc, scale, u):
        mixing = dist.Categorical(logits=logits)
        return from_normal(dist.MixtureSameFamily(mixing, dist.Normal(loc, scale)), u)

    logits, loc = jnp.array([0.2, -0.4]), jnp.array([-1.0, 1.5])
    scale, u = jnp.array([0.5, 0.8]), jnp.array(0.3)
    found = jax.grad(value, (0, 1, 2, 3))(logits, loc, scale, u)
    step = 1e-3
    for i, (point, slope) in enumerate(zip((logits, loc, scale, u), found, strict=True)):
        for j in np.ndindex(point.shape):
            ends = []
            for sign in (1, -1):
                moved = [logits, loc, scale, u]
                moved[i] = point.at[j].add(sign * step)
                ends.append(float(value(*moved)))
            assert slope[j] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=5e-3)


def test_other_mixtures_have_no_map():
    parts = dist.Gamma(jnp.array([1.0, 9.0]), 1.0)
    fn = dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.5, 0.5])), parts)
    assert normal_shape(fn) is None


def test_what_leaves_single_precision_stays_next_to_it():
    """Priors as vague as in BUGS, whose draws underflow and overflow; and what is made of them."""
    tiny, most = jnp.finfo(jnp.float32).tiny, jnp.finfo(jnp.float32).max
    u = jnp.array([-6.0, -1.0, 0.0, 1.0, 6.0])
    for fn in (
        dist.Gamma(0.01, 0.01),
        dist.InverseGamma(0.001, 0.001),
        dist.Beta(1e-36, 1e-36),
        dist.Beta(1e-20, 3.0),
        dist.LogNormal(0.0, 100.0),
        dist.Weibull(1.0, 0.01),
        dist.Pareto(1.0, 0.01),
        dist.StudentT(0.01, 0.0, 1.0),
    ):
        value, slope = jax.vmap(jax.value_and_grad(lambda u, fn=fn: from_normal(fn, u)))(u)
        assert np.all(np.isfinite(value)), fn
        assert np.all(np.isfinite(slope)), fn
        assert np.all(np.diff(value) >= 0), fn
        assert np.all((np.abs(value) >= tiny) | (value == 0)), fn
        assert np.all(np.abs(value) <= most), fn
    # Half of the mass of a Beta with next to no concentration is at either end.
    ends = from_normal(dist.Beta(1e-36, 1e-36).expand((2,)), u[1::2])
    np.testing.assert_allclose(ends, [0, 1], rtol=1e-6, atol=2 * tiny)
