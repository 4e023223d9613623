"""Every inner loop keeps the same contract, and those that are exact agree with truth and NUTS."""

import dataclasses
import re

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import programs
import pytest
from hierarchies import gaussian_evidence, joint_covariance, shelf_evidence
from scipy.special import gammaln

import bayes_badger as bb
from bayes_badger.belief import Posterior, kl, standard_normal
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence, from_arrays
from bayes_badger.inner_loop import _split, registry
from bayes_badger.inner_loop._nested import Nested
from bayes_badger.inner_loop._quadratic import Where
from bayes_badger.inner_loop.protocol import InnerLoop, silent
from bayes_badger.labels import Labels
from bayes_badger.shelves import load_program

TASKS, STEPS = 4, 6


def loop(name, **settings):
    module = registry.module(name)
    return module.make(module.Settings(**settings))


@pytest.fixture(scope="module")
def gaussian():
    return gaussian_evidence(TASKS, STEPS)


@pytest.fixture(scope="module")
def schools():
    return shelf_evidence("eight_schools")


# --- the contract

SMALL = {
    "auto": {},
    "enumerate": {"chains": 1, "draws": 100},
    "exact": {"chains": 1, "draws": 100},
    "experts": {"chains": 1, "draws": 100, "experts": 16},
    "gradient": {"chains": 1, "draws": 2},
    "grid": {"chains": 1, "draws": 100},
    "laplace": {"chains": 1, "draws": 100},
    "nuts": {"chains": 1, "draws": 50, "warmup": 50},
    "set_network": {"chains": 1, "draws": 50, "steps": 2, "tasks": 4, "width": 8},
}


def test_every_inner_loop_has_a_row():
    assert set(SMALL) == set(registry.inner_loops())


# What does not apply to the normal hierarchy, and why.
REFUSED = {
    "enumerate": "has no discrete latents to sum over",
    **dict.fromkeys(
        ("gradient", "set_network"),
        "cannot yet carry what tasks share (a) from one to the next",
    ),
}


@pytest.mark.parametrize("name", sorted(set(SMALL) - set(REFUSED)))
def test_the_contract(name, gaussian):
    keeps_the_contract(name, *gaussian)


@pytest.mark.parametrize("name", ["experts", "gradient", "set_network"])
def test_the_contract_where_tasks_share_nothing(name):
    keeps_the_contract(name, *shelf_evidence("logistic", TASKS, STEPS))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_contract_of_a_refusal(name, gaussian):
    inner = loop(name, **SMALL[name])
    assert inner.why_not(*gaussian) == REFUSED[name]
    with pytest.raises(BadgerError, match=re.escape(f"{name} {REFUSED[name]}")):
        inner.infer(*gaussian, jax.random.key(0))


def keeps_the_contract(name, program, evidence):
    inner = loop(name, **SMALL[name])
    assert isinstance(inner, InnerLoop)
    assert inner.why_not(program, evidence) is None
    told = []
    posterior = inner.infer(program, evidence, jax.random.key(0), lambda *words: told.append(words))
    assert isinstance(posterior, Posterior)
    assert told
    assert set(posterior.draws.values) == {variable.name for variable in program.variables}
    for latent in program.select("task"):
        draws = posterior.draws.values[latent.name]
        assert draws.shape[2:] == (TASKS, *latent.shape)
        assert draws.dtype == np.float32
    assert "nothing" in inner.why_not(program, evidence.select([]))
    again = inner.infer(program, evidence, jax.random.key(0))
    for variable, draws in posterior.draws.values.items():
        np.testing.assert_array_equal(draws, again.draws.values[variable])
    assert not jax.config.jax_enable_x64


# --- exact, against closed forms


def test_the_evidence_and_the_posterior_of_the_normal_hierarchy(gaussian):
    program, evidence = gaussian
    posterior = loop("exact", chains=4, draws=2000).infer(program, evidence, jax.random.key(0))
    y, covariance = evidence.outcome, joint_covariance(TASKS, STEPS)
    solved = np.linalg.solve(covariance, y)
    truth = -0.5 * y @ solved - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert posterior.log_evidence == pytest.approx(truth, rel=1e-7)
    with_y = {"a": np.ones(len(y)), "z": 1.0 + np.kron(np.eye(TASKS), np.ones(STEPS))}
    means = {"a": with_y["a"] @ solved, "z": with_y["z"] @ solved}
    variances = {
        "a": 1 - with_y["a"] @ np.linalg.solve(covariance, with_y["a"]),
        "z": 2 - np.diag(with_y["z"] @ np.linalg.solve(covariance, with_y["z"].T)),
    }
    for name, mean in means.items():
        np.testing.assert_allclose(posterior.means[name], mean, rtol=1e-5)
        draws = posterior.draws.values[name].reshape(8000, *np.shape(mean))
        error = np.sqrt(variances[name] / 8000)
        assert (np.abs(draws.mean(0) - mean) < 5 * error).all()
        assert (np.abs(draws.std(0) ** 2 / variances[name] - 1) < 5 * np.sqrt(2 / 8000)).all()
    # In coordinates a = u_a and z = u_a + u_z.
    for i in range(TASKS):
        own = jax.tree.map(lambda x, i=i: x[i], eqx.filter(posterior.mixture, eqx.is_array))
        root = np.asarray(own.scale_tril[0], np.float64)
        both = np.array([[1.0, 0.0], [1.0, 1.0]])
        spread = both @ root @ root.T @ both.T
        np.testing.assert_allclose(both @ own.loc[0], [means["a"], means["z"][i]], rtol=1e-5)
        np.testing.assert_allclose(np.diag(spread), [variances["a"], variances["z"][i]], rtol=1e-5)


