"""A lifetime that goes on: tasks in portions, without the old data, against all at once."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from hierarchies import gaussian_evidence
from test_lifetime import SIGMAS, choices

import bayes_badger as bb
from bayes_badger import updating
from bayes_badger.cli import main
from bayes_badger.errors import BadgerError
from bayes_badger.evidence import from_arrays
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop._carried import carried_from, carried_from_draws
from bayes_badger.measures.subject import opened

TASKS, STEPS, PORTION, DRAWS = 40, 3, 10, 1000
LOOP = experts.make(experts.Settings(chains=1, draws=DRAWS))


def streamed(program, evidence, order, portion=PORTION):
    """The belief after portions of tasks in an order, and log p of each given those before."""
    belief, scores = None, []
    for i in range(0, len(order), portion):
        some, key = evidence.select(order[i : i + portion]), jax.random.key(i)
        if belief is None:
            found = LOOP.infer(program, some, key)
        else:
            found = LOOP.go_on(program, some, key, belief)
        belief = found.lifetime
        scores.append((found.log_evidence, found.log_evidence_error))
    return belief, np.array(scores)


@pytest.fixture(scope="module")
def gaussian():
    return gaussian_evidence(TASKS, STEPS)


def test_portions_come_to_what_all_tasks_at_once_say(gaussian):
    """Mean and spread in closed form; scores by the chain rule; and in another order."""
    program, evidence = gaussian
    y = evidence.outcome.reshape(TASKS, STEPS)
    variance = 1 / (1 + TASKS / (1 + 1 / STEPS))
    mean = variance * y.mean(1).sum() / (1 + 1 / STEPS)
    belief, scores = streamed(program, evidence, np.arange(TASKS))
    assert abs(float(belief.mean()[0]) - mean) < 0.05 * np.sqrt(variance)
    assert abs(float(belief.covariance()[0, 0]) / variance - 1) < 0.1
    whole = LOOP.infer(program, evidence, jax.random.key(9)).log_evidence
    assert abs(scores[:, 0].sum() - whole) < SIGMAS * np.hypot(*scores[-2:, 1]) + 0.02
    shuffled = np.random.default_rng(1).permutation(TASKS)
    other, _ = streamed(program, evidence, shuffled)
    assert abs(float(other.mean()[0] - belief.mean()[0])) < 0.05 * np.sqrt(variance)


def test_a_belief_that_forgot_would_be_found(gaussian):
    """The planted fault: the last portion from the prior is many standard deviations off."""
    program, evidence = gaussian
    belief, _ = streamed(program, evidence, np.arange(TASKS))
    forgetful = LOOP.infer(
        program, evidence.select(np.arange(TASKS - PORTION, TASKS)), jax.random.key(0)
    ).lifetime
    assert float(forgetful.covariance()[0, 0]) > 2 * float(belief.covariance()[0, 0])


@pytest.mark.slow
def test_what_is_discrete_is_carried_too():
    rng, program = np.random.default_rng(3), bb.lift(choices)
    x = rng.normal(size=(6, 4))
    hit = (rng.normal(size=(6, 1)) + x + rng.logistic(size=x.shape) > 0).astype(int)
    evidence = from_arrays(program.signature, {"x": x}, hit, {})
    whole = LOOP.infer(program, evidence, jax.random.key(0))
    belief, scores = streamed(program, evidence, np.arange(6), 3)
    share = whole.draws.values["way"].mean()
    assert 0.02 < share < 0.98
    weights = np.exp([x.log_weight for x in carried_from(belief)])
    ways = [int(x.discrete["way"]) for x in carried_from(belief)]
    error = np.sqrt(share * (1 - share) / DRAWS)
    assert abs(weights[ways.index(1)] - share) < SIGMAS * error + 0.02
    errors = np.hypot(np.linalg.norm(scores[:, 1]), whole.log_evidence_error)
    assert abs(scores[:, 0].sum() - whole.log_evidence) < SIGMAS * errors + 0.02


def test_experts_fitted_to_draws_keep_their_mean_and_covariance(gaussian):
    program, _ = gaussian
    rng = np.random.default_rng(0)
    points = np.exp(0.5 * rng.normal(size=(3000, 1)))
    found = carried_from_draws(points, {}, 8, program.select("lifetime"))
    assert float(found.mean()[0]) == pytest.approx(points.mean(), rel=1e-3)
    assert float(found.covariance()[0, 0]) == pytest.approx(points.var(), rel=1e-2)
    at = jnp.array([0.5, 1.0, 2.0])
    density = np.exp([float(found.log_prob(x[None])) for x in at])
    exact = np.exp(-0.5 * (np.log(at) / 0.5) ** 2) / (0.5 * at * np.sqrt(2 * np.pi))
    assert density == pytest.approx(np.asarray(exact), rel=0.25)


@pytest.fixture(scope="module")
def schools(eight_schools):
    rng = np.random.default_rng(0)
    names = [f"new {i}" for i in range(4)]
    return eight_schools, pd.DataFrame(
        {"school": names, "y": rng.normal(8, 15, 4), "sigma": [10.0, 12.0, 9.0, 15.0]}
    )


def test_a_run_goes_on_and_says_how_far_it_moved(schools, tmp_path, monkeypatch):
    """Also from a run that no experts made, by Gaussians fitted to its draws."""
    run, table = schools
    asked, judged = [], updating.judged

    def noted(program, evidence, posterior, key, how, report):
        assert evidence.n_tasks == len(posterior.draws.values["theta"][0, 0])
        asked.append(how)
        return judged(program, evidence, posterior, key, how, report)

    monkeypatch.setattr(updating, "judged", noted)
    more = bb.update(run, table, out=tmp_path)
    assert list(more.posterior["school"].values) == list(table.school)
    assert more.spec["before"]["tasks"] == 8
    assert 0 < more.spec["before"]["moved"] < 2
    # What is stored is what was done: experts inferred, and the new tasks were judged.
    assert run.spec["recipe"]["inner_loop"]["name"] == "auto"
    assert more.spec["recipe"]["inner_loop"]["name"] == "experts"
    assert more.spec["trust"] == "weigh"
    loaded = bb.load(more.path)
    loaded.spec["trust"], loaded.spec["result"]["warnings"] = "refine", ["draws are few"]
    again = bb.update(loaded, pd.DataFrame({"school": ["last"], "y": [5.0], "sigma": [10.0]}))
    assert again.spec["before"]["tasks"] == 12
    assert again.spec["trust"] == "weigh"
    assert asked == ["weigh", "weigh"]
    assert any("weighed and not refined" in note for note in again.spec["result"]["notes"])
    assert "is not to be trusted: draws are few" in again.warnings[0]
    # Inferred from its own tasks alone it would forget what the others taught.
    fresh = pd.DataFrame({"school": ["new"], "y": [1.0], "sigma": [9.0]})
    with pytest.raises(BadgerError, match=r"does not hold the data of its 8 tasks.*badger update"):
        bb.predict(more, fresh)
    with pytest.raises(BadgerError, match="nothing can be inferred anew"):
        opened(more).inner_loop  # noqa: B018
    assert bb.predict(more, fresh.drop(columns="y"))["posterior"].sizes["school"] == 1
    both = pd.concat(
        [run_table(run), table, pd.DataFrame({"school": ["last"], "y": [5.0], "sigma": [10.0]})]
    )
    whole = bb.fit("eight_schools", both, task="school", inference="grid")
    for name in ("mu", "tau"):
        sd = float(whole.posterior[name].std())
        assert abs(float(again.posterior[name].mean() - whole.posterior[name].mean())) < 0.12 * sd
    # The measure of how far evidence moved a belief says the same of what is shared.
    shift = bb.measures.posterior_shift(more)
    error = float(shift["algorithm_se"]) + 0.01
    assert abs(float(shift["algorithm"]) - more.spec["before"]["moved"]) < SIGMAS * error


def run_table(run):
    evidence = run.evidence
    return pd.DataFrame(
        {
            "school": list(run.posterior["school"].values),
            "y": np.asarray(evidence["y"]).ravel(),
            "sigma": np.asarray(evidence["sigma"]).ravel(),
        }
    )


def test_what_is_refused(schools):
    run, table = schools
    with pytest.raises(BadgerError, match="A is in the run already"):
        bb.update(run, table.assign(school=["A", "b", "c", "d"]))

    def alone(x, y=None):
        with numpyro.plate("task", x.shape[0], dim=-2):
            z = numpyro.sample("z", dist.Normal(0, 1))
            with numpyro.plate("step", x.shape[1], dim=-1):
                numpyro.sample("y", dist.Normal(z, 1), obs=y)

    zeros = np.zeros((3, 4))
    apart = bb.fit(alone, {"x": zeros, "y": zeros}, settings={"inference.exact.draws": 10})
    with pytest.raises(BadgerError, match="tasks of alone share nothing"):
        bb.update(apart, {"x": zeros, "y": zeros})


def test_the_command_line(schools, tmp_path, capsys):
    run, table = schools
    path = run.save(tmp_path)
    run.path = None
    table.to_csv(tmp_path / "new.csv", index=False)
    asked = ["update", path.name, "--data", str(tmp_path / "new.csv"), "--out", str(tmp_path)]
    assert main(asked) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "moved the belief in what is shared by" in told
    assert len([x for x in bb.list_runs(tmp_path) if x.state == "complete"]) == 2
