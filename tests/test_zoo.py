"""Every distribution of NumPyro: maps, densities, information, simulation, and the contract."""

import functools
import json

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
from zoo import COUNTS, OUT_OF_SCOPE, UNIVARIATE, VECTORS, ZOO

from bayes_badger.errors import BadgerError
from bayes_badger.program import Data, Step, lift
from bayes_badger.program.information import outcome_information
from bayes_badger.program.prior_normal import from_normal, normal_shape, to_normal
from bayes_badger.program.support import supported
from benchmarks._kept import Kept, between
from benchmarks._zoo_reference import Weighed, as_json, from_json, known, reference
from benchmarks.zoo import compared

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
    return [
        pytest.param(name, marks=pytest.mark.nightly) if name in slow else name for name in names
    ]


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
    # roundings are in u, by the slope to the flatter side; beyond the last of U the slope goes on
    # to fall as it fell before.
    steps = np.diff(value) / np.diff(U)
    first, last = (a * min(1.0, a / max(b, 1e-300)) for a, b in (steps[:2], steps[:-3:-1]))
    slope = np.minimum(np.append(steps, last), np.insert(steps, 0, first))
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


def latents(scope, entries, parent, column):
    """A program whose latents have these priors, moved by a latent and by a column."""
    values = []
    for at, entry in enumerate(entries.values()):
        first, *rest = entry.at or (None,)
        moved = [] if first is None else [first * jnp.exp(0.1 * jnp.tanh(parent + column)), *rest]
        value = numpyro.sample(f"{scope}_{at}", entry.make(*moved))
        values.append(jnp.tanh(0.1 * value.reshape(*value.shape[: jnp.ndim(column)], -1).sum(-1)))
    return sum(values)


def of_priors(shared, own):
    """A program of these as latents of the lifetime, and of those as latents of a task."""

    def model(x, y=None, *, age):
        parent = numpyro.sample("parent", dist.Normal(0.0, 1.0))
        common = latents("shared", shared, parent, 0.0)
        with numpyro.plate("task", x.shape[0], dim=-2):
            level = latents("own", own, parent, age)
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(common + level * x, 1.0), obs=y)

    return model


def of_outcome(entry):
    """A program with that outcome, moved by a latent and by a column."""

    def model(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                if entry.at:
                    first = entry.at[0] * jnp.exp(0.1 * jnp.tanh(z) * jnp.tanh(x))
                    fn = entry.make(first, *entry.at[1:])
                else:
                    fn = entry.make().expand(x.shape)
                numpyro.sample("y", fn, obs=y)

    return model


@functools.cache
def with_outcome(name):
    """The lifted program with that outcome; lifting takes longer than most checks."""
    return lift(of_outcome(ZOO[name]))


@functools.cache
def with_prior(name):
    """The lifted program with that prior, of a latent of the lifetime and of one of a task."""
    return lift(of_priors({name: ZOO[name]}, {name: ZOO[name]}))


def check_density(program, columns, task_columns):
    """A lifted program's log density against NumPyro's own, at what the program draws."""
    model = program.model
    data = Data(columns, task_columns)
    drawn = program.simulate(jax.random.key(1), data)
    data = data._replace(outcome=drawn.outcome)
    sites = {x.name: x.as_site(drawn.values[x.name]) for x in program.latents}
    given_sites = handlers.substitute(handlers.seed(model, 0), data=sites)
    trace = handlers.trace(given_sites).get_trace(
        *columns.values(), y=drawn.outcome, **task_columns
    )
    priors = program.log_prior_by_site(drawn.values, task_columns, data.tasks)
    for name, density in priors.items():
        expected = np.sum(trace[name]["fn"].log_prob(trace[name]["value"]))
        np.testing.assert_allclose(np.sum(density), expected, rtol=2e-4, atol=2e-4, err_msg=name)
    rows = program.log_likelihood_of(drawn.values, data)
    expected = trace["y"]["fn"].log_prob(trace["y"]["value"])
    np.testing.assert_allclose(rows, expected, rtol=2e-4, atol=2e-4)
    assert np.all(np.isfinite(rows))
    return program


X = {"x": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3)}
AGE = {"age": jnp.array([[0.3], [-0.6]])}
CHEAP = ["normal", "log normal", "half normal", "exponential", "pareto", "uniform", "gumbel"]
PRIORS = [name for name in ZOO if "prior" in ZOO[name].roles]
OUTCOMES = [name for name in ZOO if "outcome" in ZOO[name].roles]
QUICK = {
    "log normal", "ordered logistic", "zero-inflated poisson", "hurdle gamma", "right-censored",
    "multinomial logits", "normal above", "shifted exponential",
}  # fmt: skip


