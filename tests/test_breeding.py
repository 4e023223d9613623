"""A policy is bred: it gets better on tasks that it has not seen, and goes on bit for bit."""

import equinox as eqx
import jax
import numpy as np
import pytest

from bayes_badger.inner_loop._taught import Taught
from bayes_badger.outer_loop import breeding
from bayes_badger.outer_loop.breeding import Settings, breed, losses_and_slopes, simulated
from benchmarks.families import sources

SETTINGS = Settings(steps=60, rate=0.03, tasks=16, experts=8, refits=3, points=16, rows=6)


@pytest.fixture(scope="module")
def source():
    return sources("growing")[0]


@pytest.fixture(scope="module")
def bred(source):
    return breed(Taught(jax.random.key(0)), [source], jax.random.key(1), SETTINGS)


def weights(policy):
    return jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))


@pytest.mark.slow
def test_it_gets_better_on_tasks_that_it_has_not_seen(source, bred):
    work = breeding._Work(Taught(jax.random.key(0)), [source], jax.random.key(1), SETTINGS)
    evidence = simulated(source, jax.random.key(2), 256, SETTINGS.rows)
    untaught, taught = (
        losses_and_slopes(
            policy, source.program, work.plans[0], evidence, jax.random.key(3), SETTINGS
        )[0][:, 1]
        for policy in (Taught(jax.random.key(0)), bred.policy)
    )
    gain = np.log(untaught + 1e-3) - np.log(taught + 1e-3)
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))
    assert bred.curve[-1]["growing"] < bred.curve[0]["growing"]


@pytest.mark.slow
def test_interrupted_it_goes_on_bit_for_bit(source, bred, tmp_path, monkeypatch):
    def stop(stage, done, total, note=""):
        if done == 13 and total > done:
            raise KeyboardInterrupt

    given = Taught(jax.random.key(0)), [source], jax.random.key(1), SETTINGS
    half = breed(*given, stop, tmp_path)
    assert (half.steps, half.finished) == (13, False)
    whole = breed(*given, folder=tmp_path)
    for one, other in zip(weights(whole.policy), weights(bred.policy), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [x["divergence"] for x in whole.curve] == [x["divergence"] for x in bred.curve]


@pytest.mark.slow
def test_slopes_point_downhill(source):
    """A small step against the slope lowers the loss of the same points by what it promises."""
    work = breeding._Work(Taught(jax.random.key(0)), [source], jax.random.key(1), SETTINGS)
    evidence = simulated(source, jax.random.key(4), 16, SETTINGS.rows)

    def at(point, slopes=False):
        found = losses_and_slopes(
            work.policy_at(point),
            source.program,
            work.plans[0],
            evidence,
            jax.random.key(5),
            SETTINGS,
        )
        return found[1].sum(0) if slopes else found[0][:, 1]

    slope = at(work.first, slopes=True)
    assert np.isfinite(slope).all()
    step = 0.3 * slope / np.sqrt((slope**2).sum())
    down, up = at(work.first - step), at(work.first + step)
    assert np.log(down + 1e-3).mean() < np.log(up + 1e-3).mean()
