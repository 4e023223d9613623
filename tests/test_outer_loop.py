"""The outer loop: slopes against closed forms, maxima against scipy, resumed against not."""

import inspect
import json

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.optimize import approx_fprime, minimize
from scipy.stats import norm

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.outer_loop import Settings, checkpoint, descent, learn, scoring
from bayes_badger.outer_loop.objective import log_evidence_and_slopes
from bayes_badger.outer_loop.penalty import penalty
from bayes_badger.program.parameters import as_table, bound, free, from_table
from benchmarks import resume
from benchmarks.prior import levels

TASKS = 64
NONE = penalty(np.zeros(1), np.zeros(1), 0.0)


def heads(x, y=None):
    """Bernoulli outcomes: nothing is in closed form."""
    mu = numpyro.param("mu", 0.5)
    with numpyro.plate("task", x.shape[0], dim=-2):
        z = numpyro.sample("z", dist.Normal(mu, 2.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=z + 0 * x), obs=y)


@pytest.fixture(scope="module")
def schools():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 2, (TASKS, 1))
    y = 4 + 2.5 * rng.normal(size=(TASKS, 1)) + sigma * rng.normal(size=(TASKS, 1))
    program = bb.lift(levels, inputs=lambda key, t, s: {"sigma": jnp.ones((t, s))})
    return program, from_arrays(program.signature, {"sigma": sigma}, y, {})


def code_length(free, evidence):
    sigma = np.asarray(evidence.columns["sigma"], float)
    sd = np.sqrt(np.exp(2 * free[1]) + sigma**2)
    return -norm.logpdf(np.asarray(evidence.outcome, float), free[0], sd)


LOOP = experts.make(experts.Settings(experts=16, refits=1, points=16))


def test_log_evidence_and_slopes_of_a_line_are_exact(schools):
    program, evidence = schools
    at = {"mu": jnp.array(1.5), "tau": jnp.log(jnp.array(0.7))}
    values, slopes = log_evidence_and_slopes(program, at, evidence, LOOP, jax.random.key(0))
    point = np.array([1.5, np.log(0.7)])
    np.testing.assert_allclose(values, -code_length(point, evidence), rtol=1e-5)
    found = approx_fprime(point, lambda p: -code_length(p, evidence).sum(), 1e-7)
    np.testing.assert_allclose(slopes.sum(0), found, rtol=1e-4)


