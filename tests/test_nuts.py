"""NUTS against what is known: closed forms, reference draws, and a program written by hand.

Every comparison is of means and standard deviations, within five Monte Carlo standard errors of
both sides; with some 250 comparisons the chance of one false alarm is below 2e-4.
"""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS
from programs import mixture, rounded

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._density import log_density, parts_of, reference
from bayes_badger.shelves import load_program

# 10,000 reference draws of posteriordb, mean and standard deviation.
SCHOOLS = {
    "mu": (4.411, 3.309),
    "tau": (3.602, 3.198),
    "theta": (
        [6.151, 4.940, 3.906, 4.796, 3.614, 4.051, 6.317, 4.884],
        [5.616, 4.645, 5.280, 4.771, 4.614, 4.796, 5.003, 5.317],
    ),
}
REFERENCE_DRAWS = 10_000


def moments(posterior, names):
    """Mean, sd and their standard errors, by variable."""
    stats = {}
    for name in names:
        x = posterior[[name]]
        stats[name] = {
            "mean": x[name].mean(("chain", "draw")).values,
            "sd": x[name].std(("chain", "draw"), ddof=1).values,
            "mean_error": az.mcse(x, method="mean")[name].values,
            "sd_error": az.mcse(x, method="sd")[name].values,
        }
    return stats


@pytest.fixture(scope="module")
def schools():
    """The eight schools by NUTS, whatever auto would pick."""
    return bb.fit("eight_schools", inference="nuts")


@pytest.mark.parametrize(
    ("fitted", "note"), [("schools", "theta whitened"), ("eight_schools", "auto picked grid")]
)
def test_eight_schools_against_reference_draws(request, fitted, note):
    """NUTS, and the README's first command."""
    run = request.getfixturevalue(fitted)
    found = moments(run.posterior, SCHOOLS)
    for name, (mean, sd) in SCHOOLS.items():
        mean, sd, own = np.asarray(mean), np.asarray(sd), found[name]
        error = np.hypot(own["mean_error"], sd / np.sqrt(REFERENCE_DRAWS))
        assert (np.abs(own["mean"] - mean) < 5 * error).all(), name
        # The sd of an sd is sd * sqrt((kurtosis - 1) / 4n); tau's tail has a kurtosis near 20.
        error = np.hypot(own["sd_error"], sd * np.sqrt(19 / (4 * REFERENCE_DRAWS)))
        assert (np.abs(own["sd"] - sd) < 5 * error).all(), name
    assert run.warnings == []
    assert any(note in told for told in run.spec["result"]["notes"])
    assert run.spec["result"]["independent"] is (fitted == "eight_schools")
    assert ("log_evidence" in run.spec["result"]) is (fitted == "eight_schools")
    assert ("diverging" in run.tree["sample_stats"]) is (fitted == "schools")


# Compiled once for all tests that toss coins.
COIN = {"tasks": 6, "steps": 9, "inference": "nuts"}
PRIOR = {"a": 2.0, "b": 2.0}


def test_coin_against_its_beta_posterior():
    """Given h heads of n, p ~ Beta(2 + h, 2 + n - h): exactly."""
    few = {"inference.draws": 500, "inference.warmup": 300}
    run = bb.fit("coin", **COIN, settings={**PRIOR, **few})
    heads = run.observed_data["heads"].groupby("task").sum().values
    a, b = 2 + heads, 2 + 9 - heads
    mean, sd = a / (a + b), np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    found = moments(run.posterior, ["p"])["p"]
    assert (np.abs(found["mean"] - mean) < 5 * found["mean_error"]).all()
    assert (np.abs(found["sd"] - sd) < 5 * found["sd_error"]).all()
    assert set(run.truth.data_vars) == {"p"}


@pytest.mark.parametrize("parametrisation", ["centred", "whitened"])
def test_either_parametrisation_has_the_same_posterior(parametrisation):
    """A normal hierarchy with known scales: the posterior of a and z is normal, in closed form."""

    def gaussian(x, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(a, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, 1.0), obs=y)

    chance = np.random.default_rng(0)
    lengths = np.array([1, 2, 5])
    y = chance.normal(size=(3, 5)) + 1
    few = {"inference.draws": 500, "inference.warmup": 300}
    run = bb.fit(
        gaussian,
        {"x": np.zeros((3, 5)), "y": y, "lengths": lengths},
        inference="nuts",
        settings={**few, "inference.parametrisation": parametrisation},
    )
    # y of one task has covariance 2 * 1 + I given a = 0; so the joint of (a, z) given y.
    prior = np.ones((4, 4)) + np.diag([0, 1, 1, 1])
    prior[0, 0] = 1
    precision = np.linalg.inv(prior) + np.diag([0, *lengths])
    covariance = np.linalg.inv(precision)
    sums = np.array([0, *(y[i, :n].sum() for i, n in enumerate(lengths))])
    mean = covariance @ sums
    found = moments(run.posterior, ["a", "z"])
    for name, part in (("a", slice(0, 1)), ("z", slice(1, 4))):
        own = found[name]
        assert (np.abs(own["mean"] - mean[part]) < 5 * own["mean_error"]).all()
        sd = np.sqrt(np.diag(covariance))[part]
        assert (np.abs(own["sd"] - sd) < 5 * own["sd_error"]).all()


