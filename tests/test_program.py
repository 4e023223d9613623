"""A lifted program: its parts, its densities against NumPyro's own, and its compilations."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from programs import (
    astray,
    classes,
    counts,
    many_plates,
    mixture,
    network,
    regression,
    rescorla_wagner,
    rounded,
    student,
)

from bayes_badger.errors import BadgerError
from bayes_badger.program import UNCONSTRAINED, WHITENED, Data, Step, crowding, lift
from bayes_badger.program.crowding import forget_if_crowded
from bayes_badger.program.walk import Site
from bayes_badger.shelves import load_program, names


def level(floor, y=None, *, soil):
    """Radon in small: a lifetime's latents, a column of the task, a factor."""
    mu = numpyro.sample("mu", dist.Normal(0, 2))
    tau = numpyro.sample("tau", dist.HalfCauchy(1))
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    numpyro.factor("keep_mu_small", -0.1 * mu**2)
    with numpyro.plate("task", floor.shape[0], dim=-2):
        alpha = numpyro.sample("alpha", dist.Normal(mu + soil * shares[0], tau))
        numpyro.deterministic("twice", 2 * alpha)
        with numpyro.plate("step", floor.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(alpha + floor, 0.7), obs=y)


@pytest.fixture(scope="module")
def lifted():
    return lift(level)


@pytest.fixture(scope="module")
def data(lifted):
    keys = jax.random.split(jax.random.key(3), 4)
    columns = {"floor": jax.random.normal(keys[0], (4, 6))}
    soil = {"soil": jax.random.normal(keys[1], (4, 1))}
    drawn = lifted.simulate(keys[2], Data(columns, soil))
    return Data(columns, soil, drawn.outcome), drawn.values


def test_latents_by_scope_and_role(lifted):
    found = {latent.name: latent for latent in lifted.latents}
    assert {n: x.scope for n, x in found.items()} == {
        "mu": "lifetime",
        "tau": "lifetime",
        "shares": "lifetime",
        "alpha": "task",
    }
    assert {x.role for x in lifted.select("lifetime")} == {"algorithm"}
    assert found["shares"].shape == (3,)
    assert found["shares"].size == 2
    assert found["tau"].support == "positive"
    assert [x.name for x in lifted.derived] == ["twice"]
    assert (lifted.lifetime_size, lifted.task_size, lifted.size) == (4, 1, 5)
    assert lifted.outcome.site == "y"
    assert lifted.prior_normal


def test_a_role_of_ones_own():
    program = lift(rescorla_wagner, inputs=payoffs)
    assert [x.name for x in program.select("task", "algorithm")] == ["rate"]
    assert [x.name for x in program.select("task", "task")] == ["heat"]


@pytest.mark.parametrize("kind", [WHITENED, UNCONSTRAINED])
def test_the_density_is_numpyros_own(lifted, data, kind):
    given, values = data
    program = lifted.with_coordinates({x.name: kind for x in lifted.latents})
    point = program.unconstrain(values, given.task_columns, given.tasks)
    terms = program.terms(*point, given)
    sites = {x.name: x.as_site(values[x.name]) for x in program.latents}
    expected, trace = log_density(
        level,
        (given.columns["floor"],),
        {"y": given.outcome, "soil": given.task_columns["soil"]},
        sites,
    )
    by_site = program.log_prior_by_site(values, given.task_columns, given.tasks)
    np.testing.assert_allclose(
        sum(x.sum() for x in by_site.values()) + terms.log_likelihood.sum(), expected, rtol=1e-4
    )
    assert by_site["alpha"].shape == (4,)
    assert set(by_site) == {"mu", "tau", "shares", "keep_mu_small", "alpha"}
    np.testing.assert_allclose(
        terms.log_likelihood, trace["y"]["fn"].log_prob(given.outcome), rtol=1e-4, atol=1e-4
    )
    factor = by_site["keep_mu_small"]
    if kind == WHITENED:
        normal = sum(-0.5 * (u**2).sum() - u.size / 2 * np.log(2 * np.pi) for u in point)
        np.testing.assert_allclose(terms.lifetime + terms.task.sum(), normal + factor, rtol=1e-5)


def test_there_and_back(lifted, data):
    given, values = data
    point = lifted.unconstrain(values, given.task_columns, given.tasks)
    again = lifted.constrain(*point, given.task_columns)
    for latent in lifted.latents:
        np.testing.assert_allclose(again[latent.name], values[latent.name], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again["twice"], 2 * values["alpha"], rtol=1e-4, atol=1e-4)


