"""Evidence one piece at a time: Kalman's filter against closed forms, in any order."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import programs
import pytest
from hierarchies import gaussian_evidence, joint_covariance

import bayes_badger as bb
from bayes_badger.belief import kl, standard_normal
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import registry
from bayes_badger.program import Step, from_inputs, read_signature

TASKS, STEPS = 4, 6


def loop(name):
    module = registry.module(name)
    return module.make(module.Settings(chains=1, draws=100))


@pytest.fixture(scope="module")
def gaussian():
    return gaussian_evidence(TASKS, STEPS)


def followed(inner, program, evidence, order, tasks):
    """The state and the log scores after all rows, task by task, in the order given."""
    state, scores = inner.init(program), []
    for i in tasks:
        if i != tasks[0]:
            state = inner.new_task(program, state)
        rows = np.flatnonzero(evidence.task_index == i)[order]
        for row in rows:
            columns = {name: x[row] for name, x in evidence.columns.items()}
            state, info = inner.step(program, state, Step(columns, {}, evidence.outcome[row]))
            scores.append(info.log_score)
    return state, scores


def test_the_log_scores_add_up_to_the_log_evidence(gaussian):
    program, evidence = gaussian
    exact = loop("exact")
    state, scores = followed(exact, program, evidence, np.arange(STEPS), range(TASKS))
    y = evidence.outcome
    covariance = joint_covariance(TASKS, STEPS)
    half = np.linalg.solve(np.linalg.cholesky(covariance), y)
    truth = -0.5 * half @ half - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert sum(scores) == pytest.approx(truth, abs=1e-4)
    posterior = exact.infer(program, evidence, jax.random.key(0))
    assert posterior.log_evidence == pytest.approx(truth, abs=1e-6)
    last = jax.tree.map(lambda x: x[-1], eqx.filter(posterior.mixture, eqx.is_array))
    np.testing.assert_allclose(state.mean, last.loc, rtol=1e-5)
    own = state.scale_tril[0]
    np.testing.assert_allclose(own, last.scale_tril[0], rtol=1e-5, atol=1e-7)


def test_any_order_gives_the_same_belief(gaussian):
    program, evidence = gaussian
    exact, chance = loop("exact"), np.random.default_rng(0)
    first, scores = followed(exact, program, evidence, np.arange(STEPS), range(TASKS))
    for _ in range(2):
        order = chance.permutation(STEPS)
        tasks = [*chance.permutation(TASKS - 1), TASKS - 1]
        state, others = followed(exact, program, evidence, order, tasks)
        np.testing.assert_allclose(state.mean, first.mean, rtol=1e-9)
        np.testing.assert_allclose(state.scale_tril, first.scale_tril, rtol=1e-9)
        assert sum(others) == pytest.approx(sum(scores), abs=1e-9)
        # Were the order of no matter to the single scores, this would test nothing.
        assert not np.allclose(others, scores)


def test_the_gain_of_a_step_is_a_divergence(gaussian):
    program, evidence = gaussian
    exact = loop("exact")
    state = exact.init(program)
    columns = {name: x[0] for name, x in evidence.columns.items()}
    after, info = exact.step(program, state, Step(columns, {}, evidence.outcome[0]))
    before = standard_normal(program.latents)
    assert info.information_gain == pytest.approx(
        float(kl(exact.belief(program, after), before).lower), rel=1e-5
    )


def mixtures():
    signature = read_signature(programs.mixture, "mixture", None)

    def inputs(key, tasks, steps):
        return {"x": jax.random.normal(key, (tasks, steps))}

    program = bb.lift(programs.mixture, inputs=inputs)
    data = from_inputs(signature, inputs, jax.random.key(1), TASKS, STEPS)
    drawn = program.simulate(jax.random.key(2), data)
    return program, np.asarray(data.columns["x"]), np.asarray(drawn.outcome)


def test_sums_over_discrete_latents_step_by_step():
    """A kind of .3 Bernoulli, a slope of N(0, 1), noise .5: each kind alone is a linear model."""
    program, x, y = mixtures()
    inner = loop("enumerate")
    evidence = bb.Evidence(
        columns={"x": x.ravel()},
        outcome=y.ravel(),
        task_columns={},
        task_index=np.repeat(np.arange(TASKS), STEPS),
        tasks=np.arange(TASKS),
        rows=1 + np.arange(TASKS * STEPS),
        outcome_name="y",
    )
    posterior = inner.infer(program, evidence, jax.random.key(0))
    for i in range(TASKS):
        covariance = np.outer(x[i], x[i]) + 0.25 * np.eye(STEPS)
        parts = []
        for kind, share in ((0, 0.7), (1, 0.3)):
            off = np.linalg.solve(np.linalg.cholesky(covariance), y[i] - kind)
            log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
            parts.append(np.log(share) - 0.5 * off @ off - 0.5 * log_det)
        truth = np.logaddexp(*parts)
        state, scores = inner.init(program), []
        for t in range(STEPS):
            state, info = inner.step(program, state, Step({"x": x[i, t]}, {}, y[i, t]))
            scores.append(info.log_score)
        assert sum(scores) == pytest.approx(truth, abs=1e-4)
        np.testing.assert_allclose(state.log_weights, np.array(parts) - truth, rtol=1e-4, atol=1e-5)
        assert posterior.log_evidence_by_task[i] == pytest.approx(truth, abs=1e-4)
        weights = np.asarray(posterior.mixture.log_weights[i])
        np.testing.assert_allclose(weights, np.array(parts) - truth, rtol=1e-4, atol=1e-4)
    assert inner.new_task(program, state).log_weights == pytest.approx(np.log([0.7, 0.3]))


def test_the_scores_are_a_proper_code():
    """What is expected of the next kind of evidence adds up to one: here over two outcomes."""

    def coins(x, y=None):
        import numpyro
        import numpyro.distributions as dist

        with numpyro.plate("task", x.shape[0], dim=-2):
            fair = numpyro.sample("fair", dist.Bernoulli(0.5))
            with numpyro.plate("step", x.shape[1], dim=-1):
                chance = jnp.where(fair == 1, 0.5, 0.9)
                numpyro.sample("y", dist.Bernoulli(chance + 0 * x), obs=y)

    program = bb.lift(coins, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    inner = loop("enumerate")
    for past in itertools.product((0, 1), repeat=2):
        state = inner.init(program)
        for y in past:
            state, _ = inner.step(program, state, Step({"x": 0.0}, {}, y))
        scores = [inner.step(program, state, Step({"x": 0.0}, {}, y))[1].log_score for y in (0, 1)]
        assert np.exp(scores).sum() == pytest.approx(1.0, abs=1e-6)


def test_what_cannot_be_followed_is_refused():
    program = bb.lift(programs.student, inputs=lambda key, t, s: {"x": jnp.ones((t, s))})
    exact = loop("exact")
    with pytest.raises(BadgerError, match="not linear-Gaussian"):
        exact.step(program, exact.init(program), Step({"x": 1.0}, {}, 0.3))