def test_the_expected_divergence_is_the_information():
    """E KL(posterior, prior) = I(z; D) = log(1 + n (γ² + τ²) / σ²) / 2, for one task of n rows.

    The covariance does not depend on the outcome and the mean is linear in it, so that the
    expectation needs as many fits as there are rows, and no sampling.
    """
    program, evidence = gaussian_evidence(1, 10)
    exact = loop("exact", chains=1, draws=1)
    covariance = joint_covariance(1, 10)
    root = np.linalg.cholesky(covariance)

    def belief(y):
        found = exact.infer(program, dataclasses.replace(evidence, outcome=y), jax.random.key(0))
        arrays, static = eqx.partition(found.mixture, eqx.is_array)
        return eqx.combine(jax.tree.map(lambda x: x[0], arrays), static)

    prior = standard_normal(program.latents)
    at_zero = float(kl(belief(np.zeros(10)), prior).lower)
    # KL is quadratic in y: over y = root e the mean of e² is 1.
    total = at_zero + sum(float(kl(belief(x), prior).lower) - at_zero for x in root.T)
    assert total == pytest.approx(0.5 * np.log(1 + 2 * 10), rel=1e-5)


def test_what_tasks_tell_of_the_lifetime():
    """E KL(q(a), p(a)) = I(a; D_1:m) = log(1 + m / (1 + 1/n)) / 2."""
    m, n = 3, 10
    program, evidence = gaussian_evidence(m, n)
    exact = loop("exact", chains=1, draws=1)
    posterior = exact.infer(program, evidence, jax.random.key(0))
    variance = float(posterior.mixture.scale_tril[0, 0, 0, 0]) ** 2
    assert -0.5 * np.log(variance) == pytest.approx(0.5 * np.log(1 + m / (1 + 1 / n)), rel=1e-5)


# --- grid


def schools_by_quadrature(program, evidence):
    """Means of mu and tau: mu and theta by hand, then a sum over 400,001 values of log tau."""
    y, sigma = evidence.outcome, evidence.columns["sigma"]
    log_tau = np.linspace(-25, 15, 400_001)
    variance = sigma**2 + np.exp(2 * log_tau)[:, None]
    precision = (1 / variance).sum(1) + 1 / 25
    mean = (y / variance).sum(1) / precision
    log_weight = -0.5 * (np.log(variance) + y**2 / variance).sum(1)
    log_weight += 0.5 * precision * mean**2 - 0.5 * np.log(precision)
    log_weight += log_tau - np.log1p(np.exp(2 * log_tau) / 25)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return weight @ mean, weight @ np.exp(log_tau)


def test_eight_schools_to_the_last_digit(schools):
    program, evidence = schools
    posterior = loop("grid", chains=1, draws=10).infer(program, evidence, jax.random.key(0))
    mu, tau = schools_by_quadrature(program, evidence)
    assert (round(mu, 3), round(tau, 3)) == (4.397, 3.598)
    assert posterior.means["mu"] == pytest.approx(mu, abs=1e-5)
    assert posterior.means["tau"] == pytest.approx(tau, abs=1e-4)
    # Reference draws, 10,000: five standard errors.
    reference = [6.151, 4.940, 3.906, 4.796, 3.614, 4.051, 6.317, 4.884]
    spread = np.array([5.616, 4.645, 5.280, 4.771, 4.614, 4.796, 5.003, 5.317])
    assert (np.abs(posterior.means["theta"] - reference) < 5 * spread / 100).all()