def test_a_lifetime_is_the_sum_of_its_steps(lifted, data):
    given, values = data
    lifetime, task = lifted.unconstrain(values, given.task_columns, given.tasks)
    rows = lifted.terms(lifetime, task, given).log_likelihood

    def one(i, t):
        u = jnp.concatenate([lifetime, task[i]])
        step = Step(
            {"floor": given.columns["floor"][i, t]},
            {"soil": given.task_columns["soil"][i, 0]},
            given.outcome[i, t],
        )
        return lifted.log_likelihood(u, step)

    tasks, steps = jnp.meshgrid(jnp.arange(4), jnp.arange(6), indexing="ij")
    np.testing.assert_allclose(jax.vmap(jax.vmap(one))(tasks, steps), rows, rtol=1e-4, atol=1e-5)


def test_score_and_information_of_a_normal(lifted, data):
    """For y ~ N(m(u), s): score = m'(y - m)/s^2, information = m' m'ᵀ/s^2."""
    given, values = data
    lifetime, task = lifted.unconstrain(values, given.task_columns, given.tasks)
    u = jnp.concatenate([lifetime, task[0]])
    step = Step(
        {"floor": given.columns["floor"][0, 0]},
        {"soil": given.task_columns["soil"][0, 0]},
        given.outcome[0, 0],
    )

    def mean(u):
        values = lifted.constrain(u[:4], u[None, 4:], {"soil": given.task_columns["soil"][:1]})
        return values["alpha"][0] + step.columns["floor"]

    slope = jax.grad(mean)(u)
    np.testing.assert_allclose(
        lifted.score(u, step), slope * (step.outcome - mean(u)) / 0.49, rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        lifted.fisher(u, step), jnp.outer(slope, slope) / 0.49, rtol=1e-3, atol=1e-4
    )
    assert lifted.information == "expected"


def test_information_without_a_closed_form_is_positive():
    program = lift(student)
    program = dataclasses.replace(program, information="observed")
    step = Step({"x": jnp.array(1.3)}, {}, jnp.array(9.0))
    information = program.fisher(jnp.array([0.2]), step)
    assert information.shape == (1, 1)
    assert information[0, 0] >= 0


def test_no_gradient_is_found_and_sigma_points_stand_in():
    program = lift(rounded)
    assert program.without_gradient == ("level",)
    assert program.information == "sigma points"
    step = Step({"x": jnp.array(0.0)}, {}, jnp.array(5.0))
    score, information = program.stein_score_and_fisher(jnp.zeros(1), jnp.eye(1), step)
    assert score[0] > 1
    assert jnp.isfinite(information).all()


def test_discrete_latents_are_named():
    program = lift(mixture)
    assert [x.name for x in program.discrete] == ["kind"]
    assert program.size == 1


def test_a_network_built_inside_lifts():
    program = lift(network)
    assert set(program.parameters) == {"net$params", "noise"}
    weights = jax.tree.leaves(program.parameters["net$params"])
    assert sum(x.size for x in weights) == (1 * 8 + 8) + (8 * 2 + 2)
    other = lift(network, seed=1)
    assert not jnp.allclose(weights[0], jax.tree.leaves(other.parameters["net$params"])[0])
    step = Step({"x": jnp.array(0.4)}, {}, jnp.array(1.0))
    changed = dataclasses.replace(
        program, parameters=jax.tree.map(lambda x: x + 0.1, program.parameters)
    )
    assert program.log_likelihood(jnp.ones(2), step) != changed.log_likelihood(jnp.ones(2), step)


def test_plates_of_ones_own():
    program = lift(many_plates)
    shapes = {x.name: (x.scope, x.shape) for x in program.latents}
    assert shapes == {
        "item_level": ("lifetime", (5, 1)),
        "fold_level": ("lifetime", (7,)),
        "kinds": ("task", (3,)),
        "halves": ("task", (2,)),
    }
    assert (program.lifetime_size, program.task_size) == (12, 5)
    a, z = jnp.arange(12.0) / 10, jnp.arange(10.0).reshape(2, 5) / 10
    values = program.constrain(a, z, {})
    np.testing.assert_allclose(values["halves"], z[:, 3:], rtol=1e-6)
    np.testing.assert_allclose(values["kinds"] - a.sum(), z[:, :3], rtol=1e-5, atol=1e-5)


