"""What a task's own evidence gains, against closed forms, and a learner that ignores it."""

import dataclasses

import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.datatree import draw_prior
from bayes_badger.errors import BadgerError
from bayes_badger.measures.definitions.memorisation import _reassigned, of_rows, verdict
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import doubts_of, notes_of
from bayes_badger.measures.subject import Subject

TASKS, ROWS = 40, 4


def run_of(sigma, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(TASKS, 1)) + rng.normal()
    y = z + sigma * rng.normal(size=(TASKS, ROWS))
    data = {"reading": np.zeros_like(y), "y": y}
    return bb.fit("gaussian", data, inference="exact", settings={"sigma": sigma})


@pytest.fixture(scope="module")
def telling():
    return run_of(0.3)


def predictions(sigma, tested):
    """Of the last row of a tested task, exactly.

    Its variance given all that is known, and without its task's other rows; and the mean square of
    how far off the prediction is where tested tasks have the evidence of each other.
    """
    tasks, step = np.repeat(np.arange(TASKS), ROWS), np.tile(np.arange(ROWS), TASKS)
    prior = 1.0 + (tasks[:, None] == tasks) + sigma**2 * np.eye(len(tasks))
    own = np.isin(tasks, tested)
    target = np.flatnonzero((tasks == tested[0]) & (step == ROWS - 1))[0]
    variances, weights = [], []
    for known in (~own | (step < ROWS - 1), ~own):
        weight = np.zeros(len(tasks))
        weight[known] = np.linalg.solve(prior[np.ix_(known, known)], prior[known, target])
        weights.append(weight)
        variances.append(prior[target, target] - weight @ prior[:, target])
    to = np.arange(TASKS)
    to[tested] = np.roll(tested, 1)
    # The row at (task, step) is taken for one of task to[task].
    swapped = weights[0].reshape(TASKS, ROWS)[to].ravel()
    off = prior[target, target] - 2 * swapped @ prior[:, target] + swapped @ prior @ swapped
    return (*variances, off)


def test_the_gain_is_the_information_where_the_program_is_true(telling):
    found = bb.measures.memorisation(telling, tasks=20)
    tested = np.linspace(0, TASKS - 1, 20).astype(int)
    with_, without, off = predictions(0.3, tested)
    exact = 0.5 * np.log(without / with_)
    assert abs(float(found["information"]) - exact) < 4 * float(found["information_se"])
    assert float(found["information_se"]) < 0.05
    assert abs(float(found["gain"]) - exact) < 4 * float(found["gain_se"])
    assert float(found["gain_se"]) < exact / 2
    # From above: that of the level itself and of a, sigma known.
    bound = 0.5 * np.log(without / 0.09)
    assert bound > exact
    assert abs(float(found["at_most"]) - bound) < 4 * float(found["at_most_se"])
    loss, error = float(found["loss_if_swapped"]), float(found["loss_if_swapped_se"])
    assert abs(loss - 0.5 * (off / with_ - 1)) < 4 * error
    assert loss > 3 * error
    assert doubts_of(found) == []
    assert any("uses its evidence" in note for note in notes_of(found))


class Ignores:
    """Draws from the prior, whatever it has seen."""

    def why_not(self, program, evidence):
        return None

    def infer(self, program, evidence, key, report=None):
        drawn = draw_prior(program, evidence, key)
        draws = bb.belief.Draws(drawn, {}, variables=program.variables)
        return bb.belief.Posterior(draws, independent=True)


def test_a_learner_that_ignores_its_evidence_is_caught(telling, monkeypatch):
    monkeypatch.setattr(Subject, "inner_loop", property(lambda _: Ignores()))
    found = bb.measures.memorisation(telling, tasks=20)
    assert abs(float(found["gain"])) < 0.1
    assert abs(float(found["loss_if_swapped"])) < 0.1
    assert "it ignores its evidence" in " ".join(doubts_of(found))


def test_a_sound_learner_with_nothing_to_learn_is_not():
    found = bb.measures.memorisation(run_of(60.0), tasks=20)
    assert abs(float(found["gain"])) < 0.01
    assert doubts_of(found) == []
    assert any("next to nothing to learn" in note for note in notes_of(found))


def test_verdicts_know_their_errors():
    worth = Estimate(1.0, 0.01)
    assert "ignores" in verdict(Estimate(0.02, 0.01), worth, False)[1]
    assert "seems to ignore" in verdict(Estimate(0.02, 0.01), worth, True)[1]
    assert verdict(Estimate(0.9, 0.05), worth, False)[1] == ""
    # Tasks that are not of the program's prior may gain more than it expects.
    more = verdict(Estimate(1.26, 0.02), Estimate(0.258, 0.01), False)[0]
    assert "gains 1.260 nats a row, more than the 0.258 that the program expects" in more
    assert "of 0.258" not in more
    assert verdict(Estimate(0.27, 0.02), Estimate(0.258, 0.01), False)[0].endswith(
        "0.270 of 0.258 nats a row"
    )
    # A negative gain of little certainty is no proof.
    assert "too few rows" in verdict(Estimate(0.2, 0.3), worth, False)[0]


def test_errors_come_from_the_spread_between_tasks():
    rng = np.random.default_rng(0)
    means = []
    errors = []
    for _ in range(2000):
        x = np.repeat(rng.normal(size=8), 5) + rng.normal(size=40)
        found = of_rows(x, np.repeat(np.arange(8), 5))
        means.append(found.value)
        errors.append(found.error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.05)
    assert "one task" in of_rows(x, np.zeros(40, int)).doubt


def test_rows_are_moved_whole(telling):
    evidence = bb.evidence.Evidence.from_dataset(telling.evidence)
    index = (evidence.task_index + 1) % TASKS
    moved = _reassigned(evidence, index)
    at = {row: i for i, row in enumerate(moved.rows)}
    for i in (0, 5, len(index) - 1):
        there = at[evidence.rows[i]]
        assert moved.outcome[there] == evidence.outcome[i]
        assert moved.task_index[there] == index[i]


def test_tasks_of_one_row_are_refused(eight_schools):
    with pytest.raises(BadgerError, match="no task has two rows"):
        bb.measures.memorisation(eight_schools)
    with pytest.raises(BadgerError, match="is no share"):
        bb.measures.memorisation(dataclasses.replace(eight_schools), held=1.5)
