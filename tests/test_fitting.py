"""From a program and data to a run: users' own programs, bad outcomes, storing, predicting."""

import contextlib
import json
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from programs import below, classes, counts, regression, rescorla_wagner

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.outcomes import check_outcome
from bayes_badger.program import Data, lift
from bayes_badger.shelves import find

FEW = {
    "inference.draws": 100,
    "inference.warmup": 150,
    "inference.chains": 2,
    "inference.max_tree_depth": 7,
}


# Compiled once for all tests that need a run of chains, whatever it is about.
COIN = {"tasks": 6, "steps": 9, "inference": "nuts", "settings": {**FEW, "a": 2.0, "b": 2.0}}


def quick(program, data, **more):
    settings = {**FEW, **more.pop("settings", {})}
    return bb.fit(program, data, inference="nuts", settings=settings, **more)


def near(estimate, truth, sd, factor=5):
    """Within five posterior standard deviations, everywhere: a wrong sign or axis is far off."""
    return (np.abs(np.asarray(estimate) - np.asarray(truth)) < factor * np.asarray(sd)).all()


def ragged(chance, tasks, low, high):
    lengths = chance.integers(low, high, tasks)
    return np.repeat(np.arange(tasks), lengths)


def test_counts_from_a_csv_of_60_ragged_tasks(tmp_path):
    """A user's own file: a program and a table, rows in no order."""
    chance = np.random.default_rng(0)
    task = ragged(chance, 60, 1, 12)
    level, slope = chance.normal(size=60), 0.5 * chance.normal(size=60)
    exposure = chance.normal(size=len(task))
    events = chance.poisson(np.exp(level[task] + slope[task] * exposure))
    table = pd.DataFrame({"patient": task, "exposure": exposure, "events": events})
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "visits.csv", index=False)
    source = """
        import jax.numpy as jnp
        import numpyro
        import numpyro.distributions as dist

        def model(exposure, events=None):
            spread = numpyro.sample("spread", dist.HalfNormal(1.0))
            with numpyro.plate("task", exposure.shape[0], dim=-2):
                level = numpyro.sample("level", dist.Normal(0.0, 1.0))
                slope = numpyro.sample("slope", dist.Normal(0.0, spread))
                rate = jnp.exp(level + slope * exposure)
                with numpyro.plate("step", exposure.shape[1], dim=-1):
                    numpyro.sample("events", dist.Poisson(rate), obs=events)
    """
    (tmp_path / "visits.py").write_text(textwrap.dedent(source))
    run = quick(tmp_path / "visits.py", tmp_path / "visits.csv", task="patient")
    posterior = run.posterior
    assert posterior.sizes["patient"] == 60
    assert near(posterior["spread"].mean(), 0.5, posterior["spread"].std())
    order = posterior["patient"].values
    found = posterior["level"].mean(("chain", "draw")).values
    z = (found - level[order]) / posterior["level"].std(("chain", "draw")).values
    assert abs(z.mean()) < 5 / np.sqrt(60)
    assert abs(z.std() - 1) < 0.3
    assert run.observed_data.sizes["obs_id"] == len(task)


def test_three_classes():
    chance = np.random.default_rng(1)
    weights = chance.normal(size=(4, 3))
    task = np.repeat(np.arange(4), 60)
    x = chance.normal(size=240)
    logits = weights[task] * x[:, None]
    kind = (logits + chance.gumbel(size=(240, 3))).argmax(1)
    run = quick(classes, pd.DataFrame({"task": task, "x": x, "kind": kind}))
    # Only differences of weights matter to the likelihood.
    draws = run.posterior["weights"]
    difference = draws[..., 1:] - draws[..., :1].values
    truth = weights[:, 1:] - weights[:, :1]
    assert near(difference.mean(("chain", "draw")), truth, difference.std(("chain", "draw")))
    assert run.posterior_predictive["kind"].dtype.kind == "i"