def test_a_support_that_ends_at_another_latent():
    def shares(x, y=None):
        top = numpyro.sample("top", dist.LogNormal(0, 1))
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Uniform(0, top))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z * x, 1), obs=y)

    program = lift(shares)
    assert [(x.name, x.shape) for x in program.latents] == [("top", ()), ("z", ())]
    for kind in (WHITENED, UNCONSTRAINED):
        placed = program.with_coordinates({"z": kind})
        values = placed.constrain(jnp.zeros(1), jnp.array([[0.0], [3.0]]), {})
        assert values["top"] == pytest.approx(1)
        assert values["z"][0] == pytest.approx(0.5)
        assert 0.9 < values["z"][1] < values["top"]


def test_deterministics_without_a_value_of_their_own_are_left_out():
    program = lift(astray)
    assert [x.name for x in program.derived] == ["twice"]
    assert program.left_out == ("by_row", "contrast", "mean_of_rows", "pairs")


@pytest.mark.parametrize("program", [counts, classes, network])
def test_users_programs_lift(program):
    lifted = lift(program)
    assert lifted.name == program.__name__


def test_several_predictors_and_a_setting():
    program = lift(regression, groups={"X": ["x1", "x2", "x3"]}, settings={"scale": 3.0})
    assert program.latent("w").shape == (3,)
    assert program.signature.table_columns("X") == ("x1", "x2", "x3")
    with pytest.raises(BadgerError, match="regression has no latent 'v'"):
        program.latent("v")


def payoffs(key, tasks, steps):
    return {"payoff": jax.random.bernoulli(key, 0.5, (tasks, steps, 2)).astype(float)}


def test_a_learner_with_state():
    """Against the same learner written as a plain loop."""
    program = lift(rescorla_wagner, inputs=payoffs)
    data = Data({"payoff": payoffs(jax.random.key(1), 3, 8)["payoff"]}, {})
    values = {"rate": jnp.array([0.1, 0.5, 0.9]), "heat": jnp.array([1.0, 3.0, 8.0])}
    drawn = program.simulate(jax.random.key(2), data, values)
    given = data._replace(outcome=drawn.outcome)
    rows = program.log_likelihood_of(values, given)
    state = None
    for i in range(3):
        value = np.zeros(2)
        for t in range(8):
            chosen = int(drawn.outcome[i, t])
            gain = values["heat"][i] * (value[1] - value[0])
            expected = dist.BernoulliLogits(gain).log_prob(chosen)
            np.testing.assert_allclose(rows[i, t], expected, rtol=1e-4, atol=1e-5)
            paid = data.columns["payoff"][i, t, chosen]
            value[chosen] += values["rate"][i] * (paid - value[chosen])
        np.testing.assert_allclose(drawn.state[i], value, rtol=1e-4, atol=1e-5)
    half = given.step(slice(0, 5))
    mask = jnp.ones((3, 8), bool).at[:, 5:].set(False)
    state = program.state_after(values, given, mask)
    np.testing.assert_allclose(
        state, program.state_after(values, half, jnp.ones((3, 5), bool)), rtol=1e-5, atol=1e-6
    )


def test_simulated_choices_follow_the_simulated_state():
    """A learner chooses the arm that pays, once it has learnt: its state follows its choices."""
    program = lift(rescorla_wagner, inputs=payoffs)
    payoff = jnp.broadcast_to(jnp.array([0.0, 1.0]), (200, 30, 2))
    values = {"rate": jnp.full(200, 0.5), "heat": jnp.full(200, 10.0)}
    drawn = program.simulate(jax.random.key(0), Data({"payoff": payoff}, {}), values)
    assert drawn.outcome[:, -5:].mean() > 0.98
    assert abs(drawn.outcome[:, 0].mean() - 0.5) < 5 * 0.5 / np.sqrt(200)


def test_traced_once_per_shape():
    calls = []

    def counted(x, y=None):
        calls.append(x.shape)
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z * x, 1.0), obs=y)

    program = lift(counted)
    likelihood = jax.jit(jax.vmap(program.log_likelihood))
    calls.clear()
    step = Step({"x": jnp.ones(4)}, {}, jnp.ones(4))
    for shift in range(3):
        likelihood(jnp.ones((4, 1)) * shift, step)
    assert calls == [(1, 1)]
    calls.clear()
    data = Data({"x": jnp.ones((6, 2))}, {}, jnp.ones((6, 2)))
    for shift in range(3):
        program.terms(jnp.zeros(0), jnp.ones((6, 1)) * shift, data)
        program.with_coordinates({"z": WHITENED}).terms(jnp.zeros(0), jnp.ones((6, 1)), data)
    assert calls == [(6, 2)]


