"""Where a code length goes: exact terms, and planted faults that are found in the right one."""

import dataclasses

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.special import betaln

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import registry
from bayes_badger.measures.definitions.code_length import _labelled
from bayes_badger.measures.definitions.prior_or_evidence import shapley
from bayes_badger.measures.labelled import notes_of
from bayes_badger.measures.ledger import ledger
from bayes_badger.measures.prequential import doubling, score_spans
from tests.hierarchies import gaussian_evidence, joint_covariance, shelf_evidence

STEPS = 4


def levels(x, y=None, *, spread=1.0):
    """A level of each task, read with noise 1."""
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(0.0, spread))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(z + 0 * x, 1.0), obs=y)


class Shuffled:
    """A learner that is told the outcomes of another task."""

    def __init__(self, loop):
        self.loop = loop

    def why_not(self, program, evidence):
        return self.loop.why_not(program, evidence)

    def infer(self, program, evidence, key, *args):
        turned = evidence.select(np.roll(np.arange(evidence.n_tasks), 1)).outcome
        return self.loop.infer(program, dataclasses.replace(evidence, outcome=turned), key, *args)


def recipe(name, **settings):
    module = registry.module(name)
    return module.make(module.Settings(**settings))


@pytest.fixture(scope="module")
def plain():
    program = bb.lift(levels)
    return program, from_arrays(program.signature, {"x": np.zeros((50, STEPS))})


def found_in(program, queries, loop, world=None, seed=0):
    same = world is None
    return ledger(
        program, world or program, queries, loop, jax.random.key(seed), 400, 400, 1, same=same
    )


def near(estimate, exact, floor=2e-3):
    return abs(estimate.value - exact) < 4 * estimate.error + floor


@pytest.fixture(scope="module")
def sound(plain):
    return found_in(*plain, recipe("exact"))


EXACT = {
    "noise": 0.5 * STEPS * np.log(2 * np.pi * np.e),
    "task": 0.5 * np.log(1 + STEPS),
    "algorithm": 0.0,
    "outer": 0.0,
    "inner": 0.0,
}


def test_every_term_of_a_conjugate_program_is_its_exact_value(sound):
    for name, value in EXACT.items():
        assert near(sound.terms[name], value), name
        assert sound.terms[name].error < 0.1
        assert not sound.terms[name].doubt
    assert near(sound.code, sum(EXACT.values()))
    assert near(sound.apart, 0.0, 0.0)


def test_shuffled_evidence_is_found_in_the_inner_loop(plain):
    found = found_in(*plain, Shuffled(recipe("exact")))
    assert found.terms["inner"].value > 10 * found.terms["inner"].error
    assert found.terms["inner"].value > 0.5
    for name in ("noise", "task", "outer"):
        assert near(found.terms[name], EXACT[name])
    assert near(found.apart, 0.0, 0.0)


def test_a_widened_prior_is_found_in_the_outer_loop(plain):
    world, queries = plain
    wide = bb.lift(levels, settings={"spread": 3.0})
    found = found_in(wide, queries, recipe("exact"), world)
    ratio = (1 + STEPS) / (1 + 9 * STEPS)
    exact = 0.5 * (ratio - 1 - np.log(ratio))
    assert near(found.terms["outer"], exact)
    assert found.terms["outer"].value > 10 * found.terms["outer"].error
    for name in ("noise", "task", "inner"):
        assert near(found.terms[name], EXACT[name])
    assert near(found.apart, 0.0, 0.0)


@pytest.mark.slow
def test_one_expert_is_found_in_the_inner_loop():
    program, evidence = shelf_evidence("wave", 60, 8)
    one = found_in(program, evidence, recipe("experts", experts=1, refits=0))
    many = found_in(program, evidence, recipe("experts"))
    assert one.terms["inner"].value > 4 * one.terms["inner"].error
    assert abs(many.terms["inner"].value) < 4 * many.terms["inner"].error
    for found in (one, many):
        assert near(found.apart, 0.0, 0.0)


def test_over_outer_steps_only_what_a_loop_lacks_changes(plain, sound, learned):
    world, queries = plain
    wide = bb.lift(levels, settings={"spread": 3.0})
    key = jax.random.key(1)
    loop = recipe("exact")
    found = [ledger(wide, world, queries, loop, key, 400, 400, 1, before=sound), sound]
    assert found[0].terms["noise"] == sound.terms["noise"]
    assert near(found[0].apart, 0.0, 0.0)
    told = _labelled(found, [], np.array([1, 4]))
    assert told["terms"].dims == ("outer_steps", "term")
    assert told["terms"].sel(term="outer-loop shortfall").values[0] > 0.5
    assert bb.measures.plot(told).get_xlabel() == "outer steps"
    with pytest.raises(BadgerError, match="its tasks are data"):
        bb.measures.code_length(learned, outer_steps=4)


