"""What tasks share, by experts: against closed forms and lattices, in any order, with doubts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import programs
import pytest
import xarray as xr
from hierarchies import gaussian_evidence, joint_covariance
from scipy.stats import multivariate_normal, norm

import bayes_badger as bb
from bayes_badger.belief.gaussian import log_standard_normal
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import _in_double, _lifetime, _lifetime_rounds, grid
from bayes_badger.inner_loop import enumerate as enumerate_loop
from bayes_badger.inner_loop import experts as experts_loop
from bayes_badger.inner_loop._society import Society
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.labels import Labels
from bayes_badger.runs import Run

TASKS, STEPS, DRAWS = 40, 3, 2000
# Standard errors that a figure may be off: of some thirty, one false alarm in a million runs.
SIGMAS = norm.isf(1e-6 / 30 / 2)


@pytest.fixture(scope="module")
def gaussian():
    return gaussian_evidence(TASKS, STEPS)


def inferred(program, evidence, key=0, sizes=None):
    sizes = sizes or _lifetime_rounds.Sizes()
    return _lifetime.infer_shared(program, evidence, jax.random.key(key), DRAWS, sizes, silent)


@pytest.fixture(scope="module")
def found(gaussian):
    return inferred(*gaussian)


def test_the_normal_hierarchy_in_closed_form(gaussian, found):
    """Evidence, and mean and spread of what is shared and of a task, in standard errors."""
    _, evidence = gaussian
    y = evidence.outcome.reshape(TASKS, STEPS)
    exact = multivariate_normal(cov=joint_covariance(TASKS, STEPS)).logpdf(y.ravel())
    assert abs(found.log_evidence - exact) < SIGMAS * max(found.log_evidence_error, 1e-3)
    variance = 1 / (1 + TASKS / (1 + 1 / STEPS))
    mean = variance * y.mean(1).sum() / (1 + 1 / STEPS)
    a, count = found.lifetimes[:, 0], min(found.ess, DRAWS)
    assert abs(a.mean() - mean) < SIGMAS * np.sqrt(variance / count)
    assert abs(a.std() / np.sqrt(variance) - 1) < SIGMAS / np.sqrt(2 * count)
    # z = a + u, and given a the mean of z is that of a and of the rows' mean, with weights 1 and 3.
    z = found.tasks[:, :, 0] + a[:, None]
    share = STEPS / (STEPS + 1)
    of_task = share * y.mean(1) + (1 - share) * mean
    sd = np.sqrt(1 / (STEPS + 1) + (1 - share) ** 2 * variance)
    assert (np.abs(z.mean(0) - of_task) < SIGMAS * sd / np.sqrt(count)).all()
    assert (np.abs(z.std(0) / sd - 1) < SIGMAS / np.sqrt(2 * count)).all()
    # Given a, tasks are independent of each other: of all pairs none moves with another.
    u = found.tasks[:, :, 0] - (found.tasks.mean(0)[:, 0] + (a - a.mean())[:, None] * -share)
    off = np.corrcoef(u.T)[np.triu_indices(TASKS, 1)]
    assert np.abs(off).max() < norm.isf(1e-6 / len(off)) / np.sqrt(count)
    assert np.isinf(found.effective).all()
    assert not _lifetime.doubts(found, evidence)


@pytest.mark.slow
def test_tasks_that_are_asked_apart_say_the_same(gaussian, found):
    """In closed form it does not matter which tasks are held to be hard; draws differ."""
    program, evidence = gaussian
    hard, sizes = np.arange(TASKS) % 3 == 0, _lifetime_rounds.Sizes()
    again = _lifetime.infer_shared(
        program, evidence, jax.random.key(0), DRAWS, sizes, silent, hard=hard
    )
    assert abs(again.log_evidence - found.log_evidence) < 1e-2
    np.testing.assert_allclose(again.lifetimes.mean(), found.lifetimes.mean(), atol=1e-2)
    off = np.abs(again.tasks.mean(0) - found.tasks.mean(0))[:, 0] / found.tasks.std(0)[:, 0]
    assert (off < SIGMAS * np.sqrt(2 / DRAWS)).all()
    # Draws of two tasks of different kinds are not alike.
    assert np.abs(np.corrcoef(again.tasks[:, :4, 0].T)[np.triu_indices(4, 1)]).max() < 0.9


def test_a_task_that_is_left_out(gaussian, found):
    """From the messages alone, against conditionals of the joint normal in closed form."""
    program, evidence = gaussian
    messages = Labels(program, evidence).of_messages(found.messages[None])
    tree = xr.DataTree.from_dict({"/messages": messages})
    spec = {"name": "r", "evidence": {"task_name": "task"}}
    run = Run(spec=spec, tree=tree, evidence=evidence.to_dataset())
    told = bb.leave_one_task_out(run)
    covariance, y = joint_covariance(TASKS, STEPS), evidence.outcome
    exact = []
    for i in range(TASKS):
        mine = evidence.task_index == i
        across = np.linalg.solve(covariance[np.ix_(~mine, ~mine)], covariance[~mine][:, mine])
        rest = covariance[np.ix_(mine, mine)] - covariance[mine][:, ~mine] @ across
        exact.append(multivariate_normal(across.T @ y[~mine], rest).logpdf(y[mine]))
    np.testing.assert_allclose(told["elpd"], exact, atol=0.03)
    assert (told["pareto_k"] < 0.7).all()
    assert told["elpd"].attrs["units"] == "nats"
    with pytest.raises(BadgerError, match="has no messages of tasks"):
        bb.leave_one_task_out(dataclasses.replace(run, tree=xr.DataTree()))


def test_the_order_of_tasks_is_nothing_to_it(gaussian, found):
    program, evidence = gaussian
    shuffled = np.random.default_rng(0).permutation(TASKS)
    other = inferred(program, evidence.select(shuffled))
    sd = found.lifetimes.std(0)
    assert (np.abs(other.lifetimes.mean(0) - found.lifetimes.mean(0)) < 1e-3 * sd).all()
    moved = (
        np.abs(other.tasks.mean(0) - found.tasks.mean(0)[shuffled]) / found.tasks.std(0)[shuffled]
    )
    assert moved.max() < 1e-3


def test_a_lifetime_of_one_task_does_not_move_when_its_posterior_is_asked_again():
    """The belief in `a` has the task's evidence already: it may not count twice, nor be lost."""
    program, evidence = gaussian_evidence(1, STEPS)
    found = inferred(program, evidence)
    a, u = found.lifetimes[:, 0], found.tasks[:, 0, 0]
    values = {"a": a, "z": (a + u)[:, None]}
    again = messages(program, evidence, values, jax.random.key(1)).log_evidence[:, 0]

    def moved(log_weights):
        weights = np.exp(log_weights - log_weights.max())
        mean, square = (weights @ x / weights.sum() for x in (a, a**2))
        return max(abs(mean - a.mean()) / a.std(), abs(np.sqrt(square - mean**2) / a.std() - 1))

    assert moved(again - found.messages[:, 0]) < 1e-6
    assert moved(again) > 0.1  # once more would be seen
    # A level a + u is N(0, 2) before.
    y, share, count = evidence.outcome.mean(), 2 / (2 + 1 / STEPS), min(found.ess, DRAWS)
    sd = np.sqrt(share / STEPS)
    assert abs((a + u).mean() - share * y) < SIGMAS * sd / np.sqrt(count)
    assert abs((a + u).std() / sd - 1) < SIGMAS / np.sqrt(2 * count)


