"""Tasks made to say the most of each other: does what they teach carry over to other tasks?

A design is the columns of a task. Of several random ones the one is taken whose tasks say most of
each other, I(D_1; D_2); a lifetime of such tasks teaches what is shared, and tasks of another
family with the same shared latents are predicted: their held-out log predictive, less that of the
prior. Exact Bayes gains I(D'; D_1:m), at most I(a; D_1:m). Beside it stand random designs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayes_badger import shelves
from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.fitting import example_of
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import InnerLoop, Report, silent
from bayes_badger.measures.definitions.information_between_tasks import check_shared
from bayes_badger.measures.estimate import mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.simulated import (
    check_simulable,
    rows_like,
    simulated,
    usual_steps,
)
from bayes_badger.measures.subject import AnyProgram, opened
from bayes_badger.program import LIFETIME, Program, lift, read_signature
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Do tasks made to say the most of each other teach what other tasks need?"
REFERENCE = "Lindley (1956), On a Measure of the Information Provided by an Experiment"
DESIGNS = ("targeted", "random")
LABELS = ("one task about\nanother", "about what\nis shared", "gain, exact", "gain")
# Standard errors by which a learner may gain less than exact Bayes.
SURE = 3.0


class Carried(NamedTuple):
    """What tasks of one design teach, lifetime by lifetime, in nats.

    Attributes:
        between: log p(D_1, D_2) / p(D_1) p(D_2), `[lifetime]`.
        shared: log p(D_1:m | a) / p(D_1:m), `[lifetime]`.
        expected: log p(D' | D_1:m) / p(D') by exact Bayes, `[lifetime]`.
        gained: The same of the learner, `[lifetime]`.
    """

    between: np.ndarray
    shared: np.ndarray
    expected: np.ndarray
    gained: np.ndarray


def best_design(said: np.ndarray) -> tuple[int, np.ndarray]:
    """The design whose tasks say most of each other.

    Args:
        said: log p(D_i | a) of two tasks of each design, at draws of the prior, the last of which
            is the one that they were drawn with: `[lifetime, design, 2, draw]`.

    Returns:
        Its number, and I(D_1; D_2) of each design, `[design]`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> a, noise = rng.normal(size=(500, 201)), np.array([1.0, 10.0])
        >>> y = a[:, None, None, -1] + rng.normal(size=(500, 2, 2)) * noise[:, None]
        >>> misfit = (y[..., None] - a[:, None, None]) / noise[:, None, None]
        >>> best_design(-0.5 * misfit**2)[0]
        0
    """
    # The true one is among the draws: bounds of one kind, from above, for each.
    alone = logsumexp(said, -1) - np.log(said.shape[-1])
    both = logsumexp(said.sum(2), -1) - np.log(said.shape[-1])
    each = (both - alone.sum(2)).mean(0)
    return int(np.argmax(each)), each


def targeting(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    family: str = "",
    tasks: int = 4,
    steps: int = 0,
    designs: int = 8,
    lifetimes: int = 60,
    draws: int = 400,
) -> xr.Dataset:
    """Whether tasks chosen for what they share teach more of it, and whether it is made use of.

    Args:
        run: Of a program whose tasks share latents; its rows are candidates of designs.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        family: A program on the shelf, or a file, with the same shared latents and columns, of
            which a task is predicted; by default the run's own.
        tasks: From which a lifetime learns, all of one design.
        steps: Rows of each; 0 for as many as the run's tasks have.
        designs: Random ones, of which one is chosen.
        lifetimes: To simulate, half of them to choose by.
        draws: Of what is shared, over which predictions are averaged.

    Returns:
        For the `targeted` design and for `random` ones, `[design]`: `between` I(D_1; D_2),
            `of_algorithm` I(a; D_1:m), `expected`, what exact Bayes gains on a task of the family,
            and `gain`, what the run's inner loop does; and `more`, what targeting adds to that.

    Raises:
        BadgerError: Where tasks share nothing, or the family shares something else.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=6, steps=3, inference="exact")
        >>> found = bb.measures.targeting(run, lifetimes=8, draws=100, designs=2)
        >>> [str(x) for x in found["design"].values]
        ['targeted', 'random']
    """
    if lifetimes < 4 or designs < 1 or tasks < 2 or draws < 2 or steps < 0:
        raise BadgerError(
            "targeting simulates 4 lifetimes or more of 2 tasks or more, not "
            f"lifetimes={lifetimes}, tasks={tasks}, designs={designs}, draws={draws}, steps={steps}"
        )
    subject = opened(run, program)
    lifted, evidence = subject.program, subject.evidence
    check_shared(lifted, run.name)
    check_simulable(lifted, "targeting")
    other = _family(family, lifted, evidence)
    columns = _designs(evidence, designs, steps or usual_steps(evidence), seed)
    half = lifetimes // 2
    report("targeting", 0, 3, "choosing a design")
    best, _ = best_design(_said(lifted, columns, half, draws, seed))
    report("targeting", 1, 3, "the chosen design")
    chance = np.random.default_rng(seed + 1)
    chosen = np.full(half, best), chance.integers(designs, size=half)
    held = rows_like(evidence, 1, steps or None, half, seed + 2)
    found = []
    for i, which in enumerate(chosen):
        found.append(
            _carried(lifted, other, subject.inner_loop, columns, which, held, tasks, draws, seed)
        )
        report("targeting", 2 + i, 3, "random designs")
    return _labelled(found[0], found[1], other.name, columns, tasks)


def _family(name: str, program: Program, evidence: Evidence) -> Program:
    """The program of held-out tasks, with the same shared latents."""
    if not name:
        return program
    loaded = shelves.load_program(name)
    asked = read_signature(loaded.model, name=loaded.path.stem, groups=loaded.optional("columns"))
    wanted = {*asked.columns, *asked.task_columns}
    has = {*evidence.columns, *evidence.task_columns}
    if not wanted <= has:
        raise BadgerError(
            f"{asked.program} takes {listed(sorted(wanted))} and the run has "
            f"{listed(sorted(has)) or 'no columns'}: a family of tasks is asked at the run's rows"
        )
    other = lift(
        loaded.model,
        example=example_of(evidence),
        groups=loaded.optional("columns"),
        name=loaded.path.stem,
    )
    check_simulable(other, "targeting")
    mine, theirs = ({x.name: x.shape for x in each.select(LIFETIME)} for each in (program, other))
    if mine != theirs:
        raise BadgerError(
            f"{other.name} shares {listed(theirs) or 'nothing'} and {program.name} shares "
            f"{listed(mine)}: what was learned carries over where both share the same latents"
        )
    return other


def _designs(evidence: Evidence, designs: int, steps: int, seed: int) -> Evidence:
    """So many tasks, each of random rows of one of the run's tasks."""
    few = rows_like(evidence, 1, steps, designs, seed)
    chance = np.random.default_rng(seed)
    usable = np.flatnonzero(evidence.lengths > 0)
    sources = np.resize(chance.permutation(usable), designs)
    starts = (np.cumsum(evidence.lengths) - evidence.lengths)[sources][:, None]
    within = (chance.random((designs, steps)) * evidence.lengths[sources][:, None]).astype(int)
    rows = (starts + within).ravel()
    return replace(
        few,
        columns={n: x[rows] for n, x in evidence.columns.items()},
        task_columns={n: x[sources] for n, x in evidence.task_columns.items()},
    )


