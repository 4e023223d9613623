"""A task's evidence given what is shared, against quadrature on a dense grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from bayes_badger.inner_loop import _covering as covering
from bayes_badger.inner_loop._society import Society

EXPERTS, POINTS = 8, 32
# Nodes of the dense grid along each axis, by dimensions.
DENSE = {1: 4001, 2: 401, 3: 81}
# Largest error that is allowed, in nats.
ALLOWED = {1: 2e-4, 2: 2e-3, 3: 2e-2}
OF_ONE = {1: 1e-4, 2: 3e-3}
KINDS = ("all yes", "no counts", "counts")


def log_joint(kind, dims):
    """Few rows, whose posteriors lean: all answers yes, no counts at all, an outlier."""
    x = np.random.default_rng(dims).normal(size=(4, dims))
    x[:, 0] = 1.0

    def joint(z):
        eta = 2.0 * z @ x.T
        rows = {
            "all yes": jax.nn.log_sigmoid(eta),
            "no counts": -jnp.exp(eta),
            "counts": 3.0 * eta - 3.5 * jnp.logaddexp(eta, jnp.log(0.5)),
        }[kind]
        return rows.sum(-1) - 0.5 * (z**2).sum(-1) - 0.5 * dims * jnp.log(2 * jnp.pi)

    return joint


def at_the_mode(joint, dims, apart=0.0, experts=EXPERTS):
    """Experts at the only mode, each as wide as the curvature there says."""

    def height(z):
        return joint(z[None])[0]

    @jax.jit
    def step(at):
        precision = -jax.hessian(height)(at)
        away = jnp.clip(jnp.linalg.solve(precision, jax.grad(height)(at)), -1.0, 1.0)
        return at + away, precision

    at = jnp.zeros(dims)
    for _ in range(30):
        at, precision = step(at)
    root = jnp.linalg.cholesky(jnp.linalg.inv(precision))
    return Society(
        jnp.full(experts, -np.log(experts)),
        jnp.tile(at, (experts, 1)) + apart * jnp.arange(experts)[:, None],
        jnp.tile(root, (experts, 1, 1)),
        jnp.zeros((experts, dims, 0)),
    )


def on_a_grid(joint, dims):
    axis = np.linspace(-8.0, 8.0, DENSE[dims])
    points = np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)
    logs = np.asarray(joint(jnp.asarray(points, jnp.float32)), float)
    return logsumexp(logs) + dims * np.log(axis[1] - axis[0])


@pytest.mark.parametrize("dims", DENSE)
@pytest.mark.parametrize("kind", KINDS)
def test_the_evidence_of_a_task_counts_its_tails(kind, dims):
    joint = log_joint(kind, dims)
    found = covering.proposals(at_the_mode(joint, dims), POINTS)
    whole = covering.integral(found, joint(found.points))
    error = abs(float(whole.log_evidence) - on_a_grid(joint, dims))
    assert error < ALLOWED[dims]
    # What is said of the error is not far below it.
    assert error < 5 * float(whole.error) + 5e-4


@pytest.mark.parametrize("dims", OF_ONE)
def test_the_evidence_of_a_task_by_one_gaussian_is_hardly_biased(dims):
    """Errors of tasks are alike, and add up over hundreds of them."""

    @jax.jit
    def told(society):
        found = covering.proposals(society, POINTS)
        return [covering.integral(found, log_joint(kind, dims)(found.points)) for kind in KINDS]

    for i, kind in enumerate(KINDS):
        joint = log_joint(kind, dims)
        whole = told(at_the_mode(joint, dims, experts=1))[i]
        error = abs(float(whole.log_evidence) - on_a_grid(joint, dims))
        assert error < OF_ONE[dims]
        assert error < float(whole.error) + 1e-5


def test_two_modes_count_both():
    def joint(z):
        away = (jnp.abs(z[:, 0]) - 2.0) / 0.1
        return -0.5 * away**2 - 0.5 * z[:, 0] ** 2 - 0.5 * jnp.log(2 * jnp.pi)

    society = at_the_mode(lambda z: joint(jnp.abs(z) + 2.0), 1)
    sides = jnp.where(jnp.arange(EXPERTS) < 4, 1.98, -1.98)[:, None]
    society = society._replace(mean=sides, root=jnp.full((EXPERTS, 1, 1), 0.1))
    found = covering.proposals(society, POINTS)
    whole = covering.integral(found, joint(found.points))
    assert abs(float(whole.log_evidence) - on_a_grid(joint, 1)) < 1e-3
    draws = covering.drawn(joint, found, whole, jax.random.key(0), 4000)[:, 0]
    assert abs(float((draws > 0).mean()) - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_draws_follow_the_posterior_and_are_no_nodes():
    joint, count = log_joint("all yes", 1), 40_000
    found = covering.proposals(at_the_mode(joint, 1), POINTS)
    whole = covering.integral(found, joint(found.points))
    draws = np.asarray(covering.drawn(joint, found, whole, jax.random.key(1), count)[:, 0])
    axis = np.linspace(-8.0, 8.0, 4001)
    weights = np.exp(np.asarray(joint(jnp.asarray(axis[:, None])), float))
    cdf = np.cumsum(weights / weights.sum())
    for q in (0.01, 0.05, 0.5, 0.95, 0.99):
        below = (draws < axis[np.searchsorted(cdf, q)]).mean()
        assert abs(below - q) < 5 * np.sqrt(q * (1 - q) / count) + 2e-3
    assert len(np.unique(draws)) > 0.8 * count


@pytest.mark.parametrize("dims", [1, 2])
def test_a_rule_is_exact_for_the_normal(dims):
    points, logs = covering.trapezoid(dims, 14, 0.8, 5)
    weights = np.exp(logs)
    assert abs(weights.sum() - 1) < 1e-5
    np.testing.assert_allclose((points * weights[:, None]).T @ points, np.eye(dims), atol=1e-4)