DISCRETE = "cannot move discrete latents (kind)"
NO_GRADIENT = "needs a gradient, and level has none"
TABLE = {"task": [1, 1, 2], "x": [0.1, 0.2, 0.3], "y": [0.3, 0.1, 0.9]}


def mixture_of_many(x, y=None):
    """Too many discrete values to sum over, that all tasks share."""
    kind = numpyro.sample("kind", dist.Bernoulli(0.3).expand([13]).to_event(1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        slopes = numpyro.sample("slopes", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            mean = kind.sum(-1) + jnp.exp(slopes).sum(-1) * x
            numpyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def four_rounded(x, y=None):
    """No gradient, and more dimensions than a lattice has."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, 3.0).expand([4]).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(jnp.round(level).sum(-1) + x, 0.5), obs=y)


@pytest.mark.parametrize(
    ("recipe", "program", "reason"),
    [
        ("nuts", mixture, DISCRETE),
        ("nuts", rounded, NO_GRADIENT),
        ("auto", mixture_of_many, DISCRETE),
        ("nuts", four_rounded, NO_GRADIENT),
    ],
)
def test_what_nuts_refuses(recipe, program, reason):
    """Auto refuses it only where nothing else applies either, and says so of each."""
    with pytest.raises(BadgerError) as error:
        bb.fit(program, TABLE, inference=recipe)
    assert reason in str(error.value)
    if recipe == "auto":
        assert "no inner loop applies to" in str(error.value)
        assert all(f"{name} " in str(error.value) for name in ("exact", "enumerate", "grid"))


@pytest.mark.parametrize(
    ("program", "picked"),
    [(mixture, "enumerate"), (rounded, "grid")],
)
def test_what_nuts_refuses_is_left_to_others(program, picked):
    """Auto says what it picked, and that a reason of NUTS is none of its own."""
    run = bb.fit(program, TABLE)
    assert run.spec["result"]["notes"][0].startswith(f"auto picked {picked}: ")
    assert run.spec["result"]["independent"] is True
    assert run.warnings == []


def test_divergences_are_told():
    """A planted funnel, sampled in its own coordinates: chains cannot enter its neck."""

    def funnel(x, y=None):
        log_spread = numpyro.sample("log_spread", dist.Normal(0, 3))
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, jnp.exp(log_spread)))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, 10.0), obs=y)

    table = {"x": np.zeros((8, 1)), "y": np.zeros((8, 1))}
    settings = {"inference.parametrisation": "centred", "inference.target_accept": 0.6}
    run = bb.fit(funnel, table, inference="nuts", settings=settings)
    assert any("transitions diverged" in warning for warning in run.warnings)


def test_an_interrupted_sampler_keeps_what_it_has():
    """Ctrl-C after 150 of 1000 draws."""

    def report(stage, done, total, note=""):
        if stage == "sampling" and done >= 150:
            raise KeyboardInterrupt

    settings = {**PRIOR, "inference.warmup": 200, "inference.draws": 1000}
    run = bb.fit("coin", **COIN, settings=settings, report=report)
    assert run.posterior.sizes["draw"] == 150
    assert "interrupted after 150 of 1000 draws per chain" in run.warnings


def test_interrupted_in_warm_up_there_is_nothing_to_keep():
    def report(stage, done, total, note=""):
        if stage == "warm-up" and done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bb.fit("coin", **COIN, settings={**PRIOR, "inference.warmup": 200}, report=report)


def test_too_few_draws_are_not_trusted():
    few = {"inference.draws": 20, "inference.warmup": 10, "inference.chains": 2}
    run = bb.fit("eight_schools", inference="nuts", settings=few)
    assert any("effective draws" in w or "r_hat" in w for w in run.warnings)


def test_another_table_of_the_same_size_compiles_nothing():
    """Neither the gradient nor the transition of the chains is compiled again."""
    chance, compiled = np.random.default_rng(0), []

    def heard(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(more.get("fun_name"))

    few = {"inference.draws": 100, "inference.warmup": 100}
    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        for _ in range(2):
            compiled.clear()
            table = {"toss": np.zeros((6, 9)), "heads": chance.integers(0, 2, (6, 9))}
            bb.fit("coin", table, inference="nuts", settings={**PRIOR, **few}, trust="off")
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)
    assert [name for name in compiled if "_values_and_slopes" in str(name)] == []
    assert [name for name in compiled if "_advanced" in str(name)] == []


def test_density_of_many_rows_is_summed_exactly():
    """A million rows: the difference of two densities is known to 1e-2 nats in single precision."""
    n = 1_000_000
    chance = np.random.default_rng(0)
    evidence = Evidence(
        columns={"x": np.zeros(n)},
        outcome=chance.normal(size=n),
        task_columns={},
        task_index=np.sort(chance.integers(0, 3, n)),
        tasks=np.arange(3),
        rows=np.arange(1, n + 1),
        outcome_name="y",
    )

    def level(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, 1.0), obs=y)

    program = bb.lift(level)
    parts = parts_of(evidence)
    mean = np.array([evidence.outcome[evidence.task_index == i].mean() for i in range(3)])
    at = jnp.asarray(mean, jnp.float32)[:, None]
    near = at + 1e-3
    none = jnp.zeros(0)
    references = reference(program, none, at, parts)
    assert all(np.asarray(x).any() for x in references)  # of few rows there would be none
    a = log_density(program, none, at, parts, references)
    b = log_density(program, none, near, parts, references)
    z, z_near = np.asarray(at, float)[:, 0], np.asarray(near, float)[:, 0]
    y, own = evidence.outcome.astype(np.float32).astype(float), evidence.task_index
    expected = (
        -0.5 * ((y - z_near[own]) ** 2 - (y - z[own]) ** 2).sum() - 0.5 * (z_near**2 - z**2).sum()
    )
    assert abs(float(b - a) - expected) < 1e-2


@pytest.mark.slow
def test_sleepstudy_against_lme4():
    run = bb.fit("sleepstudy", inference="nuts")
    posterior = run.posterior
    assert abs(float(posterior["intercept"].mean()) - 251.4) < 0.5
    assert abs(float(posterior["slope"].mean()) - 10.47) < 0.1
    # Subject 332 has one mean reaction of 454 ms, and none other above 347.
    (warning,) = run.warnings
    assert "1 of 18 tasks look like nothing the program expects ('332'" in warning


@pytest.mark.slow
def test_radon_against_a_program_in_long_format():
    """No plates, no padding: houses are indexed by county."""
    run = bb.fit("radon", inference="nuts")
    # Of 85 counties one, with a house far from all others.
    assert all("tasks look like nothing the program expects" in x for x in run.warnings)
    table = load_program("radon").optional("evidence")().reset_index()
    labels, county = np.unique(table["county"], return_inverse=True)
    uranium = table.groupby("county")["log_uranium"].first().loc[labels].to_numpy()

    def by_hand(floor, y):
        intercept = numpyro.sample("intercept", dist.Normal(0, 10))
        slope = numpyro.sample("uranium", dist.Normal(0, 10))
        basement = numpyro.sample("floor", dist.Normal(0, 10))
        between = numpyro.sample("between", dist.HalfNormal(1))
        within = numpyro.sample("within", dist.HalfNormal(1))
        z = numpyro.sample("z", dist.Normal(0, 1).expand([len(labels)]).to_event(1))
        alpha = numpyro.deterministic("alpha", intercept + slope * uranium + between * z)
        numpyro.sample("y", dist.Normal(alpha[county] + basement * floor, within), obs=y)

    sampler = MCMC(
        NUTS(by_hand, target_accept_prob=0.9),
        num_warmup=600,
        num_samples=1000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.key(1), table["floor"].to_numpy(), table["log_radon"].to_numpy())
    draws = {k: np.asarray(v) for k, v in sampler.get_samples(group_by_chain=True).items()}
    names = ["intercept", "uranium", "floor", "between", "within", "alpha"]
    tree = az.from_dict({"posterior": {name: draws[name] for name in names}})
    by_label = run.posterior.sel(county=labels)
    ours, theirs = moments(by_label, names), moments(tree["posterior"].to_dataset(), names)
    for name in names:
        for what in ("mean", "sd"):
            error = np.hypot(ours[name][f"{what}_error"], theirs[name][f"{what}_error"])
            difference = np.abs(ours[name][what] - theirs[name][what])
            assert (difference < 5 * error).all(), (name, what, (difference / error).max())