def _prior(program: Program, evidence: Evidence, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Draws of all latents from the prior, of a single task each."""
    return simulated(program, rows_like(evidence, 1, 1, draws), draws, seed).values


def _messages(
    program: Program,
    evidence: Evidence,
    shared: dict[str, np.ndarray],
    own: dict[str, np.ndarray],
    seed: int,
) -> np.ndarray:
    """Log p(D_i | a) at draws of what is shared, `[task, draw]`."""
    many = len(next(iter(shared.values())))
    values = {
        x.name: jnp.asarray(
            shared[x.name]
            if x.scope == LIFETIME
            else np.broadcast_to(own[x.name][:1, :1], (many, 1, *x.shape))
        )
        for x in program.latents
    }
    return messages(program, evidence, values, jax.random.key(seed)).log_evidence.T


def _said(program: Program, columns: Evidence, lifetimes: int, draws: int, seed: int) -> np.ndarray:
    """Of two tasks of each design, in each lifetime: `[lifetime, design, 2, draw + 1]`."""
    designs = columns.n_tasks
    pairs = np.tile(np.repeat(np.arange(designs), 2), lifetimes)
    drawn = simulated(program, _fresh(columns, pairs), lifetimes, seed + 3)
    prior = _prior(program, columns, draws, seed + 4)
    told = _at_prior_and_truth(program, drawn.evidence, prior, drawn.values, seed)
    return told.reshape(lifetimes, designs, 2, -1)


def _fresh(columns: Evidence, tasks: np.ndarray) -> Evidence:
    """Tasks of some designs, each a task of its own."""
    found = columns.select(tasks)
    return replace(found, outcome=None, rows=np.arange(1, found.n_rows + 1))


def _at_prior_and_truth(
    program: Program,
    evidence: Evidence,
    prior: dict[str, np.ndarray],
    truth: dict[str, np.ndarray],
    seed: int,
) -> np.ndarray:
    """Log p(D_i | a) at draws of the prior and, last, at each task's own truth: `[task, draw]`."""
    names = [x.name for x in program.select(LIFETIME)]
    lifetimes = len(truth[names[0]])
    shared = {n: np.concatenate([prior[n], truth[n]]) for n in names}
    said = _messages(program, evidence, shared, prior, seed)
    draws = said.shape[1] - lifetimes
    of = np.repeat(np.arange(lifetimes), evidence.n_tasks // lifetimes)
    own = said[np.arange(evidence.n_tasks), draws + of]
    return np.concatenate([said[:, :draws], own[:, None]], 1)


def _carried(
    program: Program,
    other: Program,
    loop: InnerLoop,
    columns: Evidence,
    which: np.ndarray,
    held: Evidence,
    tasks: int,
    draws: int,
    seed: int,
) -> Carried:
    lifetimes = len(which)
    drawn = simulated(program, _fresh(columns, np.repeat(which, tasks)), lifetimes, seed + 5)
    names = [x.name for x in program.select(LIFETIME)]
    # A task of the family, of the same lifetime.
    asked = _asked(other, held, {n: drawn.values[n] for n in names}, seed + 6)
    prior = _prior(program, columns, draws, seed + 7)
    said = _at_prior_and_truth(program, drawn.evidence, prior, drawn.values, seed)
    said = said.reshape(lifetimes, tasks, -1)
    theirs = _prior(other, held, 1, seed)
    ahead = _messages(other, asked, {n: prior[n] for n in names}, theirs, seed)
    # What was learned weighs draws of the prior: self-normalised, without the truth among them.
    weights = said[..., :-1].sum(1)
    before = logsumexp(ahead, 1) - np.log(ahead.shape[1])
    after = logsumexp(ahead + weights, 1) - logsumexp(weights, 1)

    def together(x: np.ndarray) -> np.ndarray:
        return np.asarray(logsumexp(x, -1) - np.log(x.shape[-1]))

    pair = together(said[:, :2].sum(1)) - together(said[:, :2]).sum(1)
    shared = said[..., -1].sum(1) - together(said.sum(1))
    gained = np.empty(lifetimes)
    for i in range(lifetimes):
        seen = drawn.evidence.select(np.arange(i * tasks, (i + 1) * tasks))
        key = jax.random.fold_in(jax.random.key(seed), i)
        values = loop.infer(program, seen, key).draws.values
        flat = {n: np.asarray(values[n]).reshape(-1, *np.shape(values[n])[2:]) for n in names}
        some = np.linspace(0, len(flat[names[0]]) - 1, draws).astype(int)
        own = {n: x[some] for n, x in flat.items()}
        gained[i] = together(_messages(other, asked.select([i]), own, theirs, seed)[0])
    return Carried(pair, shared, after - before, gained - before)


def _asked(other: Program, held: Evidence, shared: dict[str, np.ndarray], seed: int) -> Evidence:
    """A task of the family for each lifetime, drawn with what that lifetime shares."""
    held = replace(held, outcome_name=other.signature.outcome)
    block = held.padded()
    data = data_of(block)._replace(outcome=None)
    keys = jax.random.split(jax.random.key(seed), held.n_tasks)

    def one(data: Any, shared: Any, key: Any) -> Any:
        data = jax.tree.map(lambda x: x[None], data)
        return other.simulate(key, data, shared).outcome[0]

    outcome = jax.vmap(one)(data, {n: jnp.asarray(x) for n, x in shared.items()}, keys)
    return replace(held, outcome=held.long([block], [np.asarray(outcome)]))


def _labelled(
    targeted: Carried, random: Carried, family: str, columns: Evidence, tasks: int
) -> xr.Dataset:
    words = {
        "between": "one task about another",
        "of_algorithm": f"{tasks} tasks about what is shared",
        "expected": f"gain on a task of {family}, exact",
        "gain": "the same, of the inner loop",
    }
    fields = dict(zip(words, Carried._fields, strict=True))
    quantities = {}
    for name, about in words.items():
        each = [mean_of(getattr(x, fields[name])) for x in (targeted, random)]
        value, error = (np.array([getattr(x, f) for x in each]) for f in ("value", "error"))
        quantities[name] = Quantity(about, value, error, dims=("design",))
    more = mean_of(targeted.gained - random.gained)
    quantities["more"] = Quantity("targeting adds to the gain", more.value, more.error)
    doubts = []
    for name, x in zip(DESIGNS, (targeted, random), strict=True):
        short = mean_of(x.expected - x.gained)
        if short.value > SURE * short.error + 0.01:
            doubts.append(
                f"{name} tasks: the inner loop gains {short.value:.3g} ± {short.error:.2g} nats "
                "less than exact Bayes from the same tasks: what was learned does not carry over"
            )
    notes = [f"the design is one of {columns.n_tasks} random ones, chosen on other lifetimes"]
    if not columns.columns and not columns.task_columns:
        notes.append("tasks have no columns: all designs are the same")
    coords: dict[Hashable, Any] = {"design": list(DESIGNS)}
    return labelled("targeting", REFERENCE, quantities, coords, notes, doubts)


def plot(found: xr.Dataset, axes: Axes) -> None:
    """Information and gains, of the targeted design and of random ones."""
    names = ("between", "of_algorithm", "expected", "gain")
    place = np.arange(len(names))
    for shift, i, color in ((-0.2, 0, BLUE), (0.2, 1, ORANGE)):
        value = [float(found[n][i]) for n in names]
        error = [2 * float(found[f"{n}_se"][i]) for n in names]
        label = str(found["design"].values[i])
        axes.bar(place + shift, value, 0.4, yerr=error, color=color, label=label, capsize=2)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_xticks(place, LABELS)
    axes.set_xlabel("information, and gain on a held-out task")
    axes.set_ylabel("nats")
    axes.legend()