def ways(x, y=None):
    """Two ways in which outcomes depend on x; linear in all else."""
    way = numpyro.sample("way", dist.Bernoulli(0.3))
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + jnp.where(way == 1, 0.5, 0.2) * x, 1), obs=y)


@pytest.mark.slow
def test_few_tasks_at_once_are_what_they_are_round_by_round(monkeypatch):
    """All rounds in one compiled program, or call by call; tasks of unequal length, one empty."""
    rng, program = np.random.default_rng(4), bb.lift(ways)
    x = rng.normal(size=(4, 3))
    y = rng.normal(size=(4, 1)) + 0.4 * x + rng.normal(size=(4, 3))
    evidence = from_arrays(program.signature, {"x": x}, y, {}).select_rows([0, 1, 2, 6, 9, 10])
    together = inferred(program, evidence)
    monkeypatch.setattr(_lifetime_rounds, "few", lambda tasks: False)
    alone = inferred(program, evidence)
    assert abs(together.log_evidence - alone.log_evidence) < SIGMAS * alone.log_evidence_error
    share, count = alone.discrete["way"].mean(), min(alone.ess, DRAWS)
    assert 0.05 < share < 0.95
    assert abs(together.discrete["way"].mean() - share) < 1e-3
    for one, other in ((together.lifetimes, alone.lifetimes), (together.tasks, alone.tasks)):
        away = np.abs(one.mean(0) - other.mean(0)) / other.std(0)
        assert (away < SIGMAS * np.sqrt(2 / count)).all()
    told = together.messages.mean(0), alone.messages.mean(0)
    np.testing.assert_allclose(*told, atol=0.1)


