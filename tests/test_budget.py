"""How long an inner loop may take: what goes on is left, and what there is is kept."""

import time

import jax
import pytest
from hierarchies import gaussian_evidence

import bayes_badger as bb
from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import exact
from bayes_badger.inner_loop._budget import Limited, OutOfTimeError
from bayes_badger.inner_loop.auto import Auto
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.preflight.budget import seconds_of
from bayes_badger.trust import inferred


@pytest.fixture(scope="module")
def given():
    """A program, evidence, a key, and the posterior."""
    program, evidence = gaussian_evidence(2, 3)
    key = jax.random.key(0)
    return program, evidence, key, exact.make(exact.Settings()).infer(program, evidence, key)


class Clock:
    """Seconds that pass when a step is done."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Steps:
    """An inner loop whose steps take a known time each."""

    def __init__(self, seconds, total, stage="what 5 tasks share", posterior=None):
        self.clock, self.done = Clock(), 0
        self.seconds, self.total, self.stage, self.posterior = seconds, total, stage, posterior

    def why_not(self, program, evidence):
        return None

    def infer(self, program, evidence, key, report=silent):
        report(self.stage, 0, self.total)
        self.done = 0
        for taken in self.seconds:
            self.clock.now, self.done = self.clock.now + taken, self.done + 1
            report(self.stage, self.done, self.total)
        return self.posterior


def timed(given, seconds, total, stage="what 5 tasks share", last=False):
    """What is said, how many steps were done, and when."""
    *asked, posterior = given
    steps = Steps(seconds, total, stage, posterior)
    try:
        found = Limited(steps, 100.0, last, steps.clock).infer(*asked)
        assert found is posterior
        said = "in time"
    except OutOfTimeError as late:
        said = str(late)
    return said, steps.done, steps.clock.now


def test_what_arrives_in_time_is_not_touched(given):
    assert timed(given, [9.0] * 10, 10) == ("in time", 10, 90.0)


def test_what_takes_too_long_is_stopped(given):
    said, done, now = timed(given, [30.0] * 4, 4)
    assert (done, now) == (4, 120.0)
    assert said == "had not arrived after 2 min (what 5 tasks share: 4 of 4)"


def test_what_will_take_too_long_is_stopped_soon(given):
    said, done, now = timed(given, [10.0] * 100, 100)
    assert (done, now) == (3, 30.0)
    assert said == "would take some 16.2 min more (what 5 tasks share: 3 of 100)"


def test_a_first_step_that_is_compiled_says_nothing_of_those_to_come(given):
    assert timed(given, [60.0, *[1.0] * 27], 28)[0] == "in time"


def test_a_stage_that_may_end_early_has_the_benefit_of_the_doubt(given):
    assert timed(given, [4.0] * 20, 40) == ("in time", 20, 80.0)


def test_a_sampler_that_comes_last_may_take_longer_until_there_are_enough_draws(given):
    assert timed(given, [1.0] * 250, 1000, "sampling", last=True)[1:] == (200, 200.0)
    assert timed(given, [1.0] * 250, 1000, "sampling", last=False)[1:] == (21, 21.0)
    assert timed(given, [20.0] * 16, 16, "warm-up", last=True)[1:] == (15, 300.0)


def test_a_stage_that_begins_anew_is_timed_anew(given):
    class Twice(Steps):
        def infer(self, *asked):
            for seconds in (5.0, 0.5):
                self.seconds = [seconds] * 8
                super().infer(*asked)
            return self.posterior

    heard, steps = [], Twice([], 8, posterior=given[-1])
    Limited(steps, 100.0, False, steps.clock).infer(*given[:3], lambda *said: heard.append(said))
    assert len(heard) == 18


# --- by recipe auto


class Slow(Steps):
    """Has far to go."""

    def __init__(self):
        super().__init__([], 9)

    def infer(self, program, evidence, key, report=silent):
        report("thinking", 0, 9)
        time.sleep(0.05)
        report("thinking", 1, 9)
        raise AssertionError("it went on")


def auto_of(*loops):
    names = ("first", "second", "third")
    return Auto(tuple((n, x, "known") for n, x in zip(names, loops, strict=False)), budget=0.01)


def test_auto_goes_on_to_the_next_and_says_so(given):
    *asked, posterior = given
    auto = auto_of(Slow(), Steps([], 1, posterior=posterior))
    found, _ = inferred(auto, *asked, "off", silent)
    assert found.notes[0].startswith("auto picked second: known")
    assert found.notes[1] == "first had not arrived after 0 s (thinking: 1 of 9): left for second"
    # What follows a mode that was missed is what follows the one that arrived.
    assert auto.arrived(*asked)[1].pick(*asked[:2])[0] == "second"


def test_where_none_arrives_it_is_said_of_each(given):
    with pytest.raises(BadgerError) as error:
        auto_of(Slow(), Slow()).infer(*given[:3])
    assert str(error.value).startswith("first had not arrived after 0 s (thinking: 1 of 9); second")
    assert "give more time, as in --budget" in str(error.value)


def test_a_sampler_keeps_what_it_has():
    settings = {"inference.warmup": 50, "inference.draws": 100_000_000}
    run = bb.fit("coin", tasks=2, steps=3, inference="nuts", settings=settings, budget=4.0)
    kept = run.posterior.sizes["draw"]
    assert 200 <= kept < 100_000_000
    assert f"interrupted after {kept} of 100000000 draws per chain" in run.warnings


def test_a_recipe_that_keeps_nothing_says_what_to_do():
    with pytest.raises(BadgerError, match=r"experts had not arrived after .*: give it a longer"):
        bb.fit("eight_schools", inference="experts", budget=1e-3)


@pytest.mark.parametrize("budget", ["soon", 0, -3, "nan", "2 weeks", "inf", ""])
def test_a_budget_that_is_no_time(budget):
    with pytest.raises(BadgerError, match="give seconds, or a time such as 90s, 2m or 1h"):
        bb.fit("coin", budget=budget)


def test_budgets_in_words():
    given = {"90s": 90, "2m": 120, " 1.5 h": 5400, "30": 30, 12.5: 12.5, "3min": 180, 7: 7}
    assert {seconds_of(words): x for words, x in given.items()} == {x: x for x in given.values()}


def test_the_budget_is_a_setting_of_auto():
    run = bb.fit("coin", budget="2m")
    assert run.spec["recipe"]["inner_loop"]["budget"] == 120.0
