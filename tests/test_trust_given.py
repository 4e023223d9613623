"""Tasks that share latents are judged given what they share, and the hard ones asked again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from hierarchies import gaussian_evidence
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

import bayes_badger as bb
from bayes_badger.belief import Draws, Posterior
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import _lifetime, _lifetime_rounds
from bayes_badger.inner_loop._evidence_of_task import OfTasks
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.inner_loop.messages import at_draws
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.labels import Labels
from bayes_badger.report import trusted
from bayes_badger.runs import Run
from bayes_badger.trust import given, judged
from bayes_badger.trust.given_sampler import sampled_given

TASKS, STEPS, DRAWS, KEY = 3, 4, 200, jax.random.key(0)


@pytest.fixture(scope="module")
def gaussian():
    return gaussian_evidence(TASKS, STEPS)


@pytest.fixture(scope="module")
def posterior(gaussian):
    """A lifetime's, of whose tasks the second rests on two points."""
    program, evidence = gaussian
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=(1, DRAWS)), "z": rng.normal(size=(1, DRAWS, TASKS))}
    values = {name: x.astype(np.float32) for name, x in values.items()}
    effective = np.array([100.0, 2.0, np.inf])
    return Posterior(
        Draws(values, {}, variables=program.variables),
        messages=rng.normal(size=(1, DRAWS, TASKS)),
        effective=effective,
        approximate=True,
        warnings=("another", _lifetime.told_missed(effective, evidence)),
    )


def looking(monkeypatch, more=(0.0, 0.0, 0.0)):
    """A second look finds so much more evidence of each task."""

    def asked(program, evidence, posterior, at, tasks, key, report):
        told = np.asarray(posterior.messages)[0][np.ix_(at, tasks)] + np.asarray(more)[tasks]
        shape = (*told.shape, 1)
        latents = 7.0 + np.zeros((*shape, 1))
        effective, error = np.full(told.shape, 400.0), np.full(told.shape, 0.05)
        return OfTasks(told, latents, np.zeros(shape, int), effective, error)

    monkeypatch.setattr(given, "_asked", asked)


def again(monkeypatch, effective):
    """More experts for hard tasks find this; which tasks those were is noted."""
    hard = []

    def infer_hard(self, program, evidence, key, which, report):
        hard.extend(np.flatnonzero(which))
        found, points = infer_hard.posterior, np.array(effective)
        warned = _lifetime.told_missed(points, evidence)
        return dataclasses.replace(found, effective=points, warnings=(warned,) if warned else ())

    monkeypatch.setattr(Experts, "infer_hard", infer_hard)
    return hard, infer_hard


def test_tasks_are_flagged_by_their_points(gaussian, posterior):
    found, verdicts = judged(*gaussian, posterior, KEY)
    assert found is posterior
    assert list(verdicts.flagged) == [False, True, False]
    assert set(verdicts.table()) == {"ess", "missed", "flagged", "done"}
    assert (verdicts.done == "weighed").all()


def test_the_report_tells_what_was_looked_for(gaussian, posterior):
    """No second look, no Pareto k: nothing stands there."""
    _, verdicts = judged(*gaussian, posterior, KEY)
    table = Labels(*gaussian).of_tasks(dict(verdicts.table()))
    tree = xr.DataTree.from_dict({"/trust": table})
    spec = {"name": "r", "evidence": {"task_name": "task"}}
    run = Run(spec=spec, tree=tree, evidence=gaussian[1].to_dataset())
    assert trusted._flagged(run) == [["1", "", "", "2", "weighed"]]


def test_closed_forms_are_not_judged(gaussian, posterior):
    exact = dataclasses.replace(posterior, effective=np.full(TASKS, np.inf))
    assert judged(*gaussian, exact, KEY, "refine") == (exact, None)


def test_hard_tasks_are_asked_again(gaussian, posterior, monkeypatch):
    looking(monkeypatch)
    hard, infer_hard = again(monkeypatch, [100.0, 60.0, np.inf])
    infer_hard.posterior = posterior
    found, verdicts = judged(*gaussian, posterior, KEY, "refine")
    assert hard == [1]
    assert list(verdicts.done) == ["weighed", "refined", "weighed"]
    assert not verdicts.flagged.any()
    assert found.warnings == ()
    assert "1 of 3 tasks was refined, given what is shared" in found.notes


def test_evidence_that_only_a_second_look_finds(gaussian, posterior, monkeypatch):
    """Half of a task's evidence is missed where its log falls short by .69."""
    fine = dataclasses.replace(posterior, effective=np.full(TASKS, 100.0))
    looking(monkeypatch, [0.69, 0.1, 0.0])
    verdicts = given._looked_at(*gaussian, fine, np.full(TASKS, "weighed"), KEY, silent)
    assert list(verdicts.flagged) == [True, False, False]
    np.testing.assert_allclose(verdicts.missed, [0.498, 0.095, 0.0], atol=1e-3)