def test_experts_that_are_elsewhere_are_told(gaussian, monkeypatch):
    def astray(self, assignment, rounds, *rest):
        society = rounds.society
        mean, root = np.asarray(society.mean) + 3.0, 0.05 * np.asarray(society.root)
        society = society._replace(mean=mean, root=root)
        return _in_double.begun(society)._replace(log_evidence=np.zeros(()))

    monkeypatch.setattr(_lifetime_rounds.Work, "_learned", astray)
    program, evidence = gaussian
    told = _lifetime.doubts(inferred(program, evidence), evidence)
    assert "the experts missed what tasks share" in told[0]


def choices(x, hit=None):
    """Which of two ways answers depend on x is a discrete latent of the lifetime."""
    way = numpyro.sample("way", dist.Bernoulli(0.3))
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            logits = z + jnp.where(way == 1, 1.0, 0.2) * x
            numpyro.sample("hit", dist.Bernoulli(logits=logits), obs=hit)


@pytest.fixture(scope="module")
def chosen():
    rng, program = np.random.default_rng(3), bb.lift(choices)
    x = rng.normal(size=(6, 4))
    hit = (rng.normal(size=(6, 1)) + x + rng.logistic(size=x.shape) > 0).astype(int)
    evidence = from_arrays(program.signature, {"x": x}, hit, {})
    # The last has no rows.
    return program, evidence.select_rows(np.arange(5 * 4))


def test_discrete_latents_that_tasks_share_against_a_lattice(chosen):
    program, evidence = chosen
    exact = grid.make(grid.Settings(chains=1, draws=4000)).infer(
        program, evidence, jax.random.key(0)
    )
    found = inferred(program, evidence)
    assert abs(found.log_evidence - exact.log_evidence) < max(
        SIGMAS * found.log_evidence_error, 0.02
    )
    values, count = exact.draws.values, min(found.ess, DRAWS)
    share = values["way"].mean()
    error = np.sqrt(share * (1 - share) * (1 / count + 1 / 4000))
    assert 0.05 < share < 0.95
    assert abs(found.discrete["way"].mean() - share) < SIGMAS * error
    mu = values["mu"].ravel()
    off = found.lifetimes[:, 0].mean() - mu.mean()
    assert abs(off) < SIGMAS * mu.std() * np.sqrt(1 / count + 1 / 4000)
    z = found.tasks[:, :, 0] + found.lifetimes
    theirs = values["z"].reshape(4000, 6)
    sd = theirs.std(0)
    assert (np.abs(z.mean(0) - theirs.mean(0)) < SIGMAS * sd * np.sqrt(1 / count + 1 / 4000)).all()
    assert (np.abs(z.std(0) / sd - 1) < SIGMAS * np.sqrt(0.5 / count + 0.5 / 4000)).all()
    assert (found.effective > _lifetime.ENOUGH_OF_TASK).all()


