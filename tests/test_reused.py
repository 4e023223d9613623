"""Points of tasks that serve all lifetimes: when they may, and against lattices."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bayes_badger as bb
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import _lifetime, _lifetime_rounds, _looked_up
from bayes_badger.inner_loop._reused import POINTS, reusable
from bayes_badger.inner_loop.protocol import silent

TASKS, STEPS, DRAWS = 6, 32, 2000
SIGMAS = norm.isf(1e-6 / 30 / 2)


def heads(x, hit=None):
    """Nothing is in closed form; rows know what is shared by their task's z alone."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, tau))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("hit", dist.Bernoulli(logits=z + x), obs=hit)


def slopes(x, hit=None):
    """Here rows depend on what is shared."""
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("hit", dist.Bernoulli(logits=z + slope * x), obs=hit)


def bounds(x, hit=None):
    """A support that moves with what is shared."""
    top = numpyro.sample("top", dist.HalfNormal(1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.TruncatedNormal(0, 1, low=-top))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("hit", dist.Bernoulli(logits=z + x), obs=hit)


def with_evidence(model, steps=STEPS):
    program = bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    rng = np.random.default_rng(3)
    x = rng.normal(size=(TASKS, steps))
    chance = 1 + 0.8 * rng.normal(size=(TASKS, 1)) + x
    hit = (chance + rng.logistic(size=x.shape) > 0).astype(int)
    return program, from_arrays(program.signature, {"x": x}, hit, {})


@pytest.mark.parametrize(
    ("model", "steps", "may"),
    [(heads, STEPS, True), (heads, 4, False), (slopes, STEPS, False), (bounds, STEPS, False)],
)
def test_where_points_may_serve_all_lifetimes(model, steps, may):
    assert reusable(*with_evidence(model, steps)) == may


def by_quadrature(evidence):
    """Log evidence; mean and sd of mu, and of each task's z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / np.sqrt(2 * np.pi)
    # tau = |t| with t standard normal.
    mu, t = (x.ravel() for x in np.meshgrid(nodes, np.linspace(0.01, 6, 150), indexing="ij"))
    step = 6 / 150 * 2 * norm.pdf(t)
    share = np.log(np.repeat(weights, 150) * step)
    x, hit = (
        np.asarray(v).reshape(TASKS, STEPS) for v in (evidence.columns["x"], evidence.outcome)
    )
    z = mu[:, None] + t[:, None] * nodes
    of_tasks = []
    for i in range(TASKS):
        logs = np.zeros_like(z)
        for row, y in zip(x[i], hit[i], strict=True):
            logs += -np.logaddexp(0, -(z + row) if y else z + row)
        moments = [(np.exp(logs) * z**k) @ weights for k in range(3)]
        of_tasks.append(moments)
        share = share + np.log(moments[0])
    total = np.logaddexp.reduce(share)
    share = np.exp(share - total)

    def mean_and_sd(first, second):
        return share @ first, np.sqrt(share @ second - (share @ first) ** 2)

    tasks = [mean_and_sd(m[1] / m[0], m[2] / m[0]) for m in of_tasks]
    return total, mean_and_sd(mu, mu**2), np.array(tasks).T


@pytest.mark.slow
def test_points_that_serve_all_lifetimes_against_quadrature():
    program, evidence = with_evidence(heads)
    log_evidence, (mean, sd), (means, sds) = by_quadrature(evidence)
    sizes = _lifetime_rounds.Sizes(experts=16, points=16)
    found = _lifetime.infer_shared(program, evidence, jax.random.key(0), DRAWS, sizes, silent)
    assert found.looked_up
    assert abs(found.log_evidence - log_evidence) < SIGMAS * found.log_evidence_error
    assert found.log_evidence_error < 0.2
    mu, count = found.lifetimes[:, 0], 1 / min(found.ess, DRAWS)
    # What is shared rests on points of tasks that are the same at all lifetimes.
    error = np.sqrt(count + (1 / found.effective).mean())
    assert abs(mu.mean() - mean) < SIGMAS * sd * error
    assert abs(mu.std() / sd - 1) < SIGMAS * error
    values = jax.vmap(lambda a, z: program.constrain(a, z, {}))(
        jnp.asarray(found.lifetimes, jnp.float32), jnp.asarray(found.tasks, jnp.float32)
    )
    z, error = np.asarray(values["z"]), np.sqrt(count + 1 / found.effective)
    assert (np.abs(z.mean(0) - means) < SIGMAS * sds * error).all()
    assert (np.abs(z.std(0) / sds - 1) < SIGMAS * error).all()
    assert (found.effective > 100).all()
    assert (found.effective < POINTS).all()
    told = _lifetime.told(found, sizes)
    assert f"each task by {POINTS} points, weighed anew at each lifetime" in told


def test_points_that_do_not_carry_are_given_up(monkeypatch):
    monkeypatch.setattr(_looked_up, "MADE", 0)
    program, evidence = with_evidence(heads)
    table = _looked_up.LookedUp(program, {})
    keys = jax.random.split(jax.random.key(0), TASKS), jax.random.key(1)
    assert table.at(evidence, np.zeros((3, 2)), {}, np.zeros(3), keys) is None
    assert not table.served
