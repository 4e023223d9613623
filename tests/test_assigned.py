"""Discrete latents too many to sum: experts with one assignment each, against the whole sum."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import _assigned, _split
from bayes_badger.inner_loop import experts as experts_loop
from bayes_badger.trust import judged

ITEMS, SPREAD, KEYS, SIGMAS = 5, 2.0, 16, 5
PERMUTATIONS = np.array(list(itertools.permutations(range(ITEMS))))


@pytest.fixture(autouse=True)
def few_states(monkeypatch):
    """What could still be summed is not."""
    monkeypatch.setattr(_split, "STATES", 16)


def places(item, y=None):
    """Each item has a place of its own; a row is an item's place, a level and noise."""
    with numpyro.plate("task", item.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0, SPREAD))
        even = jnp.full(ITEMS, 1 / ITEMS)
        place = numpyro.sample("place", dist.Categorical(probs=even).expand([ITEMS]).to_event(1))
        apart = (jnp.sort(place, -1) == jnp.arange(ITEMS)).all(-1)
        numpyro.factor("apart", jnp.where(apart, 0.0, -jnp.inf))
        own = jnp.broadcast_to(place, (item.shape[0], 1, ITEMS))[:, 0]
        where = jnp.take_along_axis(own, item.astype(int), 1)
        with numpyro.plate("step", item.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + where, 1.0), obs=y)


@pytest.fixture(scope="module")
def placed():
    rng = np.random.default_rng(0)
    program = bb.lift(
        places, inputs=lambda key, t, s: {"item": jnp.arange(t * s).reshape(t, s) % 5}
    )
    item = np.tile(np.arange(ITEMS), (2, 2))
    truth = np.stack([rng.permutation(ITEMS) for _ in range(2)])
    y = np.take_along_axis(truth, item, 1) + 0.7 + 0.6 * rng.normal(size=item.shape)
    # Of the first task's items the first two are alike: which is before the other, nothing says.
    y[0, [1, 6]] = y[0, [0, 5]]
    return program, from_arrays(program.signature, {"item": item}, y)


def exact_of(evidence, task):
    """Log evidence, how often each item has each place, and the mean of the level."""
    mine = evidence.task_index == task
    item, y = evidence.columns["item"][mine].astype(int), evidence.outcome[mine]
    covariance = np.eye(len(y)) + SPREAD**2
    logs = np.array([multivariate_normal(p[item], covariance).logpdf(y) for p in PERMUTATIONS])
    logs -= ITEMS * np.log(ITEMS)
    share = np.exp(logs - logsumexp(logs))
    often = (share[:, None, None] * (PERMUTATIONS[..., None] == np.arange(ITEMS))).sum(0)
    gain = SPREAD**2 * np.linalg.solve(covariance, np.ones(len(y)))
    level = share @ np.array([gain @ (y - p[item]) for p in PERMUTATIONS])
    return logsumexp(logs), often, level


def inferred(program, evidence, key):
    loop = experts_loop.make(experts_loop.Settings(chains=1, draws=1000, experts=32))
    return loop.infer(program, evidence, jax.random.key(key))


def within(found, truth, floor=1e-3):
    """Whether the mean of independent runs is within five of its standard errors."""
    found = np.asarray(found)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    return (np.abs(found.mean(0) - truth) < SIGMAS * np.maximum(error, floor)).all()


def test_a_permutation_against_the_sum_over_all(placed):
    program, evidence = placed
    found = [inferred(program, evidence, key) for key in range(KEYS)]
    for task in range(2):
        log_evidence, often, level = exact_of(evidence, task)
        # Not its logarithm: that the evidence is estimated without bias.
        assert within([np.exp(x.log_evidence_by_task[task] - log_evidence) for x in found], 1.0)
        drawn = [x.draws.values["place"][0, :, task] for x in found]
        assert within([(x[..., None] == np.arange(ITEMS)).mean(0) for x in drawn], often)
        assert within([x.draws.values["level"][0, :, task].mean() for x in found], level, 0.02)
        assert all((np.sort(x, 1) == np.arange(ITEMS)).all() for x in drawn)
    before = [(x[:, 0] < x[:, 1]).mean() for x in (y.draws.values["place"][0, :, 0] for y in found)]
    assert within(before, 0.5)
    assert not any(x.warnings for x in found)
    told = np.mean([x.log_evidence_error for x in found])
    spread = np.std([x.log_evidence for x in found], ddof=1)
    # Of 16 runs a standard deviation is known to 18%.
    assert 0.4 < told / spread < 2.5
    mixture = found[0].mixture
    assert mixture.discrete["place"].shape == (2, 8 * 32, ITEMS)
    np.testing.assert_allclose(np.exp(mixture.log_weights).sum(1), 1.0, rtol=1e-4)
    assert judged(program, evidence, found[0], jax.random.key(1)) == (found[0], None)