def test_priors_lift_with_their_own_density():
    """Half of them are the lifetime's, half the tasks'; a test of each alone is slow."""
    shared, own = ({name: ZOO[name] for name in CHEAP[start::2]} for start in (0, 1))
    program = check_density(lift(of_priors(shared, own)), X, AGE)
    assert program.prior_normal
    assert not program.without_gradient
    check_simulated_priors(program, shared, own)


@pytest.mark.nightly
@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_lifts_with_its_own_density(name):
    """As latent of a lifetime and of a task."""
    program = check_density(with_prior(name), X, AGE)
    assert len(program.latents) == 3


@pytest.mark.parametrize("name", slowly(OUTCOMES, set(OUTCOMES) - QUICK))
def test_an_outcome_lifts_with_its_own_density(name):
    program = check_density(with_outcome(name), X, {})
    assert program.outcome.discrete == (name in COUNTS or "multinomial" in name)


# --- against finite differences, and against draws of NumPyro

# A chance of one in a thousand that any of all comparisons with draws is a false alarm, if their
# seeds were drawn anew: fewer than 5,000 numbers are compared, each on both sides.
FALSE_ALARMS, COMPARISONS, DRAWS, SCORES = 1e-3, 5000, 4000, 40_000
FURTHEST = st.norm.isf(FALSE_ALARMS / COMPARISONS / 2)
QUICK_TO_DRAW = {"ordered logistic", "hurdle gamma", "multinomial logits", "zero-inflated poisson"}


def differences(program, latent, row, width):
    """Score and minus second derivative of a row's log likelihood, by central differences."""
    at = [program.log_likelihood(latent + i * width, row) for i in (-2, -1, 0, 1, 2)]
    slope = (at[0] - 8 * at[1] + 8 * at[3] - at[4]) / (12 * width)
    bend = -(-at[0] + 16 * at[1] - 30 * at[2] + 16 * at[3] - at[4]) / (12 * width**2)
    return slope[..., None], bend


@pytest.mark.parametrize("name", slowly(OUTCOMES, set(OUTCOMES) - QUICK_TO_DRAW))
def test_score_and_information_are_those_of_finite_differences(name):
    """In double precision; an information in closed form against the variance of the score."""
    program, n = with_outcome(name), SCORES
    x = jnp.full((1, n), 1.3)
    data, at = Data({"x": x}, {}), jnp.array([0.4])
    value = {"z": jnp.full((1,), 0.4)}
    outcome = program.simulate(jax.random.key(2), data, value).outcome[0]
    whole = jnp.issubdtype(outcome.dtype, jnp.integer)
    with jax.enable_x64(True):
        outcome = jnp.asarray(np.asarray(outcome), int if whole else float)
        rows = Step({"x": jnp.full(n, 1.3)}, {}, outcome)
        latent, width = jnp.asarray(np.asarray(at), float), 1e-3
        few = jax.tree.map(lambda column: column[:20], rows)
        score = jax.jit(jax.vmap(program.score, (None, 0)))(latent, few)
        slope, bend = jax.jit(
            jax.vmap(lambda latent, row: differences(program, latent, row, width), (None, 0))
        )(latent, rows)
        information = jax.jit(jax.vmap(program.fisher, (None, 0)))(latent, few)[:, 0, 0]
        score, slope, bend, information = map(np.asarray, (score, slope, bend, information))
    # Where a density has a kink, differences across it say nothing; these are few.
    smooth = np.abs(bend[:20]) < 1e3
    assert smooth.sum() > 15
    np.testing.assert_allclose(score[smooth], slope[:20][smooth], rtol=1e-5, atol=1e-6)
    if program.information == "observed":
        expected = np.maximum(bend[:20], 0.0)[smooth]
        np.testing.assert_allclose(information[smooth], expected, rtol=1e-4, atol=1e-5)
    else:
        squares = slope[:, 0] ** 2
        error = FURTHEST * squares.std() / np.sqrt(n)
        assert abs(squares.mean() - information[0]) <= error + 1e-6


