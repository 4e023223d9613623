"""What should not matter, does not; and a learner to which it matters is found, with the change."""

import dataclasses

import numpy as np
import pytest

import bayes_badger as bb
from bayes_badger.belief import Draws
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.exact import Exact
from bayes_badger.measures.definitions.invariance import WORDS, beyond


@pytest.fixture(scope="module")
def linear():
    return bb.fit("linear", inference="exact", tasks=24, steps=6)


@pytest.fixture(scope="module")
def gaussian():
    return bb.fit("gaussian", inference="exact", tasks=12, steps=6)


def changed(found):
    """The changes that are doubted."""
    doubts = found.attrs["doubts"]
    return {name for name, words in WORDS.items() if words in doubts}


def with_fault(monkeypatch, before=None, after=None):
    """Exact inference, of evidence that is altered first, or with draws that are altered then."""
    infer = Exact.infer

    def faulty(self, program, evidence, key, report=None):
        given = evidence if before is None else before(evidence)
        posterior = infer(self, program, given, key)
        if after is None:
            return posterior
        values = {n: np.asarray(x) for n, x in posterior.draws.values.items()}
        moved = {n: x.astype(values[n].dtype) for n, x in after(values, evidence).items()}
        return dataclasses.replace(posterior, draws=Draws({**values, **moved}, {}))

    monkeypatch.setattr(Exact, "infer", faulty)


def test_exact_inference_does_not_care(linear, gaussian):
    found = bb.measures.invariance(linear)
    assert list(found["change"].values) == ["experts", "rows", "tasks", "inputs", "more_inputs"]
    assert changed(found) == set()
    assert changed(bb.measures.invariance(gaussian)) == set()
    assert (found["deviation"] < 2 * found["deviation"][0]).all()


def test_a_learner_that_forgets_early_rows_is_found(gaussian, monkeypatch):
    def late(evidence):
        first = np.cumsum(evidence.lengths) - evidence.lengths
        place = np.arange(evidence.n_rows) - first[evidence.task_index]
        return evidence.select_rows(place >= 3)

    with_fault(monkeypatch, before=late)
    assert changed(bb.measures.invariance(gaussian)) == {"rows"}


def test_a_learner_that_favours_the_first_task_is_found(gaussian, monkeypatch):
    def first(values, evidence):
        z = values["z"].copy()
        z[:, :, 0] += 2.0
        return {"z": z}

    with_fault(monkeypatch, after=first)
    assert changed(bb.measures.invariance(gaussian)) == {"tasks"}


def test_a_learner_that_favours_the_first_input_is_found(linear, monkeypatch):
    def first(values, evidence):
        return {"w": values["w"] * (1 + 0.5 * (np.arange(values["w"].shape[-1]) == 0))}

    with_fault(monkeypatch, after=first)
    assert changed(bb.measures.invariance(linear)) == {"inputs"}


def test_a_learner_that_shrinks_where_inputs_are_many_is_found(linear, monkeypatch):
    usual = linear.program.example.columns["X"].shape[-1]

    def shrunk(values, evidence):
        return {"w": values["w"] * usual / evidence.columns["X"].shape[1]}

    with_fault(monkeypatch, after=shrunk)
    assert changed(bb.measures.invariance(linear)) == {"more_inputs"}


def test_names_of_classes_do_not_matter_unless_the_program_says_so():
    coin = bb.fit("coin", tasks=10, steps=5)
    found = bb.measures.invariance(coin)
    assert list(found["change"].values) == ["experts", "rows", "tasks", "outputs"]
    assert changed(found) == set()


def test_deviation_beyond_chance_is_a_mean_over_tasks():
    assert beyond(np.array([0.3, 0.1]), np.array([0.1, 0.1])).value == pytest.approx(0.1)


def test_one_task_has_no_order():
    one = bb.fit("gaussian", inference="exact", tasks=1, steps=2)
    with pytest.raises(BadgerError, match="has one task"):
        bb.measures.invariance(one)