def test_discrete_latents_of_tasks_against_their_sum():
    """Where all that tasks have is discrete and linear-Gaussian: by `enumerate`, exact."""
    rng, program = np.random.default_rng(5), bb.lift(programs.mixture)
    x = rng.normal(size=(5, 4))
    kind, slope = rng.integers(2, size=(5, 1)), rng.normal(size=(5, 1))
    y = kind + slope * x + 0.5 * rng.normal(size=x.shape)
    evidence = from_arrays(program.signature, {"x": x}, y, {})
    exact = enumerate_loop.make(enumerate_loop.Settings(chains=1, draws=10)).infer(
        program, evidence, jax.random.key(0)
    )
    loop = experts_loop.make(experts_loop.Settings(chains=1, draws=DRAWS))
    found = loop.infer(program, evidence, jax.random.key(0))
    np.testing.assert_allclose(
        found.log_evidence_by_task, exact.log_evidence_by_task, rtol=0, atol=1e-4
    )
    weights = np.exp(exact.mixture.log_weights)
    share = (weights * exact.mixture.discrete["kind"]).sum(1)
    error = np.sqrt(share * (1 - share) / DRAWS)
    assert (np.abs(found.draws.values["kind"][0].mean(0) - share) < SIGMAS * error + 1e-6).all()
    mean = (weights[..., None] * exact.mixture.loc).sum(1)[:, 0]
    draws = found.draws.values["slope"][0]
    assert (np.abs(draws.mean(0) - mean) < SIGMAS * draws.std(0) / np.sqrt(DRAWS)).all()


def test_tasks_that_their_experts_miss_are_told(chosen):
    _, evidence = chosen
    few = np.array([100.0, 2.0, 100.0, 1.0, 100.0, np.inf])
    all_well = np.zeros(5000)
    shared = _lifetime.Shared(
        np.zeros((1, 1)), np.zeros((1, 6, 1)), {}, 0.0, 0.0, 4000.0, 5000, few, all_well
    )
    told = _lifetime.doubts(shared, evidence)
    assert told == (
        "2 of 6 tasks were missed by their experts ('1', '3'): fit with trust = refine, raise "
        "inference.given, or use recipe nuts",
    )


def test_a_filter_cannot_yet_carry_it(gaussian):
    program, evidence = gaussian
    loop = experts_loop.make(experts_loop.Settings(sweeps=0))
    with pytest.raises(BadgerError, match=r"cannot carry what tasks share \(a\) through a filter"):
        loop.infer(program, evidence, jax.random.key(0))


def test_impossible_evidence_is_refused(gaussian):
    """A log density of minus infinity in single precision."""
    program, evidence = gaussian
    far = dataclasses.replace(evidence, outcome=np.full_like(evidence.outcome, 1e30))
    with pytest.raises(BadgerError, match="the evidence is impossible"):
        inferred(program, far)


def off_of_standard_normal(society, n=2000):
    """Of 400 sets of draws: how many of its stated errors the evidence is off, the top weight."""

    def one(key):
        places, proposed = _in_double.covered(society, key, n)
        weights = jnp.exp(log_standard_normal(places) - proposed)
        return (weights.mean() - 1) / (weights.std() / np.sqrt(n)), weights.max()

    off, most = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 400))
    return np.asarray(off), float(most.max())


def test_draws_of_experts_with_short_tails_know_their_error():
    """What lies beyond them is met by wider ones, not once in a while by the prior alone, where it
    weighs 70: the evidence was .6 of its stated errors too low then."""
    along = np.linspace(-2.0, 2.0, 16)
    logs = -0.5 * along**2 - np.logaddexp.reduce(-0.5 * along**2)
    mean = jnp.asarray(np.outer(along, [1.0, 0.0]))
    roots = jnp.asarray(np.tile(np.diag([0.3, 1.0]), (16, 1, 1)))
    off, most = off_of_standard_normal(Society(logs, mean, roots, jnp.zeros((16, 1, 0))))
    # Draws that are spread evenly over the experts are better than the spread of weights says.
    assert abs(off.mean()) < 0.25
    assert (np.abs(off) < 2).mean() > 0.95
    assert most < 8.0