def test_several_predictors_from_columns_of_a_table():
    chance = np.random.default_rng(2)
    w = chance.normal(size=(3, 2))
    task = np.repeat(["a", "b", "c"], 40)
    X = chance.normal(size=(120, 2))
    y = (X * w[np.repeat(np.arange(3), 40)]).sum(1) + 0.3 * chance.normal(size=120)
    table = pd.DataFrame({"site": task, "age": X[:, 0], "dose": X[:, 1], "y": y})
    run = bb.fit(regression, table, task="site", columns={"X": ["age", "dose"]})
    posterior = run.posterior["w"]
    assert posterior.dims == ("chain", "draw", "site", "w_dim_0")
    assert near(posterior.mean(("chain", "draw")), w, posterior.std(("chain", "draw")))
    assert near(run.posterior["sigma"].mean(), 0.3, run.posterior["sigma"].std())


def test_classes_to_be_predicted_are_counted():
    chance = np.random.default_rng(3)
    table = pd.DataFrame(
        {"task": 1, "x": chance.normal(size=30), "kind": chance.integers(0, 3, 30)}
    )
    run = quick(classes, table)
    tree = bb.predict(run, pd.DataFrame({"task": [1], "x": [0.5]}))
    assert tree["posterior_predictive"]["kind"].attrs["classes"] == 3


def test_an_inner_loop_of_ones_own(tmp_path):
    """A recipe that names a Python file: here one that believes the prior, whatever it sees."""
    source = """
        import numpy as np
        from pydantic import BaseModel

        from bayes_badger.belief import Draws, Posterior
        from bayes_badger.datatree import draw_prior


        class Settings(BaseModel):
            stubborn: bool = True


        class Prior:
            def why_not(self, program, evidence):
                return None

            def infer(self, program, evidence, key, report):
                return Posterior(Draws(draw_prior(program, evidence, key), {}))


        def make(settings):
            return Prior()
    """
    (tmp_path / "prior.py").write_text(textwrap.dedent(source))
    (tmp_path / "prior.toml").write_text('[inner_loop]\nfile = "prior.py"\nstubborn = true\n')
    run = bb.fit("eight_schools", inference=tmp_path / "prior.toml", settings={})
    assert run.spec["recipe"]["inner_loop"]["stubborn"] is True
    mu = run.posterior["mu"]
    assert abs(float(mu.mean())) < 5 * 5 / np.sqrt(mu.size)
    with pytest.raises(BadgerError, match="stubbor"):
        bb.fit("coin", inference=tmp_path / "prior.toml", settings={"inference.stubbor": False})


@pytest.fixture(scope="module")
def learners():
    """Choices of three learners, and a run on them."""

    def payoffs(key, tasks, steps):
        odds = jnp.array([0.2, 0.8])
        return {"payoff": jax.random.bernoulli(key, odds, (tasks, steps, 2)).astype(float)}

    program = lift(rescorla_wagner, inputs=payoffs)
    payoff = payoffs(jax.random.key(1), 3, 60)["payoff"]
    values = {"rate": jnp.array([0.15, 0.5, 0.8]), "heat": jnp.array([2.0, 4.0, 4.0])}
    drawn = program.simulate(jax.random.key(2), Data({"payoff": payoff}, {}), values)
    table = pd.DataFrame(
        {
            "subject": np.repeat(["ann", "bob", "cat"], 60),
            "left": np.asarray(payoff)[..., 0].ravel(),
            "right": np.asarray(payoff)[..., 1].ravel(),
            "choice": np.asarray(drawn.outcome).ravel(),
        }
    )
    columns = {"payoff": ["left", "right"]}
    settings = {"inference.warmup": 200}
    run = quick(rescorla_wagner, table, task="subject", columns=columns, settings=settings)
    return run, table, values


def test_a_learner_with_state(learners):
    run, _, values = learners
    for name in ("rate", "heat"):
        x = run.posterior[name]
        assert near(x.mean(("chain", "draw")), values[name], x.std(("chain", "draw")), 4)
    roles = {x["name"]: x["role"] for x in run.spec["program"]["latents"]}
    assert roles == {"rate": "algorithm", "heat": "task"}


def test_a_learner_goes_on_from_its_state(learners):
    """A learner that has seen the right arm pay chooses it; a new one does not know yet."""
    run, _, _ = learners
    queries = pd.DataFrame(
        {"subject": ["bob", "bob", "new"], "left": 0.0, "right": 1.0, "choice": np.nan}
    )
    tree = bb.predict(run, queries)
    chosen = tree["posterior_predictive"]["choice"].mean(("chain", "draw"))
    assert list(chosen["subject"].values) == ["bob", "bob", "new"]
    assert chosen.values[0] > 0.7
    assert abs(chosen.values[2] - 0.5) < 5 * 0.5 / np.sqrt(200)