def check_moments(ours, theirs):
    """Means and mean squares of the arcsinh of two samples, `[draw, ...]`: all have these."""
    for power in (1, 2):
        a, b = (np.arcsinh(np.asarray(x, float)) ** power for x in (ours, theirs))
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
        assert np.all(np.abs(a.mean(0) - b.mean(0)) <= FURTHEST * error + 1e-6)


def check_independent(drawn):
    """No correlation between neighbours along the last axis, `[draw, n]`."""
    drawn = np.arcsinh(np.asarray(drawn, float))
    if np.all(drawn.std(0) > 0):
        apart = (drawn - drawn.mean(0)) / drawn.std(0)
        products = apart[:, 1:] * apart[:, :-1]
        error = products.std(0) / np.sqrt(len(drawn))
        assert np.all(np.abs(products.mean(0)) <= FURTHEST * error)


def simulated(program, data, given_values):
    keys = jax.random.split(jax.random.key(3), DRAWS)
    return jax.jit(jax.vmap(lambda key: program.simulate(key, data, given_values)))(keys)


@pytest.mark.parametrize("name", slowly(OUTCOMES, set(OUTCOMES) - QUICK_TO_DRAW))
def test_simulated_outcomes_have_the_moments_of_numpyros_own(name):
    """Given the task's latent; and none knows of its neighbour."""
    program, entry = with_outcome(name), ZOO[name]
    z = np.array([-1.0, 0.8])
    found = simulated(program, Data(X, {}), {"z": jnp.asarray(z, jnp.float32)}).outcome
    fn = None if entry.at else entry.make().expand((2, 3))
    if entry.at:
        first = entry.at[0] * np.exp(0.1 * np.tanh(z)[:, None] * np.tanh(X["x"]))
        fn = entry.make(jnp.asarray(first), *entry.at[1:])
    check_moments(found, fn.sample(jax.random.key(4), (DRAWS,)))
    found = np.asarray(found, float)
    check_independent(found.reshape(DRAWS, 6, -1)[:, :, 0])
    assert np.all(np.isfinite(found))


def check_simulated_priors(program, shared, own):
    """Latents given their parent, against NumPyro's own draws."""
    found = simulated(program, Data(X, AGE), {"parent": jnp.float32(0.7)}).values
    for scope, entries, column in (("shared", shared, 0.0), ("own", own, AGE["age"][:, 0])):
        for at, entry in enumerate(entries.values()):
            if entry.at:
                first = entry.at[0] * jnp.exp(0.1 * jnp.tanh(0.7 + column))
                fn = entry.make(first, *entry.at[1:])
            else:
                fn = entry.make().expand(jnp.shape(column))
            theirs = fn.sample(jax.random.key(5), (DRAWS,))
            ours = found[f"{scope}_{at}"]
            assert ours.shape == theirs.shape
            check_moments(ours, theirs)
            if scope == "own":
                check_independent(np.asarray(ours).reshape(DRAWS, 2, -1)[:, :, 0])


@pytest.mark.nightly
@pytest.mark.parametrize("name", PRIORS)
def test_simulated_latents_have_the_moments_of_numpyros_own(name):
    check_simulated_priors(with_prior(name), {name: ZOO[name]}, {name: ZOO[name]})


@pytest.mark.nightly
@pytest.mark.parametrize("name", OUTCOMES)
def test_information_is_the_variance_of_the_score(name):
    """E[score scoreᵀ] by Monte Carlo, five standard errors; where it has a closed form."""
    entry, n = ZOO[name], 20_000
    at = jnp.asarray(entry.at, jnp.float32)
    known = outcome_information(entry.make(*at))
    if known is None:
        assert type(entry.make(*at)).__name__ not in ("Normal", "Poisson", "BinomialProbs")
        return
    jacobian = jax.jacfwd(lambda at: outcome_information(entry.make(*at))[0])(at)
    information = jacobian.T @ known[1] @ jacobian
    drawn = entry.make(*at).sample(jax.random.key(0), (n,))
    score = jax.vmap(jax.grad(lambda at, y: entry.make(*at).log_prob(y)), (None, 0))(at, drawn)
    products = np.asarray(score[:, :, None] * score[:, None, :], float)
    error = products.std(0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(0) - information) < 5 * error + 1e-3 * np.abs(information))