def test_what_was_compiled_is_found_again_by_whoever_lifts_anew():
    calls = []

    def counted(x, y=None, *, width=1.0):
        calls.append(width)
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z * x, width), obs=y)

    data = Data({"x": jnp.ones((6, 2))}, {}, jnp.ones((6, 2)))

    def traced(**settings):
        program = lift(counted, settings=settings)
        calls.clear()
        program.terms(jnp.zeros(0), jnp.ones((6, 1)), data)
        return len(calls)

    assert [traced(), traced()] == [1, 0]
    assert [traced(width=2.0), traced(width=2.0)] == [1, 0]
    # Equal numbers of another type are another program: a whole number is not compiled to a real.
    assert [traced(width=3.0), traced(width=2)] == [1, 1]


def test_a_setting_that_has_changed_is_compiled_anew():
    def model(x, y=None, *, shifts=()):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z * x + sum(shifts), 1.0), obs=y)

    data = Data({"x": jnp.ones((6, 2))}, {}, jnp.ones((6, 2)))

    def likelihood(shifts):
        program = lift(model, settings={"shifts": shifts})
        return program.terms(jnp.zeros(0), jnp.zeros((6, 1)), data).log_likelihood

    shifts = [1.0]
    np.testing.assert_allclose(likelihood(shifts), -0.5 * np.log(2 * np.pi), rtol=1e-6)
    shifts.append(1.0)
    np.testing.assert_allclose(likelihood(shifts), -0.5 - 0.5 * np.log(2 * np.pi), rtol=1e-6)
    # Arrays have no one answer to whether they are equal.
    for _ in range(2):
        found = likelihood(np.full(2, 0.5))
        np.testing.assert_allclose(found, -0.5 * np.log(2 * np.pi), rtol=1e-6)


def test_what_is_compiled_is_forgotten_where_there_is_too_much(monkeypatch):
    calls = []

    @jax.jit
    def counted(x):
        calls.append(x.shape)
        return x + 1

    for _ in range(2):
        counted(jnp.ones(3))
    assert not forget_if_crowded(most=10**9)
    counted(jnp.ones(3))
    assert len(calls) == 1
    monkeypatch.setattr(crowding, "SHARE", 0.0)
    lift(counts)
    counted(jnp.ones(3))
    assert len(calls) == (2 if sys.platform.startswith("linux") else 1)


def test_the_prior_is_drawn_as_numpyro_draws_it(lifted):
    """Means and spreads of whitened draws against NumPyro's own, five standard errors."""
    n = 4000
    keys = jax.random.split(jax.random.key(0), n)
    soil = {"soil": jnp.full((1, 1), 0.3)}

    def ours(key):
        a, z = jax.random.normal(key, (4,)), jax.random.normal(jax.random.split(key)[0], (1, 1))
        return lifted.constrain(a, z, soil)["shares"]

    def theirs(key):
        trace = handlers.trace(handlers.seed(level, key)).get_trace(jnp.ones((1, 1)), **soil)
        return trace["shares"]["value"]

    a, b = jax.vmap(ours)(keys), jax.vmap(theirs)(keys)
    error = np.sqrt((a.var(0) + b.var(0)) / n)
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()
    error = np.sqrt(((a**2).var(0) + (b**2).var(0)) / n)
    assert (np.abs((a**2).mean(0) - (b**2).mean(0)) < 5 * error).all()


@pytest.mark.parametrize("name", [name for name, _ in names("models")])
def test_every_program_on_the_shelf_keeps_the_contract(name):
    loaded = load_program(name)
    program = lift(loaded.model, inputs=loaded.optional("inputs"), name=name)
    assert program.size > 0
    assert program.information == "expected"
    assert not program.without_gradient


def guaranteed(one, hours=None, *, domain=dist.constraints.positive):
    """Times of which none is below a latent: the support of the outcome moves with it."""
    start = numpyro.sample("start", dist.HalfNormal(1.0))
    with numpyro.plate("task", one.shape[0], dim=-2):
        rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("step", one.shape[1], dim=-1):
            later = dist.transforms.AffineTransform(start, 1.0, domain=domain)
            times = dist.TransformedDistribution(dist.Exponential(rate * one), later)
            numpyro.sample("hours", times, obs=hours)