@pytest.mark.parametrize(
    ("program", "row", "message"),
    [
        (
            counts,
            {"exposure": 0.1, "events": -1},
            "events = -1 is outside the support of Poisson (non-negative integers): mend the table",
        ),
        (counts, {"exposure": 0.1, "events": 1.5}, "events = 1.5 is outside the support"),
        (classes, {"x": 0.1, "kind": 3}, "kind = 3 is outside the support of Categorical"),
    ],
)
def test_outcomes_that_cannot_be(program, row, message):
    good = dict.fromkeys(row, 1)
    table = pd.DataFrame([{"task": "a", **good}, {"task": "b", **good}, {"task": "b", **row}])
    with pytest.raises(BadgerError) as error:
        bb.fit(program, table)
    assert message in str(error.value)
    assert "row 3, task 'b'" in str(error.value)


def test_a_support_that_depends_on_latents():
    """y ~ Uniform(0, top): no draw of the prior need reach the largest outcome at once."""
    table = pd.DataFrame({"task": [1, 1, 2], "x": 0.0, "y": [2.5, 0.3, 0.1]})
    run = quick(below, table)
    assert float(run.posterior["top"].sel(task=1).min()) > 2.5
    with pytest.raises(BadgerError, match=r"row 2, task '1': y = -0.3 is outside the support"):
        bb.fit(below, table.assign(y=[2.5, -0.3, 0.1]))


def test_an_outcome_that_needs_latents_in_the_tail_of_the_prior_can_be():
    """Of 9,000 draws of the prior one has a top above 40; none has one below zero."""
    program = lift(below, inputs=lambda key, tasks, steps: {"x": jnp.zeros((tasks, steps))})
    for y, refused in ((40.0, False), (-0.3, True)):
        evidence = from_arrays(program.signature, {"x": np.zeros((1, 2))}, np.array([[0.1, y]]))
        for seed in range(5):
            with pytest.raises(BadgerError) if refused else contextlib.nullcontext():
                check_outcome(program, evidence, jax.random.key(seed))


def test_classes_counted_from_one_are_refused():
    table = pd.DataFrame({"task": 1, "x": [0.1, 0.2, 0.3], "kind": [1, 2, 3]})
    with pytest.raises(BadgerError, match="kind = 3 is outside"):
        bb.fit(classes, table)


def test_a_program_without_data_says_what_it_needs():
    with pytest.raises(BadgerError, match=r"counts brings no data.*exposure, events"):
        bb.fit(counts)


def test_a_run_is_stored_and_read_back(tmp_path):
    run = bb.fit("coin", **COIN, out=tmp_path, seed=3)
    again = bb.load(run.path)
    assert again.spec["seed"] == 3
    assert again.spec["recipe"]["inner_loop"]["draws"] == 100
    for name, group in run.tree.children.items():
        assert group.to_dataset().equals(again.tree[name].to_dataset()), name
    assert again.program is None
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["stage"] == "looking for doubts"


def test_the_same_seed_gives_the_same_draws():
    a, b = (bb.fit("coin", **COIN, seed=5) for _ in range(2))
    assert a.posterior.equals(b.posterior)
    c = bb.fit("coin", **COIN, seed=6)
    assert not np.array_equal(a.observed_data["heads"], c.observed_data["heads"])


