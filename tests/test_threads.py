"""Two threads at a time: each gets what one thread gets, and nothing is compiled twice.

Python is made to switch between threads a thousand times as often as usual, so that two traces that
can meet do meet.
"""

import sys
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import bayes_badger as bb
from bayes_badger.inner_loop import _chunks
from bayes_badger.inner_loop.protocol import silent
from bayes_badger.program import Data
from bayes_badger.report.figure import picture
from bayes_badger.whole_process import quiet, recorded


@pytest.fixture(autouse=True, scope="module")
def often_switched():
    """Python switches between threads after 10 microseconds, and not after 5 milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*functions):
    """What the functions return, each called by a thread of its own, all begun together."""
    start = threading.Barrier(len(functions))

    def begun(function):
        start.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result() for future in [pool.submit(begun, f) for f in functions]]


def slopes(x, y=None, *, age):
    """Two latents of the lifetime, two of each task, and a deterministic."""
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(mean + age, 1.0))
        slope = numpyro.sample("slope", dist.Normal(0.0, spread))
        numpyro.deterministic("at_one", level + slope)
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + slope * x, 1.0), obs=y)


def curves(x, y=None, *, age):
    """Names, shapes and priors unlike those of `slopes`, but some names are the same."""
    level = numpyro.sample("level", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    with numpyro.plate("task", x.shape[0], dim=-2):
        spread = numpyro.sample("spread", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            mean = level[0] + level[1] * x + level[2] * age
            numpyro.sample("y", dist.Normal(mean, spread), obs=y)


@pytest.fixture(scope="module")
def programs():
    """Both, lifted at the same time."""
    return at_once(lambda: bb.lift(slopes), lambda: bb.lift(curves))


def test_two_threads_lift_two_programs(programs):
    names = [[latent.name for latent in program.latents] for program in programs]
    assert names == [["spread", "mean", "level", "slope"], ["level", "spread"]]
    assert [program.lifetime_size for program in programs] == [2, 3]
    assert [x.name for x in programs[0].derived] == ["at_one"]


def rows(tasks=2, steps=3):
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(2, tasks, steps)).astype(np.float32)
    return Data({"x": jnp.asarray(x)}, {"age": jnp.ones((tasks, 1))}, jnp.asarray(y))


def point(program, tasks=2):
    return 0.3 * jnp.ones(program.lifetime_size), 0.2 * jnp.ones((tasks, program.task_size))


def values(program):
    return program.constrain(*point(program), rows().task_columns)


ENTRIES = {
    "terms": lambda p: p.terms(*point(p), rows()),
    "terms_at": lambda p: p.terms_at({}, *point(p), rows()),
    "constrain": values,
    "unconstrain": lambda p: p.unconstrain(values(p), rows().task_columns, 2),
    "log_prior_by_site": lambda p: p.log_prior_by_site(values(p), rows().task_columns, 2),
    "log_likelihood_of": lambda p: p.log_likelihood_of(values(p), rows()),
    "supports": lambda p: p.supports(values(p), rows()),
    "simulate": lambda p: p.simulate(jax.random.key(0), rows()),
    "log_prior": lambda p: p.log_prior(jnp.ones(p.size), {"age": jnp.ones(())}),
    "rows_and_factors": lambda p: p.rows_and_factors(jnp.ones(p.size), rows(1)),
    "outcome_parameters": lambda p: p.outcome_parameters(jnp.ones(p.size), rows(1)),
    "factors and constraints": lambda p: (p.factors, p.constraints) and jnp.zeros(()),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_two_threads_trace_what_one_thread_traces(entry, programs):
    """Two programs, each traced anew again and again; their expressions are those of one thread."""

    def traced(program):
        # What is compiled is kept, and not traced again: here nothing is.
        with jax.disable_jit():
            return str(jax.make_jaxpr(lambda: ENTRIES[entry](program))())

    alone = [traced(program) for program in programs]
    both = at_once(*(lambda p=p: [traced(p) for _ in range(6)] for p in programs))
    assert [set(found) for found in both] == [{x} for x in alone]


def test_of_300_evaluations_by_two_threads_300_are_the_same(programs):
    program, task = programs[1], rows(1, 1)
    u = 0.3 * jnp.ones(program.size)

    def value(_):
        return np.asarray(program.rows_and_factors(u, task)[0])

    right = value(0)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(value, range(300)))
    assert sum(np.array_equal(x, right) for x in found) == 300


def levels(x, y=None):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(mean, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Normal(level + x, 1.0), obs=y)


def coins(x, y=None):
    with numpyro.plate("task", x.shape[0], dim=-2):
        level = numpyro.sample("level", dist.Normal(0.0, 1.0))
        with numpyro.plate("step", x.shape[1], dim=-1):
            numpyro.sample("y", dist.Bernoulli(logits=level + x), obs=y)


def table(tasks, heads):
    x = np.linspace(-1, 1, 4 * tasks)
    y = np.sin(9 * x)
    answers = (y > 0).astype(int) if heads else y.round(2)
    return pd.DataFrame({"task": np.repeat(np.arange(tasks), 4), "x": x, "y": answers})


def same(run, other):
    assert run.spec["result"]["log_evidence"] == other.spec["result"]["log_evidence"]
    for name, group in run.tree.children.items():
        pd.testing.assert_index_equal(
            pd.Index(sorted(map(str, group))), pd.Index(sorted(map(str, other.tree[name])))
        )
        for variable in group.data_vars:
            np.testing.assert_array_equal(group[variable], other.tree[name][variable])


def test_fits_in_two_threads_are_those_of_one():
    """Bit by bit; those in two threads come first, so that nothing was compiled before them."""
    calls = [
        lambda: bb.fit(levels, table(3, False), inference="exact"),
        lambda: bb.fit(coins, table(3, True), inference="grid"),
    ]
    for run, other in zip(at_once(*calls), [call() for call in calls], strict=True):
        same(run, other)


@pytest.mark.slow
def test_experts_in_two_threads_are_those_of_one():
    calls = [
        lambda: bb.fit(coins, table(40, True), inference="experts"),
        lambda: bb.fit(slopes, table(4, False).assign(age=1.0), inference="experts"),
    ]
    for run, other in zip(at_once(*calls), [call() for call in calls], strict=True):
        same(run, other)


# --- many tasks, on several threads of one call


@contextmanager
def compilations():
    """Counts what JAX lowers, by the names of the functions, whether or not the disk has it."""
    count = Counter()

    def heard(event, seconds, **about):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            count[about["fun_name"]] += 1

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        yield count
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


@pytest.fixture(scope="module")
def coin_program():
    return bb.lift(coins)


def many_tasks(program):
    """200 tasks, of 4 rows or of 40: chunks of two shapes."""
    chance = np.random.default_rng(1)
    lengths = chance.permutation([4] * 120 + [40] * 80)
    frame = pd.DataFrame({"task": np.repeat(np.arange(200), lengths)})
    frame["x"] = chance.normal(size=len(frame))
    frame["y"] = (chance.random(len(frame)) < 0.5).astype(int)
    return bb.read(program.signature, frame)


def test_chunks_are_compiled_once_and_before_other_threads_begin(coin_program, monkeypatch):
    evidence, found = many_tasks(coin_program), {}
    for cores in (1, 4):
        monkeypatch.setattr(_chunks.os, "cpu_count", lambda cores=cores: cores)
        traced, told = [], []

        @eqx.filter_jit
        def likelihood(program, data, mask, traced=traced):
            traced.append(threading.get_ident())

            def one(xs):
                data, seen = xs
                own = jax.tree.map(lambda x: x[None], data)
                rows, _ = program.rows_and_factors(0.5 * jnp.ones(program.size), own)
                return jnp.where(seen, rows, 0.0).sum()

            return jax.lax.map(one, (data, mask))

        def work(tasks, data, mask, likelihood=likelihood, anew=cores):
            where = jnp.asarray(tasks)
            return likelihood(coin_program, data, jnp.asarray(mask)) + jnp.arange(200.0)[where]

        def report(stage, done, total, told=told):
            told.append(done)

        jax.clear_caches()
        with compilations() as count:
            values = _chunks.over_chunks(evidence, work, report, "work")
        found[cores] = values, count
        assert traced == [threading.get_ident()] * 2
        assert told == sorted(told)
        assert (told[0], told[-1]) == (0, 200)
    np.testing.assert_array_equal(found[4][0], found[1][0])
    assert found[4][1] == found[1][1]
    assert found[1][1].total() >= 4


def test_chunks_are_worked_on_with_the_settings_of_the_calling_thread(coin_program, monkeypatch):
    monkeypatch.setattr(_chunks.os, "cpu_count", lambda: 4)
    evidence, threads = many_tasks(coin_program), set()

    def work(tasks, data, mask):
        threads.add(threading.get_ident())
        return jnp.full(len(tasks), 0.1, float)

    _chunks.over_chunks(evidence, work, silent, "work")
    with jax.enable_x64(True):
        found = _chunks.over_chunks(evidence, work, silent, "work")
    np.testing.assert_array_equal(found, np.full(200, 0.1))
    assert len(threads) > 1


def test_chunks_that_nobody_wants_any_more_are_not_begun(coin_program, monkeypatch):
    monkeypatch.setattr(_chunks.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(_chunks, "CHUNK", 4)
    evidence, begun = many_tasks(coin_program), []

    def work(tasks, data, mask):
        begun.append(len(tasks))
        return np.zeros(len(tasks))

    def report(stage, done, total):
        if done:
            raise KeyboardInterrupt

    for _ in range(2):  # in this thread, which compiles; then in others
        begun.clear()
        with pytest.raises(KeyboardInterrupt):
            _chunks.through_chunks(*chunks_of_four(evidence), work, report, "work")
        assert 1 <= len(begun) <= 6


def chunks_of_four(evidence):
    each = [np.arange(i, i + 4) for i in range(0, 200, 4)]
    return [lambda x=x: _chunks.chunk_of(evidence, x, 4) for x in each], 200


# --- what the process has one of


def test_one_thread_hears_its_own_warnings_and_leaves_the_filters_alone():
    before = list(warnings.filters)

    def heard(name):
        for _ in range(50):
            with recorded() as told, quiet(RuntimeWarning):
                warnings.warn("of nobody", RuntimeWarning, stacklevel=1)
            with recorded() as told:
                warnings.warn(name, stacklevel=1)
            assert told == [name]
        return True

    assert all(at_once(lambda: heard("a"), lambda: heard("b")))
    assert warnings.filters == before


def test_two_threads_draw_what_one_draws():
    def drawn(size):
        return str(picture(lambda axes: axes.plot(range(size)), "a line"))

    alone = [drawn(3), drawn(5)]
    both = at_once(*(lambda n=n: [drawn(n) for _ in range(4)] for n in (3, 5)))
    assert [set(found) for found in both] == [{x} for x in alone]