def test_populations_that_disagree_are_told(placed, monkeypatch):
    monkeypatch.setattr(_assigned, "APART", 1e-3)
    found = inferred(*placed, 0)
    assert "populations of experts disagree about" in found.warnings[0]
    assert "raise inference.experts" in found.warnings[0]


def shared(x, y=None):
    """What tasks share stands in the way."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        on = numpyro.sample("on", dist.Bernoulli(jnp.full(6, 0.5)).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(mu + on.sum(-1), 1.0 + 0 * x), obs=y)


def leaning(x, y=None):
    """The prior of what is discrete moves with what is not."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        on = numpyro.sample("on", dist.Bernoulli(logits=z[..., None] + jnp.zeros(6)).to_event(1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(on.sum(-1), 1.0 + 0 * x), obs=y)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (shared, "can hold one for each expert only where tasks share nothing, not mu"),
        (leaning, "nor hold one for each expert, where their prior depends on other latents"),
    ],
)
def test_what_it_cannot_do_is_refused(model, told):
    x = np.zeros((2, 3))
    program = bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    evidence = from_arrays(program.signature, {"x": x}, x)
    with pytest.raises(BadgerError, match=f"experts cannot sum over 64 joint values of on.*{told}"):
        inferred(program, evidence, 0)


def hits(X, y=None):  # noqa: N803 - the usual name of a design matrix
    """Six switches, a slope, and answers of yes and no: nothing in closed form."""
    with numpyro.plate("task", X.shape[0], dim=-2):
        on = numpyro.sample("on", dist.Bernoulli(jnp.full(6, 0.3)).to_event(1))
        w = numpyro.sample("w", dist.Normal(0, 2))
        with numpyro.plate("step", X.shape[1], dim=-1):
            logits = w * (X * on).sum(-1)
            numpyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


@pytest.mark.slow
def test_switches_and_a_bent_rest_against_quadrature():
    """Two predictors that are nearly one: either switch will do, and exchanges find both."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 12, 6))
    x[:, :, 1] = x[:, :, 0] + 0.05 * rng.normal(size=(2, 12))
    y = (3 * x[:, :, 0] + rng.logistic(size=(2, 12)) > 0).astype(int)
    program = bb.lift(hits, inputs=lambda key, t, s: {"X": jax.random.normal(key, (t, s, 6))})
    evidence = from_arrays(program.signature, {"X": x}, y)
    found = [inferred(program, evidence, key) for key in range(KEYS)]
    states = np.array(list(itertools.product([0, 1], repeat=6)))
    u = np.linspace(-8, 8, 2001)
    for task in range(2):
        eta = 2 * u[:, None, None] * (x[task] @ states.T)
        rows = -np.logaddexp(0, -np.where(y[task][:, None] == 1, 1, -1) * eta).sum(1)
        normal = -0.5 * u[:, None] ** 2 - 0.5 * np.log(2 * np.pi)
        prior = states @ np.log([0.3] * 6) + (1 - states) @ np.log([0.7] * 6)
        logs = logsumexp(rows + normal, axis=0) + np.log(u[1] - u[0]) + prior
        share = np.exp(logs - logsumexp(logs))
        ratio = [np.exp(z.log_evidence_by_task[task] - logsumexp(logs)) for z in found]
        assert within(ratio, 1.0)
        drawn = [z.draws.values["on"][0, :, task].mean(0) for z in found]
        assert within(drawn, share @ states)
