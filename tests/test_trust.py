"""A belief is judged by fresh draws: what is good passes, what was planted is found and mended."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayes_badger as bb
from bayes_badger.belief import Mixture
from bayes_badger.belief.importance import resampled, smoothed
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop.experts import Experts
from bayes_badger.program import lift
from bayes_badger.trust import judged
from bayes_badger.trust.verdicts import Verdicts, told

TASKS, STEPS, DRAWS = 4, 6, 1000


def model(x, y=None):
    """Nothing says which sign z has."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(x * z**2, 0.3), obs=y)


def inputs(key, tasks, steps):
    return {"x": jax.random.uniform(key, (tasks, steps), minval=0.5, maxval=1.5)}


@pytest.fixture(scope="module")
def squares():
    program = lift(model, inputs=inputs, name="squares")
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1.5, (TASKS, STEPS))
    z = np.array([0.8, -1.2, 1.5, 1.0])[:, None]
    y = x * z**2 + 0.3 * rng.normal(size=x.shape)
    return program, from_arrays(program.signature, {"x": x}, y)


def loop(name, **settings):
    module = registry.module(name)
    return module.make(module.Settings(chains=1, draws=DRAWS, **settings))


@pytest.fixture(scope="module")
def posterior(squares):
    return loop("experts").infer(*squares, jax.random.key(0))


@pytest.fixture(scope="module")
def exact(squares):
    return loop("grid").infer(*squares, jax.random.key(0))


def with_mixture(posterior, **arrays):
    old = posterior.mixture
    fields = {"log_weights": old.log_weights, "loc": old.loc, "scale_tril": old.scale_tril}
    return dataclasses.replace(posterior, mixture=Mixture(**(fields | arrays), latents=old.latents))


def one_sign(posterior):
    weights = jnp.where(posterior.mixture.loc[..., 0] > 0, posterior.mixture.log_weights, -jnp.inf)
    return with_mixture(posterior, log_weights=weights)


def test_a_good_belief_passes_and_is_weighed(squares, posterior, exact):
    found, verdicts = judged(*squares, posterior, jax.random.key(1))
    assert not verdicts.flagged.any()
    assert found.warnings == ()
    assert (verdicts.done == "weighed").all()
    assert abs(found.log_evidence - exact.log_evidence) < 5 * found.log_evidence_error
    assert found.log_evidence_error < 0.1
    size = np.abs(found.draws.values["z"])[0]
    true = np.abs(exact.draws.values["z"])[0]
    error = np.hypot(size.std(0), true.std(0)) / np.sqrt(DRAWS / 2)
    assert (np.abs(size.mean(0) - true.mean(0)) < 5 * error).all()


@pytest.fixture
def second_with_one_sign(monkeypatch):
    """The second opinion has lost the same mode: only draws from the prior can tell."""
    honest = Experts.societies

    def societies(self, *args, turn=0, **more):
        found = honest(self, *args, turn=turn, **more)
        weights = jnp.where(found.society.mean[..., 0] > 0, found.society.log_weights, -jnp.inf)
        weights = weights if turn == 1 else found.society.log_weights
        return found._replace(society=found.society._replace(log_weights=weights))

    monkeypatch.setattr(Experts, "societies", societies)


def positive(mixture):
    return np.where(mixture.loc[..., 0] > 0, jax.nn.softmax(mixture.log_weights), 0.0).sum(1)


def test_a_mode_that_the_second_opinion_has_is_given_back(squares, posterior):
    found, verdicts = judged(*squares, one_sign(posterior), jax.random.key(1))
    assert not verdicts.flagged.any()
    np.testing.assert_allclose(positive(found.mixture), 0.5, atol=0.05)
    np.testing.assert_allclose((found.draws.values["z"][0] > 0).mean(0), 0.5, atol=0.1)


def test_too_narrow_a_belief_is_mended(squares, posterior):
    narrow = with_mixture(posterior, scale_tril=0.3 * posterior.mixture.scale_tril)
    found, _ = judged(*squares, narrow, jax.random.key(1))
    z = found.draws.values["z"]
    mean = (jax.nn.softmax(found.mixture.log_weights)[..., None] * found.mixture.loc**2).sum(1)
    assert (np.abs(z**2).mean((0, 1)) > 0.9 * np.asarray(mean[:, 0])).all()