def test_what_stays_flagged_is_drawn_by_a_sampler(gaussian, posterior, monkeypatch):
    looking(monkeypatch)
    _, infer_hard = again(monkeypatch, [100.0, 3.0, np.inf])
    infer_hard.posterior = posterior

    def sampled(program, evidence, lifetimes, discrete, start, key):
        assert list(evidence.tasks) == [gaussian[1].tasks[1]]
        assert (start == 7.0).all()
        return start + 1.0, 0.0

    monkeypatch.setattr(given, "sampled_given", sampled)
    found, verdicts = judged(*gaussian, posterior, KEY, "refine")
    assert list(verdicts.done) == ["weighed", "sampled", "weighed"]
    assert not verdicts.flagged.any()
    assert found.warnings == ()
    before, after = (x.draws.values for x in (posterior, found))
    np.testing.assert_array_equal(after["z"][..., [0, 2]], before["z"][..., [0, 2]])
    # z = a + u, in the model's own space.
    np.testing.assert_allclose(after["z"][..., 1], before["a"] + 8.0, rtol=1e-5)


def test_a_task_that_was_heard_badly_stays_flagged(gaussian, posterior, monkeypatch):
    looking(monkeypatch)
    _, infer_hard = again(monkeypatch, [100.0, 3.0, np.inf])
    infer_hard.posterior = posterior
    monkeypatch.setattr(given, "sampled_given", lambda *args: (args[4], 0.5))
    found, verdicts = judged(*gaussian, posterior, KEY, "refine")
    assert list(verdicts.flagged) == [False, True, False]
    assert found.warnings == (
        "1 of 3 tasks stay doubtful given what is shared ('1'): use recipe nuts",
    )


@pytest.mark.slow
def test_chains_of_one_task_against_a_closed_form(gaussian):
    """z = a + u, u ~ N(0, 1), y ~ N(z, 1): at each lifetime its own normal."""
    program, evidence = gaussian
    a = np.random.default_rng(0).normal(size=(1000, 1))
    start = np.zeros((1000, 1))
    u, diverged = sampled_given(program, evidence.select([0]), a, {}, start, KEY)
    assert diverged < given.DIVERGED
    y = evidence.outcome[evidence.task_index == 0]
    off = (u - (y.sum() - STEPS * a) / (STEPS + 1)) * np.sqrt(STEPS + 1)
    assert abs(off.mean()) < 5 / np.sqrt(1000)
    assert abs(off.std() - 1) < 5 / np.sqrt(2000)
    assert abs(np.corrcoef(off[:, 0], a[:, 0])[0, 1]) < 5 / np.sqrt(1000)


def counts(x, y=None):
    """Levels of tasks around a mean, read as counts."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Poisson(jnp.exp(z + x)), obs=y)


@pytest.mark.slow
def test_an_outlier_that_its_experts_miss_and_more_of_them_do_not():
    """A count of 30,000 where a few are expected: its evidence given mu, against quadrature."""
    y = np.array([[1, 2], [30_000, 30_100]])
    program = bb.lift(counts, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    evidence = from_arrays(program.signature, {"x": np.zeros(y.shape)}, y)
    mu, sizes = np.linspace(-2, 2, 32), _lifetime_rounds.Sizes()
    values = {"mu": mu.astype(np.float32), "z": np.zeros((32, 2), np.float32)}
    easy = at_draws(program, evidence, values, KEY, sizes.effort, sizes.of_task)
    hard = at_draws(program, evidence, values, KEY, sizes.effort_of_hard, sizes.of_hard, True)
    assert easy.effective[:, 1].mean() < _lifetime.ENOUGH_OF_TASK
    assert easy.effective[:, 0].mean() > _lifetime.ENOUGH_OF_TASK
    assert hard.effective.mean(0).min() > 10 * _lifetime.ENOUGH_OF_TASK
    for i, row in enumerate(y):
        # Where counts are large their own width is that of the integrand.
        centre, width = (np.log(row.mean()), 1 / np.sqrt(row.sum())) if i else (0, 1)
        z = centre + width * np.linspace(-12, 8, 4001)
        rows = (row[:, None] * z - np.exp(z) - gammaln(row + 1.0)[:, None]).sum(0)
        of_mu = rows + norm.logpdf(z, mu[:, None], 1)
        exact = logsumexp(of_mu, axis=1) + np.log(z[1] - z[0])
        # In single precision a log likelihood of 300,000 nats is known to .03 for each count.
        error = 5 / np.sqrt(hard.effective[:, i].min()) + (0.1 if i else 0.0)
        assert (np.abs(hard.log_evidence[:, i] - exact) < error).all()
        # What mu hears of the task is how that changes.
        change = hard.log_evidence[:, i] - exact
        assert change.std() < 0.1
