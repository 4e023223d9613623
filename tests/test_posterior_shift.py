"""KL(posterior, prior) by level and step by step, against closed forms of Gaussians."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bayes_badger as bb
from bayes_badger.inner_loop._filter import as_mixture, start
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.measures.closed import of_mixture, shift_of
from bayes_badger.measures.labelled import notes_of
from bayes_badger.measures.steps import Followed, _by_filter, _by_prefixes
from bayes_badger.measures.subject import opened
from bayes_badger.measures.tasks_first import (
    algorithm_given_tasks,
    likelihood_depends_on_algorithm,
)

TASKS, ROWS = 3, 4


def kl(mean, covariance, prior):
    """Of N(mean, covariance) from N(0, prior)."""
    inverse = np.linalg.inv(prior)
    size = len(mean)
    log_det = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + mean @ inverse @ mean - size + log_det)


def posterior(design, prior, y):
    """Of latents with prior N(0, prior), y ~ N(design latents, 1)."""
    covariance = np.linalg.inv(np.linalg.inv(prior) + design.T @ design)
    return covariance @ design.T @ y, covariance


@pytest.fixture(scope="module")
def hierarchy():
    y = np.random.default_rng(0).normal(size=(TASKS, ROWS)) + np.array([[1.0], [2.0], [0.5]])
    return bb.fit("gaussian", {"reading": np.zeros_like(y), "y": y}, inference="exact")


def joint(run, both=False):
    """Prior and posterior of (a, z_1, ...) of the normal hierarchy; `both`: y ~ N(z + a, 1)."""
    y = np.asarray(run.evidence["y"])
    design = np.kron(np.eye(TASKS), np.ones((ROWS, 1)))
    design = np.column_stack([np.full(len(y), float(both)), design])
    prior = np.eye(TASKS + 1)
    if not both:
        prior[1:, 0] = prior[0, 1:] = 1.0
        prior[1:, 1:] += 1.0
    return (*posterior(design, prior, y), prior)


def test_both_orders_hold_to_rounding_and_within_their_error(hierarchy):
    found = bb.measures.posterior_shift(hierarchy, steps=0)
    mean, covariance, prior = joint(hierarchy)
    total = kl(mean, covariance, prior)
    algorithm = kl(mean[:1], covariance[:1, :1], prior[:1, :1])
    tasks = kl(mean[1:], covariance[1:, 1:], prior[1:, 1:])
    assert tasks == pytest.approx(total, abs=1e-9)  # the likelihood knows z alone
    truth = {
        "total": total,
        "algorithm": algorithm,
        "tasks_given_algorithm": total - algorithm,
        "tasks": total,
        "algorithm_given_tasks": 0.0,
        "shapley_algorithm": algorithm / 2,
        "shapley_tasks": total - algorithm / 2,
    }
    for name, exact in truth.items():
        assert float(found[f"{name}_exact"]) == pytest.approx(exact, abs=2e-5)
        error = float(found[f"{name}_se"])
        assert abs(float(found[name]) - exact) <= 4 * error
        assert error < 0.06
    assert float(found["per_task_exact"].sum()) == pytest.approx(total - algorithm, abs=2e-5)
    assert (np.abs(found["per_task"] - found["per_task_exact"]) < 4 * found["per_task_se"]).all()
    assert any("nothing more of the algorithm" in note for note in notes_of(found))


def offset(x, y=None):
    """A shift of all readings beside the level of each task."""
    a = numpyro.sample("a", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + a, 1), obs=y)


def test_an_algorithm_that_rows_depend_on_is_integrated():
    y = np.random.default_rng(1).normal(size=(TASKS, ROWS)) + 1.0
    run = bb.fit(offset, {"x": np.zeros_like(y), "y": y}, inference="exact")
    subject = opened(run)
    assert likelihood_depends_on_algorithm(subject)
    mean, covariance, prior = joint(run, both=True)
    exact = kl(mean, covariance, prior) - kl(mean[1:], covariance[1:, 1:], prior[1:, 1:])
    left = algorithm_given_tasks(subject, 0)
    assert abs(left.value - exact) < 4 * left.error
    assert 0 < left.error < 0.1 * exact
    assert not left.doubt


def test_steps_are_the_filters_gains_whichever_way_they_are_found(hierarchy):
    subject = opened(hierarchy)
    one = subject.evidence.select([0])
    ways = []
    for work in (_by_filter, _by_prefixes):
        found = Followed(*(np.zeros((1, ROWS)) for _ in range(2)), np.zeros(1), np.zeros(1), True)
        work(subject, one, ROWS, jax.random.key(0), found, 0)
        ways.append(found)
    y = np.asarray(hierarchy.evidence["y"])[:ROWS]
    prior = np.array([[1.0, 1.0], [1.0, 2.0]])
    design = np.tile([0.0, 1.0], (ROWS, 1))
    beliefs = [posterior(design[:t], prior, y[:t]) for t in range(1, ROWS + 1)]
    before, exact = (np.zeros(2), prior), []
    for mean, covariance in beliefs:
        exact.append(kl(mean - before[0], covariance, before[1]))
        before = mean, covariance
    np.testing.assert_allclose(ways[0].gain[0], exact, atol=1e-7)
    assert (np.abs(ways[1].gain[0] - exact) < 4 * ways[1].error[0]).all()
    assert (ways[1].error < 0.05).all()
    total = kl(*beliefs[-1], prior)
    assert ways[0].total[0] == pytest.approx(total, abs=1e-5)
    assert abs(ways[1].total[0] - total) < 4 * ways[1].total_error[0]
    # On one path the sum is another number, and it is said so.
    assert abs(sum(exact) - total) > 0.01
    told = bb.measures.posterior_shift(hierarchy, steps=2, tasks=1)
    assert float(told["sum_of_steps"][0]) == pytest.approx(sum(exact[:2]), abs=1e-6)
    assert any("only in expectation" in note for note in notes_of(told))


def test_steps_and_total_agree_in_expectation():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(20_000, 1)) + rng.normal(size=(20_000, 5))
    t = np.arange(1, 6)
    mean = np.cumsum(y, 1) / (t + 1)
    mean, variance = np.column_stack([np.zeros(len(y)), mean]), 1 / (1 + np.arange(6.0))

    def gap(m, c, m0, c0):
        return 0.5 * (c / c0 + (m - m0) ** 2 / c0 - 1 - np.log(c / c0))

    steps = gap(mean[:, 1:], variance[1:], mean[:, :-1], variance[:-1]).sum(1)
    difference = steps - gap(mean[:, 5], variance[5], 0.0, 1.0)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(y))
    assert difference.std() > 0.1


def test_weights_of_discrete_latents_count_at_their_level():
    # Lifetime: two values, prior (.5, .5); task: two values, prior (.25, .75).
    prior = np.outer([0.5, 0.5], [0.25, 0.75]).ravel()
    s, c = np.array([0.9, 0.1]), np.array([[0.5, 0.5], [0.25, 0.75]])
    weights = (s[:, None] * c).ravel()[None]
    none = np.zeros((1, 4, 0)), np.zeros((1, 4, 0, 0))
    found = shift_of(weights, prior, *none, 0, 2)
    assert found.algorithm == pytest.approx((s * np.log(s / 0.5)).sum())
    given = 0.9 * (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75))
    assert found.per_task[0] == pytest.approx(given)
    assert found.total == pytest.approx((weights * np.log(weights / prior)).sum())


def test_the_prior_has_not_moved(hierarchy):
    program = opened(hierarchy).program
    belief = jax.tree.map(lambda x: jnp.asarray(x)[None], as_mixture(program, start(program)))
    assert of_mixture(program, belief).total == pytest.approx(0.0, abs=1e-7)


def test_a_run_without_log_evidence_is_refused(hierarchy):
    result = {k: v for k, v in hierarchy.spec["result"].items() if not k.startswith("log_evidence")}
    run = dataclasses.replace(hierarchy, spec={**hierarchy.spec, "result": result})
    with pytest.raises(bb.errors.BadgerError, match="needs the log evidence"):
        bb.measures.posterior_shift(run, report=silent)


def test_belief_in_what_tasks_share_by_rows_is_that_of_prefixes(hierarchy):
    found = bb.measures.algorithm_by_rows(hierarchy)
    assert found["rows"].values.tolist() == [1, 2, 4]
    y = np.asarray(hierarchy.evidence["y"]).reshape(TASKS, ROWS)
    for i, rows in enumerate(found["rows"].values):
        own = 1 + 1 / rows  # variance of a task's mean around a
        variance = 1 / (1 + TASKS / own)
        mean = variance * y[:, :rows].mean(1).sum() / own
        for name, truth in (("mean_a", mean), ("sd_a", np.sqrt(variance))):
            error = float(found[f"{name}_se"][i])
            assert abs(float(found[name][i]) - truth) < 5 * error
        moved = kl(np.array([mean]), np.array([[variance]]), np.eye(1))
        assert abs(float(found["moved"][i]) - moved) < 5 * float(found["moved_se"][i])


def two_kinds(x, y=None):
    """Levels around 0 or around 2: which, all tasks share."""
    kind = numpyro.sample("kind", dist.Bernoulli(0.3), infer={"labels": ["low", "high"]})
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(2.0 * kind, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def test_by_rows_a_value_with_a_name_has_a_probability():
    y = np.array([[0.5, 1.0], [1.5, 1.2]])
    run = bb.fit(two_kinds, {"x": np.zeros_like(y), "y": y}, inference="enumerate")
    found = bb.measures.algorithm_by_rows(run, program=two_kinds)
    assert found["probability_kind"].dims == ("rows", "kind")
    for i, rows in enumerate((1, 2)):
        density = norm.pdf(y[:, :rows].mean(1), [[0.0], [2.0]], np.sqrt(1 + 1 / rows)).prod(1)
        share = density * [0.7, 0.3] / (density @ [0.7, 0.3])
        for value, truth in zip(("low", "high"), share, strict=True):
            said = found["probability_kind"].sel(kind=value)[i]
            error = found["probability_kind_se"].sel(kind=value)[i]
            assert abs(float(said) - truth) < 5 * float(error)