def test_a_lattice_and_a_closed_form_agree(schools):
    """mu on the lattice beside tau, with theta in closed form, or both integrated."""
    program, evidence = schools
    found = _split.split(program, evidence)
    assert (found.names, found.linear) == (("tau",), Where((0,), (0,)))
    both = dataclasses.replace(
        found, linear=Where((), (0,)), lattice=Where((0, 1), ()), names=("mu", "tau")
    )
    assert nested(program, evidence, found) == pytest.approx(
        nested(program, evidence, both), abs=1e-5
    )


def nested(program, evidence, split):
    """The log evidence by a split of one's own."""
    return Nested(program, evidence, split, 1e-4, silent).outer().log_evidence


@pytest.mark.slow
def test_nothing_in_closed_form_agrees_too(schools):
    program, evidence = schools[0], schools[1].select(np.arange(2))
    found = _split.split(program, evidence)
    every = dataclasses.replace(found, linear=Where((), ()), lattice=Where((0, 1), (0,)))
    assert nested(program, evidence, found) == pytest.approx(
        nested(program, evidence, every), abs=1e-4
    )


def test_coins_are_beta_distributions():
    program, evidence = shelf_evidence("coin", 6, 12)
    posterior = loop("grid", chains=1, draws=4000).infer(program, evidence, jax.random.key(1))
    heads = np.bincount(evidence.task_index, evidence.outcome)
    tails = evidence.lengths - heads
    truth = gammaln(heads + 1) + gammaln(tails + 1) - gammaln(heads + tails + 2)
    np.testing.assert_allclose(posterior.log_evidence_by_task, truth, atol=1e-4)
    draws = posterior.draws.values["p"][0]
    mean = (heads + 1) / (evidence.lengths + 2)
    error = np.sqrt(mean * (1 - mean) / (evidence.lengths + 3) / 4000)
    assert (np.abs(draws.mean(0) - mean) < 5 * error).all()


def spread_and_weights():
    """A lattice over a task's spread, its four weights in closed form; compiled anew each time."""

    def model(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            spread = numpyro.sample("spread", dist.LogNormal(0, 0.5))[..., None]
            w = numpyro.sample("w", dist.Normal(0, 1).expand([4]).to_event(1))
            curve = (spread * w * x[..., None] ** jnp.arange(4)).sum(-1)
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(curve, 0.5), obs=y)

    return bb.lift(model, inputs=lambda key, t, s: {"x": jax.random.normal(key, (t, s))})


def test_many_points_are_taken_as_memory_allows(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, 6))
    found = []
    for most in (2**26, 10_000):
        monkeypatch.setattr("bayes_badger.inner_loop._quadratic.SLOPES", most)
        program = spread_and_weights()
        evidence = from_arrays(program.signature, {"x": x}, y, {})
        found.append(loop("grid", chains=1, draws=100).infer(program, evidence, jax.random.key(0)))
    whole, part = found
    assert part.log_evidence == pytest.approx(whole.log_evidence, rel=1e-12)
    for name, draws in whole.draws.values.items():
        np.testing.assert_allclose(part.draws.values[name], draws, rtol=1e-5)