def test_a_mode_that_both_lost_is_found(squares, posterior, second_with_one_sign):
    found, verdicts = judged(*squares, one_sign(posterior), jax.random.key(1))
    assert verdicts.flagged.all()
    assert (verdicts.missed > 0.1).all()
    assert "4 of 4 tasks may be misjudged" in found.warnings[0]


def test_refining_mends_what_is_flagged_and_leaves_the_rest(
    squares, posterior, second_with_one_sign
):
    halved = one_sign(posterior)
    weights = posterior.mixture.log_weights.at[0].set(halved.mixture.log_weights[0])
    found, verdicts = judged(
        *squares, with_mixture(posterior, log_weights=weights), jax.random.key(1), "refine"
    )
    assert not verdicts.flagged.any()
    assert list(verdicts.done) == ["refined", "weighed", "weighed", "weighed"]
    assert "1 task was refined" in found.notes
    np.testing.assert_allclose(positive(found.mixture), 0.5, atol=0.1)


def test_off_leaves_all_as_it_is(squares, posterior):
    assert judged(*squares, posterior, jax.random.key(1), "off") == (posterior, None)


def test_what_is_exact_is_not_weighed(squares, exact):
    assert judged(*squares, exact, jax.random.key(1)) == (exact, None)


def test_a_run_stores_the_verdicts(squares, tmp_path):
    _, evidence = squares
    rows = {"task": evidence.task_index, "x": evidence.columns["x"], "y": evidence.outcome}
    run = bb.fit(
        model,
        rows,
        inference="experts",
        settings={"inference.chains": 1, "inference.draws": DRAWS},
        out=tmp_path,
    )
    table = bb.load(run.path).tree["trust"].to_dataset()
    assert set(table) >= {"pareto_k", "ess", "missed", "flagged", "done", "log_evidence"}
    assert table.sizes == {"task": TASKS}
    assert run.spec["trust"] == "weigh"


def test_a_word_that_is_none_is_refused():
    with pytest.raises(BadgerError, match="trust = 'yes': choose one of off, weigh, refine"):
        bb.fit("coin", trust="yes")


def test_equal_weights_have_nothing_to_smooth():
    weights, k, ess = smoothed(np.full(50, -3.0))
    np.testing.assert_allclose(weights, 1 / 50)
    assert (k, round(ess, 6)) == (0.0, 50.0)


def test_weights_that_are_all_zero_count_for_nothing():
    weights, k, ess = smoothed(np.full(50, -np.inf))
    assert weights.sum() == pytest.approx(1)
    assert (k, ess) == (np.inf, 0.0)


def test_each_draw_is_kept_as_often_as_it_weighs():
    weights = np.random.default_rng(0).dirichlet(np.ones(20))
    counts = np.bincount(resampled(weights, 1000, np.random.default_rng(1)), minlength=20)
    assert (np.abs(counts - 1000 * weights) <= 1).all()


def test_a_heavy_tail_counts_only_where_draws_are_lost():
    def verdict(k, ess):
        one = np.array([0.0])
        done = np.array(["weighed"])
        return Verdicts(np.array([k]), np.array([ess]), 100, one, one, one, one, done)

    assert not verdict(0.9, 90.0).flagged[0]
    assert verdict(0.9, 40.0).flagged[0]
    assert verdict(0.2, 4.0).flagged[0]
    assert "Pareto k 0.90" in told(verdict(0.9, 40.0), ["a"], "task")[0]


@pytest.mark.slow
def test_a_sampler_starts_from_the_draws_and_its_experts_cover_them(squares, posterior):
    from bayes_badger.trust.judge import _from_sampler

    program, evidence = squares
    found, _ = judged(program, evidence, posterior, jax.random.key(1))
    u = np.moveaxis(found.draws.values["z"][0], 0, 1)[..., None]
    society = _from_sampler(program, evidence, u, jax.random.key(2), lambda *_: None)
    assert (np.asarray(society.mean) > 0).any(1).all()
    mean = np.abs(np.asarray(society.mean)[..., 0]).mean(1)
    np.testing.assert_allclose(mean, np.abs(found.draws.values["z"][0]).mean(0), atol=0.1)