# --- the benchmark that draws programs from the table


def test_the_quadrature_of_the_benchmark_is_exact():
    """Levels around a shared one, with a discrete latent beside that changes nothing."""

    def model(x, y=None, *, age):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(a, 1.0))
            numpyro.sample("side", dist.Bernoulli(0.3))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)

    y = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    found = reference(model, {"x": np.zeros((3, 2)), "age": np.zeros((3, 1))}, y)
    # Tasks' means are N(a, 1 + 1/2).
    precision = 1 + 3 / 1.5
    mean, sd, kurtosis = found.numbers["a",][:3]
    np.testing.assert_allclose(mean, y.mean(1).sum() / 1.5 / precision, atol=1e-6)
    np.testing.assert_allclose((sd, kurtosis), (precision**-0.5, 3.0), rtol=1e-6)
    covariance = 1.0 + np.kron(np.eye(3), np.ones((2, 2))) + np.eye(6)
    right = st.multivariate_normal(np.zeros(6), covariance).logpdf(y.ravel().astype(float))
    np.testing.assert_allclose(found.log_evidence, right, atol=1e-6)
    np.testing.assert_allclose(found.numbers["side", 1].mean, 0.3, atol=1e-7)
    assert found.error < 1e-6
    assert from_json(json.loads(json.dumps(as_json(found)))) == found


def test_the_benchmark_sees_what_is_wrong():
    """Draws that are off by .3 and too wide by a fifth; and right ones of a heavy tail."""
    rng = np.random.default_rng(0)
    nodes = np.linspace(-8.0, 8.0, 801)
    weights = st.norm.pdf(nodes)
    right = known(Weighed(nodes, weights / weights.sum(), np.inf))
    off, noise, ratio, of_ratio = compared(0.3 + 1.2 * rng.normal(size=(4, 1000)), right)
    assert abs(off - 0.3) < 5 * 1.2 * noise
    assert abs(ratio - 1.2) < 5 * 1.2 * of_ratio
    assert noise < 0.02
    heavy = np.tan(np.pi * (np.arange(1e5) + 0.5) / 1e5 - np.pi / 2)
    of_heavy = known(Weighed(heavy, np.full(100_000, 1e-5), np.inf))
    off, noise, ratio, of_ratio = compared(rng.standard_cauchy((4, 1000)), of_heavy)
    assert off < 5 * noise
    assert abs(ratio - 1) < 5 * of_ratio
    assert of_ratio < 0.03


def test_results_are_kept_one_by_one(tmp_path):
    kept = Kept("some", tmp_path)
    assert kept.rows() == {}
    for value in (1, 2):
        kept.add("a", {"value": value})
    kept.add("b", {"value": 3})
    assert {key: row["value"] for key, row in kept.rows().items()} == {"a": 2, "b": 3}
    assert [between(words, 9) for words in ("", "5", "2:4", "3:", ":3")] == [
        range(9), range(5), range(2, 4), range(3, 9), range(3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dist.Delta(1.0), "numpyro.deterministic('odd'"),
        (lambda: dist.ImproperUniform(dist.constraints.real, (), ()), "dist.Normal(0.0, 100.0)"),
        (lambda: dist.HurdleGamma(0.3, 2.0, 1.0), "dist.Bernoulli(...)"),
        (lambda: dist.RightCensoredDistribution(dist.Normal(0.0, 1.0)), "dist.Normal(...)"),
    ],
)
def test_what_no_latent_can_have_is_refused_by_name(make, words):
    def model(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            odd = numpyro.sample("odd", make())
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(odd + x, 1.0), obs=y)

    with pytest.raises(BadgerError) as error:
        lift(model)
    assert "'odd'" in str(error.value)
    assert type(make()).__name__ in str(error.value)
    assert words in str(error.value)
