"""A policy is bred: it gets better on tasks that it has not seen, and goes on bit for bit."""

import functools

import equinox as eqx
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import experts
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


OWN = {f"breeding.{n}": x for n, x in SETTINGS.model_dump().items() if n != "steps"}


@pytest.mark.slow
def test_a_policy_of_ones_own_is_bred_on_ones_own_tasks(source, tmp_path):
    """Interrupted, gone on with by the same call, and taken by experts."""
    evidence = simulated(source, jax.random.key(6), 8, SETTINGS.rows)
    table = {
        "task": evidence.task_index,
        "x": evidence.columns["x"],
        "y": evidence.outcome,
    }

    def stop(stage, done, total, note=""):
        if stage == "learning" and done == 1 and total > done:
            raise KeyboardInterrupt

    path = tmp_path / "own.safetensors"
    given = {"to": path, "steps": 2, "settings": OWN | {"policy.message": 0}}
    half = bb.breed(source.program.model, table, report=stop, **given)
    assert (half.steps, half.finished) == (1, False)
    with pytest.raises(BadgerError, match=r"own\.breeding is of another fit: seed"):
        bb.breed(source.program.model, table, seed=1, **given)
    whole = bb.breed(source.program.model, table, **given)
    assert (whole.steps, whole.finished) == (2, True)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    loop = experts.make(experts.Settings(policy=str(path)))
    assert loop.policy.message == 0
    assert any((w != 0).any() for w in jax.tree.leaves(loop.policy.last))


@pytest.mark.parametrize(
    ("program", "settings", "message"),
    [
        ("wave", {"policy.massage": 0}, r"a policy has no setting 'massage'.*message"),
        ("wave", {"breeding.rate": -1}, r"breeding\.rate = -1: input should be greater than 0"),
        ("eight_schools", {}, "experts use a policy where tasks share no latents"),
    ],
)
def test_where_a_policy_has_nothing_to_do_it_is_told(program, settings, message, tmp_path):
    with pytest.raises(BadgerError, match=message):
        bb.breed(program, to=tmp_path / "p.safetensors", settings=settings)
    assert not list(tmp_path.iterdir())


def test_outcomes_that_cannot_be_are_refused_as_by_a_fit(tmp_path):
    def coins(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Bernoulli(logits=z + x), obs=y)

    table = {"task": [0, 0, 1], "x": [0.0, 1.0, 2.0], "y": [0, 1, 3]}
    for call in (bb.fit, functools.partial(bb.breed, to=tmp_path / "p.safetensors")):
        with pytest.raises(BadgerError, match=r"row 3, task '1': y = 3 is outside the support"):
            call(coins, table)
    assert not list(tmp_path.iterdir())