def test_new_tasks_with_and_without_rows(tmp_path, radon):
    """A county with task columns alone; one with houses; houses of a county already seen."""
    houses = pd.DataFrame(
        {
            "county": ["new", "rows", "rows", "rows", "70"],
            "floor": [np.nan, 0, 0, 1, 0],
            "log_uranium": [0.5, -0.3, -0.3, -0.3, -0.474],
            "log_radon": [np.nan, 3.5, 3.4, np.nan, np.nan],
        }
    )
    uranium = radon.constant_data["log_uranium"].sel(county=70)
    houses.loc[4, "log_uranium"] = float(uranium)
    path = tmp_path / "houses.csv"
    houses.to_csv(path, index=False)
    alone = bb.predict(radon, houses.iloc[[0]])
    alpha = alone["posterior"]["alpha"].sel(county="new")
    draws = radon.posterior
    mean = draws["intercept"] + 0.5 * draws["uranium"]
    error = float(draws["between"].mean()) / np.sqrt(alpha.size)
    assert abs(float((alpha - mean).mean())) < 5 * error
    assert np.isclose(
        float((alpha - mean).std()), float(np.sqrt((draws["between"] ** 2).mean())), rtol=0.15
    )
    assert "posterior_predictive" not in alone.children

    both = bb.predict(radon, path)
    assert list(both["posterior"]["county"].values) == ["new", "rows", "70"]
    level = both["posterior"]["alpha"].mean(("chain", "draw"))
    # Two houses far above the line pull their county up, and no other.
    prior = float((draws["intercept"] - 0.3 * draws["uranium"]).mean())
    assert float(level.sel(county="rows")) > prior + 0.05
    known = float(draws["alpha"].sel(county=70).mean())
    assert abs(float(level.sel(county="70")) - known) < 0.05
    predicted = both["posterior_predictive"]["log_radon"]
    assert list(predicted["county"].values) == ["rows", "70"]
    assert any("inferred all tasks anew" in note for note in json.loads(both.attrs["notes"]))


def test_new_outcomes_of_a_known_task_are_refused(radon):
    table = pd.DataFrame({"county": [70], "floor": [0], "log_uranium": [-0.4], "log_radon": [1.0]})
    with pytest.raises(BadgerError, match="county '70' is in the run already"):
        bb.predict(radon, table)


def test_a_table_of_tasks_alone(radon):
    """No column of houses at all: only what is known of the counties."""
    tree = bb.predict(radon, pd.DataFrame({"county": ["a", "b"], "log_uranium": [0.1, 0.9]}))
    assert tree["posterior"].sizes["county"] == 2
    assert "posterior_predictive" not in tree.children


def test_a_known_task_keeps_its_columns(radon):
    table = pd.DataFrame({"county": [70], "floor": [0], "log_uranium": [5.0]})
    with pytest.raises(BadgerError, match=r"county '70' is in the run with log_uranium = "):
        bb.predict(radon, table)


@pytest.mark.parametrize("task", ["exposure", "level"])
def test_clashes_of_names_are_told_before_the_work(task):
    """A column of the program, and one of its latents."""
    table = pd.DataFrame({"exposure": [1, 2], "events": [1, 0], "level": [1, 2]})
    with pytest.raises(BadgerError, match=f"is called '{task}', as is something else"):
        bb.fit(counts, table, task=task)


def test_a_stored_run_executes_nothing(tmp_path):
    """A run fitted with a user's file does not run that file unasked."""
    path = tmp_path / "mine.py"
    path.write_text((find("models", "coin")).read_text())
    run = bb.fit(path, **COIN, out=tmp_path)
    stored = bb.load(run.path)
    new = pd.DataFrame({"task": ["x"], "toss": [0.0], "heads": [np.nan]})
    with pytest.raises(BadgerError, match=r"is not run unasked: give the program, --model"):
        bb.predict(stored, new)
    tree = bb.predict(stored, new, program=path)
    assert tree["posterior_predictive"].sizes["obs_id"] == 1
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(BadgerError, match=r"mine.py has changed since this run was fitted"):
        bb.predict(stored, new, program=path)


def test_comparing_runs(eight_schools, radon):
    def wide(sigma, y=None):
        with numpyro.plate("task", sigma.shape[0], dim=-2):
            theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
            with numpyro.plate("step", sigma.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(theta, sigma), obs=y)

    from bayes_badger.shelves import load_program

    table = load_program("eight_schools").optional("evidence")()
    other = bb.fit(wide, table)
    ranked = bb.compare([eight_schools, other])
    assert list(ranked.index) == ["eight_schools", "wide"]

    def known_scale(row, y=None):
        with numpyro.plate("task", row.shape[0], dim=-2):
            theta = numpyro.sample("theta", dist.Normal(0.0, 10.0))
            with numpyro.plate("step", row.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(theta, 12.0), obs=y)

    # Other columns of the same rows: that is what comparing is for.
    third = bb.fit(known_scale, table.assign(row=1.0))
    assert len(bb.compare([eight_schools, third])) == 2
    with pytest.raises(BadgerError, match="were fitted to different outcomes"):
        bb.compare([eight_schools, radon])
    with pytest.raises(BadgerError, match="give two or more"):
        bb.compare([eight_schools])