def test_too_many_dimensions_are_refused_with_their_number():
    small = loop("grid", evaluations=10.0)
    assert "evaluations" in small.why_not(*shelf_evidence("coin"))

    def wide(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            w = numpyro.sample("w", dist.Normal(0, 1).expand([4]).to_event(1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Poisson(np.e ** (w.sum(-1) + x)), obs=y)

    program = bb.lift(wide, inputs=lambda key, t, s: {"x": np.zeros((t, s))})
    table = Evidence(
        columns={"x": np.zeros(2)},
        outcome=np.zeros(2, int),
        task_columns={},
        task_index=np.zeros(2, int),
        tasks=np.zeros(1, int),
        rows=np.array([1, 2]),
        outcome_name="y",
    )
    assert "more than 3 dimensions per task" in loop("grid").why_not(program, table)


# --- what is found to be linear-Gaussian


@pytest.mark.parametrize(
    ("name", "lattice"),
    [
        ("gaussian", ()),
        ("linear", ()),
        ("eight_schools", ("tau",)),
        ("coin", ("p",)),
        ("wave", ("log_amplitude", "frequency", "phase")),
        ("radon", ("between", "within")),
    ],
)
def test_splits(name, lattice):
    assert _split.split(*shelf_evidence(name)).names == lattice


def test_what_bends_is_found_whatever_the_rows_are():
    """A term that is not linear, in a row of one task only, or in none of the rows at hand."""

    def bent(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z + x * jnp.sin(z), 1.0), obs=y)

    program = bb.lift(bent, inputs=lambda key, t, s: {"x": jax.random.normal(key, (t, s))})
    rows = 12

    def table(x):
        return Evidence(
            columns={"x": x},
            outcome=np.linspace(-1, 1, rows),
            task_columns={},
            task_index=np.repeat(np.arange(4), 3),
            tasks=np.arange(4),
            rows=1 + np.arange(rows),
            outcome_name="y",
        )

    one_bent = np.zeros(rows)
    one_bent[7] = 1e-3
    for column in (one_bent, np.zeros(rows)):
        assert "z" in loop("exact").why_not(program, table(column))


# --- the others


def test_laplace_is_exact_where_all_is_gaussian_and_warns_where_not(gaussian, schools):
    exact = loop("exact", chains=1, draws=1).infer(*gaussian, jax.random.key(0))
    laplace = loop("laplace", chains=1, draws=1000).infer(*gaussian, jax.random.key(0))
    assert laplace.log_evidence == pytest.approx(exact.log_evidence, abs=1e-6)
    np.testing.assert_allclose(laplace.mixture.loc, exact.mixture.loc, rtol=1e-5, atol=1e-6)
    assert not laplace.warnings
    wrong = loop("laplace", chains=1, draws=1000).infer(*schools, jax.random.key(0))
    assert "misses the posterior" in wrong.warnings[0]


def test_auto_prefers_what_is_exact(gaussian, schools):
    auto = loop("auto")
    assert auto.pick(*gaussian)[0] == "exact"
    name, _, why = auto.pick(*schools)
    assert name == "grid"
    assert why == (
        "auto picked grid: quadrature that knows its own error (passed over: exact is not "
        "linear-Gaussian in tau; enumerate has no discrete latents to sum over)"
    )


# --- agreement with NUTS: five standard errors, of each mean and each standard deviation

NUTS = {"chains": 4, "draws": 500, "warmup": 400, "max_tree_depth": 7}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inference", "sizes"),
    [
        ("gaussian", "exact", (5, 4)),
        ("linear", "exact", (4, 6)),
        ("eight_schools", "grid", None),
        ("rats", "grid", 8),
        ("coin", "grid", (5, 8)),
        ("logistic", "grid", (4, 20)),
        ("counts", "grid", (5, 8)),
    ],
)
def test_nuts_agrees(name, inference, sizes):
    """Of simulated tasks and steps; of the program's own table, or of its first tasks."""
    given = {"tasks": sizes[0], "steps": sizes[1]} if isinstance(sizes, tuple) else {}
    if isinstance(sizes, int):
        table = load_program(name).optional("evidence")().reset_index()
        given = {"data": table[table["rat"] <= sizes], "task": "rat"}
    run = bb.fit(name, inference=inference, **given)
    agree(run.program, Evidence.from_dataset(run.evidence), run.posterior)


@pytest.mark.slow
def test_nuts_agrees_where_tasks_need_lattices_inside_a_lattice():
    """A spread of the lifetime, and two latents of each task with Poisson outcomes."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=24)
    y = chance.poisson(np.exp(0.5 + 0.6 * x))
    table = {"task": np.repeat(np.arange(4), 6), "exposure": x, "events": y}
    import pandas as pd

    run = bb.fit(programs.counts, pd.DataFrame(table), inference="grid")
    agree(run.program, Evidence.from_dataset(run.evidence), run.posterior)


def agree(program, evidence, posterior):
    reference = loop("nuts", **NUTS).infer(program, evidence, jax.random.key(5))
    other = Labels(program, evidence).of_values(reference.draws.values)
    for statistic in ("mean", "sd"):
        both = [
            getattr(x, statistic.replace("sd", "std"))(("chain", "draw"))
            for x in (posterior, other)
        ]
        errors = [az.mcse(x, method=statistic) for x in (posterior, other)]
        errors = [x.to_dataset() if hasattr(x, "to_dataset") else x for x in errors]
        for name in other.data_vars:
            off = np.abs(both[0][name] - both[1][name])
            allowed = 5 * np.hypot(errors[0][name], errors[1][name])
            assert bool((off <= allowed).all()), (statistic, name)


def test_auto_says_which_settings_it_did_not_use(gaussian):
    from bayes_badger.inner_loop.auto import Settings, make

    auto = make(Settings.model_validate({"nuts": {"draws": 5}, "exact": {"draws": 5}}))
    notes = auto.infer(*gaussian, jax.random.key(0)).notes
    assert notes[1] == "settings of nuts were not used"


def test_weights_that_are_no_numbers_are_told_in_words():
    """A spread of 0 in a column that nobody looked at: the density is finite nowhere."""

    def model(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, x), obs=y)

    program = bb.lift(model)
    evidence = from_arrays(program.signature, {"x": np.zeros((2, 3))}, np.ones((2, 3)), {})
    with pytest.raises(BadgerError, match=r"log evidence is not a number.* Normal outcomes"):
        loop("exact").infer(program, evidence, jax.random.key(0))
