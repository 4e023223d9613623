"""Parameters learned from lifetimes whose tasks share latents: against closed forms and sums."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy.optimize import approx_fprime, minimize
from scipy.stats import multivariate_normal

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.outer_loop import Settings, learn, learn_lifetimes, lifetimes, newton
from bayes_badger.program.parameters import as_table, bound, free, moving_supports

LIVES, TASKS, STEPS, MANY = 5, 4, 2, 24
LEVELS = np.array([-2.0, 0.0, 2.0])
SMALL = Settings(experts=8, points=16)


def levels(x, y=None):
    """Three levels: how a varies from lifetime to lifetime, and z from task to task, is learned."""
    mu = numpyro.param("mu", 0.0)
    between = numpyro.param("between", 1.0, constraint=constraints.positive)
    within = numpyro.param("within", 1.0, constraint=constraints.positive)
    a = numpyro.sample("a", dist.Normal(mu, between))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(a, within))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1), obs=y)


@pytest.fixture(scope="module")
def program():
    return bb.lift(levels, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})


@pytest.fixture(scope="module")
def lives(program):
    rng = np.random.default_rng(0)
    shape = LIVES, TASKS, STEPS
    y = 0.8 + 1.5 * rng.normal(size=(LIVES, 1, 1)) + 1.4 * rng.normal(size=(LIVES, TASKS, 1))
    y = y + rng.normal(size=shape)
    x = np.zeros((TASKS, STEPS))
    return y, [from_arrays(program.signature, {"x": x}, each, {}) for each in y]


def code_length(flat, y):
    """Of all lifetimes: parameters between, mu, within, without bounds."""
    between, mu, within = np.exp(flat[0]), flat[1], np.exp(flat[2])
    size = TASKS * STEPS
    same_task = np.kron(np.eye(TASKS), np.ones((STEPS, STEPS)))
    cov = between**2 + within**2 * same_task + np.eye(size)
    return -multivariate_normal(np.full(size, mu), cov).logpdf(y.reshape(-1, size)).sum()


@pytest.fixture(scope="module")
def best(lives):
    found = minimize(code_length, np.zeros(3), args=(lives[0],))
    slope = lambda x: approx_fprime(x, code_length, 1e-4, lives[0])  # noqa: E731
    return found.x, approx_fprime(found.x, slope, 1e-3)


def test_a_normal_hierarchy_comes_to_the_maximum(program, lives, best):
    """Within a tenth of a standard error in each direction, and knows its standard errors."""
    top, information = best
    found = learn_lifetimes(program, lives[1], jax.random.key(0), SMALL)
    learned = np.array([float(free(found.program)[n]) for n in ("between", "mu", "within")])
    away = learned - top
    assert np.sqrt(away @ information @ away) < 0.1 * np.sqrt(3)
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    errors *= np.exp([top[0], 0.0, top[2]])
    told = [float(found.errors[n]) for n in ("between", "mu", "within")]
    np.testing.assert_allclose(told, errors, rtol=0.1)
    assert (found.warnings, found.finished) == ((), True)
    assert found.notes == (
        f"learned between, mu, within in {found.steps} outer steps from 5 lifetimes of 20 tasks",
    )


def test_points_tell_log_evidence_and_slopes_of_other_parameters(program, lives):
    y, evidence = lives
    found = lifetimes.infer(program, evidence, jax.random.key(0), 800, Sizes(8, 16))
    assert not found.rows_move
    exact = [-code_length(np.zeros(3), each) for each in y]
    assert (np.abs(found.log_evidence - exact) < 5 * np.maximum(found.error, 2e-3)).all()
    there = {"between": jnp.float32(0.2), "mu": jnp.float32(0.2), "within": jnp.float32(-0.1)}
    told, point = lifetimes.sums(program, there, found), np.array([0.2, 0.2, -0.1])
    gain = code_length(np.zeros(3), y) - code_length(point, y)
    slope = -approx_fprime(point, code_length, 1e-4, y)
    error = np.sqrt(np.diag(told.noise))
    assert (np.abs(told.slope.sum(0) - slope) < 5 * error).all()
    assert (error < 0.2).all()
    # What noise the gain has grows along the way from where points were made.
    assert abs(told.gain.sum() - gain) < 5 * 0.2 * error.sum() + 1e-3
    hessian = approx_fprime(point, lambda x: approx_fprime(x, code_length, 1e-4, y), 1e-3)
    np.testing.assert_allclose(told.complete - told.missing, hessian, atol=0.1 * hessian.max())
    assert 0.5 < told.carried < 1


@pytest.mark.slow
def test_resumed_is_bit_for_bit_as_not_interrupted(program, lives, tmp_path, monkeypatch):
    monkeypatch.setattr(newton, "ENOUGH", 2.0)
    monkeypatch.setattr(newton, "FURTHEST", 0.1)

    def stop(stage, done, total, note=""):
        if (stage, done, total) == ("learning", 1, 3):
            raise KeyboardInterrupt

    key, settings = jax.random.key(0), SMALL.model_copy(update={"steps": 3})
    whole = learn_lifetimes(program, lives[1], key, settings)
    part = learn_lifetimes(program, lives[1], key, settings, stop, tmp_path)
    assert (part.steps, part.finished) == (1, False)
    rest = learn_lifetimes(program, lives[1], key, settings, folder=tmp_path)
    for name, value in as_table(whole.program).items():
        np.testing.assert_array_equal(as_table(rest.program)[name], value)


def kinds(x, y=None):
    """Which of three levels a lifetime has; how usual each is is learned."""
    usual = numpyro.param("usual", jnp.ones(3) / 3, constraint=constraints.simplex)
    kind = numpyro.sample("kind", dist.Categorical(usual))
    level = jnp.asarray(LEVELS)[kind]
    with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
        numpyro.sample("y", dist.Normal(level + 0 * x, 1), obs=y)


@pytest.fixture(scope="module")
def kinds_and_lives():
    """The program, its lifetimes, and the density of each under each kind, up to a constant."""
    program = bb.lift(kinds, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    rng = np.random.default_rng(1)
    kind = rng.choice(3, MANY, p=[0.4, 0.25, 0.35])
    y = LEVELS[kind][:, None, None] + rng.normal(size=(MANY, 1, 2))
    data = [from_arrays(program.signature, {"x": np.zeros((1, 2))}, each, {}) for each in y]
    return program, data, np.exp(-0.5 * ((y[:, 0, :, None] - LEVELS) ** 2).sum(1))


def test_how_usual_each_value_of_a_discrete_latent_is(kinds_and_lives):
    """Against the maximum of the sum over its values."""
    program, data, share = kinds_and_lives
    found = learn_lifetimes(program, data, jax.random.key(0), SMALL)
    p = np.ones(3) / 3
    for _ in range(2000):
        heard = p * share
        p = (heard / heard.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(found.program.parameters["usual"], p, atol=2e-3)
    # The curvature of the log evidence within the simplex.
    heard = share / (share @ p)[:, None]
    inside = np.linalg.svd(np.ones((1, 3)))[2][1:].T
    cov = inside @ np.linalg.inv(inside.T @ heard.T @ heard @ inside) @ inside.T
    np.testing.assert_allclose(found.errors["usual"], np.sqrt(np.diag(cov)), rtol=1e-2)
    assert found.warnings == ()


def test_tasks_cannot_be_learned_from_one_by_one(program, lives):
    with pytest.raises(BadgerError, match="is learned a lifetime at a time"):
        learn(program, lives[1][0], jax.random.key(0))


def test_what_lies_between_learned_bounds_is_held_by_its_coordinate():
    def bounded(x, y=None):
        top = numpyro.param("top", 2.0, constraint=constraints.positive)
        a = numpyro.sample("a", dist.Uniform(0, top))
        b = numpyro.sample("b", dist.Normal(0, top))
        with numpyro.plate("task", x.shape[0], dim=-2), numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(a + b + 0 * x, 1), obs=y)

    program = bb.lift(bounded, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    assert moving_supports(program) == ("a",)


def test_no_step_is_much_longer_than_that_of_em():
    complete = np.diag([2.0, 8.0])
    np.testing.assert_allclose(newton.inverse(complete, np.diag([1.0, 2.0])), np.diag([1, 1 / 6]))
    # All is missing, and more than all.
    held = newton.inverse(complete, np.diag([2.0, 12.0]))
    np.testing.assert_allclose(held, np.diag([0.5, 1 / 8]), rtol=1e-6)


@pytest.mark.slow
def test_a_fit_learns_from_one_lifetime_and_says_so(program, lives):
    evidence = lives[1][0]
    table = {"task": evidence.task_index, "x": evidence.columns["x"], "y": evidence.outcome}
    run = bb.fit(levels, table, settings={"outer.experts": 8, "outer.points": 16}, outer_steps=1)
    notes = run.spec["result"]["notes"]
    assert any("in 1 outer steps from 4 tasks" in note for note in notes)
    assert any("one lifetime was given" in note for note in notes)


@pytest.mark.slow
def test_a_prior_of_many_lifetimes_is_that_of_a_fit(kinds_and_lives):
    program, data, _ = kinds_and_lives
    tables = [{"task": x.task_index, "x": x.columns["x"], "y": x.outcome} for x in data]
    prior = bb.learn_prior(kinds, tables, settings={"outer.experts": 8, "outer.points": 16})
    found = learn_lifetimes(program, data, jax.random.key(0), SMALL)
    np.testing.assert_allclose(prior.parameters["usual"], found.program.parameters["usual"])
    run = bb.fit(kinds, tables[0], inference="enumerate", parameters=prior.parameters)
    np.testing.assert_array_equal(run.parameters["usual"], prior.parameters["usual"])
    with pytest.raises(BadgerError, match="has other parameters than were stored: usual"):
        bb.fit(kinds, tables[0], parameters={"usual": np.ones(2) / 2})
    with pytest.raises(BadgerError, match="the outer loop has no setting 'speed'"):
        bb.learn_prior(kinds, tables, settings={"outer.speed": 1})
    with pytest.raises(BadgerError, match="lifetimes is empty"):
        bb.learn_prior(kinds, [])


def test_bound_and_held(program):
    """A latent held by value has its density there, whatever the parameters."""
    there = bound(
        program, {"between": jnp.log(2.0), "mu": jnp.array(1.0), "within": jnp.array(0.0)}
    )
    data = program.without_rows({}, 1)
    values = {"a": jnp.array(2.0), "z": jnp.array([2.5])}
    found = there.terms_at(values, jnp.zeros(1), jnp.zeros((1, 1)), data)
    assert float(found.lifetime) == pytest.approx(float(dist.Normal(1, 2).log_prob(2.0)))
    assert float(found.task[0]) == pytest.approx(float(dist.Normal(2, 1).log_prob(2.5)))


def test_what_is_wrong_with_a_lifetime_names_it():
    good = {"task": [0, 1], "x": [0.0, 1.0], "y": [0.5, 1.5]}
    with pytest.raises(BadgerError, match=r"lifetimes\[1\]: .*'?y'?"):
        bb.learn_prior(levels, [good, {"task": [0], "x": [0.0]}])
    with pytest.raises(BadgerError, match=r"lifetimes\[1\]: .*infinite"):
        bb.learn_prior(levels, [good, good | {"y": [0.5, np.inf]}])