def test_slopes_are_right_where_nothing_is_closed():
    rng = np.random.default_rng(1)
    y = (rng.uniform(size=(TASKS, 4)) < 0.7).astype(int)
    program = bb.lift(heads, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    evidence = from_arrays(program.signature, {"x": np.zeros((TASKS, 4))}, y, {})
    values, slopes = log_evidence_and_slopes(
        program, free(program), evidence, LOOP, jax.random.key(0)
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    chance = 1 / (1 + np.exp(-(0.5 + 2 * nodes)))
    ones = y.sum(1)[:, None]
    joint = weights / np.sqrt(2 * np.pi) * chance**ones * (1 - chance) ** (4 - ones)
    away = values - np.log(joint.sum(1))
    assert away.std() < 0.1
    assert abs(away.mean()) < 4 * away.std() / np.sqrt(TASKS)
    # The score of a Bernoulli's logit is y - p, and its mean over the posterior the slope.
    truth = (joint * (ones - 4 * chance)).sum(1) / joint.sum(1)
    error = (slopes[:, 0] - truth).std() / np.sqrt(TASKS)
    assert abs((slopes[:, 0] - truth).mean()) < 4 * error
    assert error < 0.02


def test_few_parameters_come_to_rest_at_the_maximum(schools):
    program, evidence = schools
    found = learn(program, evidence, jax.random.key(0))
    best = minimize(lambda p: code_length(p, evidence).sum(), np.zeros(2))
    variance = np.exp(2 * best.x[1]) + np.asarray(evidence.columns["sigma"], float) ** 2
    information = [(1 / variance).sum(), (2 * np.exp(4 * best.x[1]) / variance**2).sum()]
    errors = 1 / np.sqrt(information)
    learned = {name: float(x) for name, x in found.program.parameters.items()}
    assert abs(learned["mu"] - best.x[0]) < 0.1 * errors[0]
    assert abs(np.log(learned["tau"]) - best.x[1]) < 0.1 * errors[1]
    assert found.finished
    assert found.warnings == ()
    assert found.steps < 2 * 40
    assert "it began at 2 places" in found.notes[0]


@pytest.mark.parametrize(("starts", "higher"), [(3, True), (1, False)])
def test_of_two_hills_the_higher_one_counts(schools, monkeypatch, starts, higher):
    """Log evidence with a low hill at mu = -1, at whose foot it starts, and a high one at 1."""
    program, evidence = schools

    def hills(program, parameters, evidence, loop, key, slopes=True, steady=False):
        flat = jax.flatten_util.ravel_pytree(parameters)[0]
        noise = np.random.default_rng(0).normal(size=(evidence.n_tasks, 2))
        mu, other = (float(x) for x in flat)
        low, high = (np.exp(-0.5 * ((mu - at) / 0.4) ** 2) for at in (-1.0, 1.0))
        value = 40 * low + 60 * high - 5 * other**2
        slope = np.array([(-(mu + 1) * 40 * low - (mu - 1) * 60 * high) / 0.16, -10 * other])
        n = evidence.n_tasks
        return np.full(n, value / n), slope / n + 2.0 * (noise - noise.mean(0))

    def around(program, parameters, evidence, loop, key, steady=False):
        return lambda there, points: hills(program, there, evidence, loop, key), False

    monkeypatch.setattr("bayes_badger.outer_loop.loop.log_evidence_and_slopes", hills)
    monkeypatch.setattr("bayes_badger.outer_loop.examining.log_evidence_and_slopes", hills)
    monkeypatch.setattr("bayes_badger.outer_loop.examining.around", around)
    start = eqx.tree_at(
        lambda x: x.parameters, program, program.parameters | {"mu": jnp.float32(-0.15)}
    )
    found = learn(start, evidence, jax.random.key(3), Settings(starts=starts))
    assert bool(found.program.parameters["mu"] > 0) == higher


def test_too_few_steps_are_told(schools):
    found = learn(*schools, jax.random.key(0), Settings(steps=2))
    assert "standard errors from its maximum: take more" in found.warnings[0]


def test_how_far_it_is_from_the_truth_is_told(schools):
    program, evidence = schools
    there = {"mu": jnp.float32(4.0), "tau": jnp.float32(2.5)}
    truth = eqx.tree_at(lambda x: x.parameters, program, there)
    told = []

    def report(stage, done, total, note=""):
        told.append(note)

    found = learn(program, evidence, jax.random.key(0), Settings(steps=2), report, truth=truth)
    best = code_length(np.array([4.0, np.log(2.5)]), evidence).sum() / evidence.n_rows
    assert found.curve[-1]["ceiling"] == pytest.approx(best, rel=1e-5)
    away = min(line["loss"] for line in found.curve) - best
    assert f"in the end it was {away:+.4f} nats per observation" in found.notes[1]
    assert f"{found.curve[-1]['loss'] - best:+.4f} from the ceiling" in told[-1]


@pytest.mark.parametrize("few", [64, 0], ids=["scoring", "descent"])
def test_resumed_is_bit_for_bit_as_not_interrupted(schools, few, tmp_path, monkeypatch):
    monkeypatch.setattr("bayes_badger.outer_loop.descent.EVERY", 4)
    settings = Settings(steps=10, tasks=32, scoring=few)

    def stop(stage, done, total, note=""):
        if done == 6 and total == 10:
            raise KeyboardInterrupt

    whole = learn(*schools, jax.random.key(0), settings)
    part = learn(*schools, jax.random.key(0), settings, stop, tmp_path)
    assert (part.steps, part.finished) == (6, False)
    rest = learn(*schools, jax.random.key(0), settings, folder=tmp_path)
    for name, value in as_table(whole.program).items():
        np.testing.assert_array_equal(as_table(rest.program)[name], value)
    losses = [[line["loss"] for line in found.curve] for found in (whole, rest)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("few", [64, 0], ids=["scoring", "descent"])
def test_a_penalty_holds_parameters_near_their_start(schools, few):
    """The maximum with what it costs, by another optimiser; with λ = 0 it is further away."""
    program, evidence = schools
    weight = 20.0

    def total(x):
        return code_length(x, evidence).sum() + 0.5 * weight * (x**2).sum()

    best = minimize(total, np.zeros(2)).x
    settings = Settings(steps=150, rate=0.1, scoring=few, penalty=weight)
    found = learn(program, evidence, jax.random.key(0), settings).program
    ends = [float(found.parameters["mu"]), float(jnp.log(found.parameters["tau"]))]
    np.testing.assert_allclose(ends, best, atol=0.02)
    free = minimize(lambda x: code_length(x, evidence).sum(), np.zeros(2)).x
    # Without what it costs the mean would be at 4.
    assert free[0] > best[0] + 2


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    state = scoring.start(np.zeros(2))
    for step in (1, 2, 3):
        checkpoint.write(tmp_path, step, state._replace(point=np.full(2, float(step))), [])
    assert len(list(tmp_path.iterdir())) == 4
    newest = tmp_path / "step-000000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    step, found, curve = checkpoint.newest(tmp_path, state)
    assert (step, curve) == (2, [])
    np.testing.assert_array_equal(found.point, [2.0, 2.0])
    with pytest.raises(BadgerError, match="learned for another program"):
        checkpoint.newest(tmp_path, scoring.start(np.zeros(3)))


def test_scoring_takes_back_what_is_no_ascent():
    place = scoring.start(np.zeros(1))
    place = scoring.moved(
        place, np.zeros(4), np.array([[1.0], [2.0], [0.0], [1.0]]), NONE, 4, 0.0, 0.0
    )
    ahead = place.point
    fell = scoring.moved(place, np.full(4, -9.0), np.ones((4, 1)), NONE, 4, 0.0, 0.0)
    np.testing.assert_array_equal(fell.at, [0.0])
    assert 0 < fell.point[0] < ahead[0]
    lost = scoring.moved(place, np.full(4, np.nan), np.ones((4, 1)), NONE, 4, 0.0, 0.0)
    assert np.isfinite(lost.point).all()


def test_where_no_step_is_an_ascent_it_says_that_it_is_stuck():
    slopes = np.array([[3.0], [2.0], [2.0], [3.0]])
    place = scoring.moved(scoring.start(np.zeros(1)), np.zeros(4), slopes, NONE, 4, 0.0, 0.0)
    assert not scoring.at_rest(place)
    while not scoring.at_rest(place):
        place = scoring.moved(place, np.full(4, -9.0), slopes, NONE, 4, 0.0, 0.0)
    np.testing.assert_array_equal(place.at, [0.0])
    assert "is stuck 10 standard errors from its maximum" in scoring.doubt(
        place, np.zeros(0), False
    )


def test_descent_goes_back_from_what_is_not_finite():
    one = np.ones(1)
    place = descent.moved(descent.start(np.zeros(2)), one, np.ones((1, 2)), NONE, 10, 0.1, 0.0)
    back = descent.moved(place, one, np.array([[np.nan, 0.0]]), NONE, 10, 0.1, 0.0)
    np.testing.assert_array_equal(back.point, [0.0, 0.0])
    assert back.slower < 1
    assert (descent.told(place), descent.told(back)) == ({}, {"went_back": 1})


def test_what_is_nowhere_finite_is_told():
    def model(x, y=None):
        mu = numpyro.param("mu", 1.0)
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            with numpyro.plate("step", x.shape[1], dim=-1):
                scale = jnp.where(jnp.abs(x) > 50, jnp.nan, 1.0) * mu
                numpyro.sample("y", dist.Normal(jnp.sin(z), scale), obs=y)

    program = bb.lift(model, inputs=lambda key, t, s: {"x": jnp.zeros((t, s))})
    evidence = from_arrays(program.signature, {"x": np.full((8, 2), 99.0)}, np.ones((8, 2)), {})
    with pytest.raises(BadgerError, match=r"not finite at the parameters \(mu\)"):
        learn(program, evidence, jax.random.key(0))


def test_parameters_there_and_back(schools):
    program, _ = schools
    np.testing.assert_allclose(free(program)["tau"], 0.0, atol=1e-6)
    moved = bound(program, {"mu": jnp.array(2.0), "tau": jnp.log(jnp.array(3.0))})
    assert as_table(moved)["tau"] == pytest.approx(3.0)
    again = from_table(program, as_table(moved))
    assert float(again.parameters["tau"]) == pytest.approx(3.0)
    with pytest.raises(BadgerError, match="other parameters than were stored: tau"):
        from_table(program, {"mu": np.array(1.0)})


def rows(evidence):
    return {
        "task": evidence.task_index,
        "sigma": evidence.columns["sigma"],
        "y": evidence.outcome,
    }


def test_a_fit_learns_stores_and_predicts(schools, tmp_path):
    imports = "import numpyro\nimport numpyro.distributions as dist\n\n"
    (tmp_path / "levels.py").write_text(imports + inspect.getsource(levels))
    run = bb.fit(tmp_path / "levels.py", rows(schools[1]), out=tmp_path / "runs")
    assert run.parameters["tau"] > 1.5
    assert any("learned mu = " in note for note in run.spec["result"]["notes"])
    assert run.metrics[0]["stage"] == "learning"
    assert len(list((tmp_path / "runs").iterdir())) == 1
    stored = bb.load(run.path)
    new = {"task": ["a", "b"], "sigma": [1.0, 1.0], "y": [9.0, np.nan]}
    tree = bb.predict(stored, new, program=tmp_path / "levels.py")
    z = tree["posterior"]["z"]
    shrunk = run.parameters["tau"] ** 2 / (run.parameters["tau"] ** 2 + 1)
    expected = run.parameters["mu"] + shrunk * (9 - run.parameters["mu"])
    error = 5 * float(z.std()) / np.sqrt(1000)
    assert float(z.sel(task="a").mean()) == pytest.approx(float(expected), abs=error)


@pytest.mark.slow
def test_a_world_is_the_ceiling_of_what_is_simulated_from_it(tmp_path):
    (tmp_path / "levels.py").write_text(
        "import jax.numpy as jnp\nimport numpyro\nimport numpyro.distributions as dist\n\n"
        + inspect.getsource(levels)
        + inspect.getsource(levels).replace("levels", "world").replace("0.0)", "4.0)")
        + "inputs = lambda key, tasks, steps: {'sigma': jnp.ones((tasks, steps))}\n"
    )
    path = f"{tmp_path / 'levels.py'}:levels"
    run = bb.fit(path, tasks=TASKS, steps=1, outer_steps=2)
    assert any("nats per observation from what" in note for note in run.spec["result"]["notes"])


def test_parameters_may_stay_where_they_are(schools):
    run = bb.fit(levels, rows(schools[1]), outer_steps=0)
    assert (run.parameters["mu"], run.parameters["tau"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"outer_steps": 5, "program": "coin"}, "has no parameters to learn"),
        ({"settings": {"outer.speed": 1}}, "the outer loop has no setting 'speed'"),
        ({"settings": {"outer.rate": 1}, "program": "coin"}, "coin has no parameters to learn"),
        ({"settings": {"outer.rate": -1}}, "outer.rate = -1: input should be greater than 0"),
        ({"resume": "nowhere"}, "nowhere has no checkpoints to go on from"),
    ],
)
def test_mistakes_are_told(schools, words, message):
    program = words.pop("program", levels)
    data = rows(schools[1]) if program is levels else None
    with pytest.raises(BadgerError, match=message):
        bb.fit(program, data, **words)


def test_another_fit_is_not_gone_on_from(schools, tmp_path):
    (tmp_path / "asked.json").write_text(json.dumps({"program": "levels", "seed": 3}))
    with pytest.raises(BadgerError, match=r"is of another fit: .*seed"):
        bb.fit(levels, rows(schools[1]), resume=tmp_path)


@pytest.mark.slow
def test_killed_at_random_it_ends_bit_for_bit_the_same():
    (row,) = resume.run("2").to_dict("records")
    assert row["kills"] == 2
    assert row["same bits"]