@pytest.mark.parametrize("domain", ["positive", "real"])
def test_an_outcome_before_its_support_has_no_density(domain):
    """The whole line is the support that NumPyro tells where the transform has no domain."""

    def model(one, hours=None):
        guaranteed(one, hours, domain=getattr(dist.constraints, domain))

    program = lift(model)
    assert program.outcome.support_moves
    data = Data({"one": jnp.ones((2, 3))}, {}, jnp.full((2, 3), 0.7).at[1, 2].set(0.4))
    start, rate = jnp.array(0.5), jnp.array([2.0, 3.0])
    values = {"start": start, "rate": rate}
    found = program.log_likelihood_of(values, data)
    expected = dist.Exponential(rate[:, None]).log_prob(data.answers - start)
    assert found[1, 2] == -jnp.inf
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_array_equal(program.supports(values, data), np.isfinite(found))
    slope = jax.grad(lambda a: program.terms(a, jnp.zeros((2, 1)), data).log_likelihood.sum())
    assert np.isfinite(slope(jnp.zeros(1))).all()


@pytest.mark.parametrize(
    ("fn", "value"),
    [
        (dist.ZeroSumNormal(0.7, event_shape=(3,)), [0.1, 0.2, -0.3]),
        (dist.ProjectedNormal(jnp.array([0.3, 0.1, 0.2])), [0.6, 0.0, 0.8]),
    ],
)
def test_outcomes_bound_by_an_equation_have_a_density_in_double_precision(fn, value):
    """They were stored in single precision, and are as far outside as that rounds."""
    stored = jnp.array(value, jnp.float32)
    with jax.enable_x64(True):
        whole = Site("outcome", fn, jnp.asarray(value, float), ()).log_prob
        found = Site("outcome", fn, jnp.asarray(np.asarray(stored), float), ()).log_prob
    assert np.isfinite(found)
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_a_support_that_latents_do_not_move_is_left_to_numpyro(lifted):
    assert not lifted.outcome.support_moves


def test_whole_columns_are_as_wide_as_what_is_computed():
    """NumPyro's sampler of a binomial cannot mix 32 bits with 64."""

    def model(tried, solved=None):
        with numpyro.plate("task", tried.shape[0], dim=-2):
            p = numpyro.sample("p", dist.Uniform(0.0, 1.0))
            with numpyro.plate("step", tried.shape[1], dim=-1):
                numpyro.sample("solved", dist.BetaBinomial(2 * p, 2 - p, tried), obs=solved)

    tried = jnp.array([[10, 4], [25, 5]], jnp.int32)
    program = lift(model, example=Data({"tried": jnp.tile(tried, (3, 4))[:5, :7]}, {}))
    data = Data({"tried": tried}, {}, jnp.array([[7, 1], [20, 5]], jnp.int32))
    single = program.terms(jnp.zeros(0), jnp.zeros((2, 1)), data).log_likelihood
    with jax.enable_x64(True):
        point = jnp.zeros(0, jnp.float64), jnp.zeros((2, 1), jnp.float64)
        double = program.terms(*point, data).log_likelihood
        # Types alone: where they do not match, tracing fails.
        there = jax.eval_shape(lambda a, z: program.constrain(a, z, {})["p"], *point)
        drawn = jax.eval_shape(lambda key: program.simulate(key, data).outcome, jax.random.key(0))
    assert (double.dtype, there.dtype, drawn.dtype) == (jnp.float64, jnp.float64, jnp.int64)
    np.testing.assert_allclose(single, double, rtol=1e-4)


def test_a_vague_prior_is_kept_within_single_precision():
    """Of draws of InverseGamma(.001, .001) half are beyond what float32 holds."""

    def vague(n, r=None):
        variance = numpyro.sample("variance", dist.InverseGamma(0.001, 0.001))
        with numpyro.plate("task", n.shape[0], dim=-2):
            level = numpyro.sample("level", dist.Normal(0.0, jnp.sqrt(variance)))
            with numpyro.plate("step", n.shape[1], dim=-1):
                numpyro.sample("r", dist.Normal(level, 1.0 + 0 * n), obs=r)

    program = lift(vague)
    found = program.constrain(jnp.array([3.0]), jnp.zeros((2, 1)), {})
    assert 1e37 < found["variance"] < jnp.inf
    assert not program.without_gradient