def test_what_is_shared_is_a_term_of_its_own():
    program, evidence = gaussian_evidence(8, 2)
    loop = recipe("exact", chains=1, draws=1000)
    found = ledger(program, program, evidence, loop, jax.random.key(0), 500, 6, 3, same=True)
    exact = {
        "noise": np.log(2 * np.pi * np.e),
        "task": 0.5 * np.log(1 + 2),
        "algorithm": 0.5 * np.log(1 + 3 / (1 + 1 / 2)) / 3,
        "inner": 0.0,
    }
    for name, value in exact.items():
        assert near(found.terms[name], value, 5e-3), name
    assert found.terms["algorithm"].error < 0.03
    assert near(found.apart, 0.0, 0.0)


def test_the_code_of_exact_inference_is_its_log_evidence(key):
    """Whichever way rows are cut, where tasks share latents too."""
    program, evidence = gaussian_evidence(3, 4)
    y = evidence.outcome
    covariance = joint_covariance(3, 4)
    exact = -0.5 * (
        y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(2 * np.pi * covariance)[1]
    )
    scores = score_spans(program, evidence, recipe("exact"), key, doubling(4))
    error = np.sqrt((1 / scores.effective).sum())
    assert scores.log_score.sum() == pytest.approx(exact, abs=4 * error)
    assert error < 0.15


def test_doubling_covers_all_rows():
    for steps in (1, 2, 7, 8, 9):
        spans = doubling(steps)
        assert [i for a, b in spans for i in range(a, b)] == list(range(steps))


def test_of_data_the_ledger_adds_up(eight_schools):
    found = bb.measures.code_length(eight_schools)
    assert abs(float(found["apart"])) < 4 * float(found["apart_se"])
    assert float(found["apart_se"]) < 0.05
    assert "the world is not known" in notes_of(found)[0]
    mine = -eight_schools.spec["result"]["log_evidence"] / 8
    assert float(found["code"]) == pytest.approx(mine, abs=0.03)


def test_exact_inference_of_data_falls_short_of_nothing():
    """A beta prior and tosses: evidence in closed form, an inner loop that is exact."""
    heads = np.array([0, 1, 3, 5, 8, 8])
    tosses = (np.arange(8) < heads[:, None]).astype(int)
    run = bb.fit("coin", {"toss": np.zeros(tosses.shape), "heads": tosses}, inference="grid")
    found = bb.measures.code_length(run)
    exact = -betaln(heads + 1, 9 - heads).mean()
    assert abs(float(found["code"]) - exact) < 4 * float(found["code_se"]) + 1e-3
    terms, errors = found["terms"].to_series(), found["terms_se"].to_series()
    inner = "inner-loop shortfall"
    assert abs(terms[inner]) < 4 * errors[inner] + 1e-3
    assert errors[inner] < 0.02
    rest = terms.drop(inner).sum()
    assert abs(rest - exact) < 4 * np.sqrt((errors.drop(inner) ** 2).sum()) + 1e-3


def test_prior_or_evidence_of_a_conjugate_program(learned):
    found = bb.measures.prior_or_evidence(learned)
    y = learned.evidence["y"].values.reshape(40, 9)
    spread = float(learned.parameters["spread"]) ** 2
    for i, (mean, variance) in enumerate(((0.0, 1.0), (float(learned.parameters["mean"]), spread))):
        for j, rows in enumerate((0, 8)):
            weight = rows * variance / (1 + rows * variance)
            guess = mean + (weight * (y[:, :8].mean(1) - mean) if rows else 0.0)
            s = 1 + variance * (1 - weight)
            exact = (-0.5 * (y[:, 8] - guess) ** 2 / s - 0.5 * np.log(2 * np.pi * s)).mean()
            assert float(found["score"][i, j]) == pytest.approx(
                exact, abs=0.06 if i + j == 0 else 0.02
            )
    # The start is far off: either loop mends it, and the other then has little to do.
    assert float(found["interaction"]) < -1
    assert float(found["outer"]) > 4 * float(found["outer_se"])


def test_shapley_parts_add_up():
    scores = np.random.default_rng(0).normal(size=(2, 2, 5))
    outer, inner, interaction = shapley(scores)
    np.testing.assert_allclose(outer + inner, scores[1, 1] - scores[0, 0], rtol=1e-12)
    outer, inner, interaction = shapley(np.array([[0.0, 2.0], [1.0, 3.0]]))
    assert (outer, inner, interaction) == (1.0, 2.0, 0.0)


def test_without_parameters_there_is_no_outer_loop(eight_schools):
    for measure in (bb.measures.prior_or_evidence, bb.measures.bottleneck):
        with pytest.raises(BadgerError, match="has no learned parameters"):
            measure(eight_schools)
