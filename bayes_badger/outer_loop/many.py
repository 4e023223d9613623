"""Learns the parameters of a program whose tasks share latents, from lifetimes: p_ψ(a) among them.

    ψ* = argmax Σ_l log p_ψ(D_l) - λ · description length of ψ

A lifetime is a set of tasks with one draw of what they share, so that many lifetimes are needed to
learn how that varies, and one is enough to learn what does not vary with it. Each step infers
lifetimes as the parameters stand, and goes as far as the points of their posteriors carry: few
parameters by `newton`, all lifetimes at once, many by `descent`, some at a time. Step t uses
nothing but the key, t and the state, so that what is resumed ends bit for bit like what was not
interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Key

from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._alone import unfit_given
from bayes_badger.inner_loop._lifetime_rounds import Sizes
from bayes_badger.inner_loop._split import unfit
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.outer_loop import descent, newton
from bayes_badger.outer_loop.drive import drive
from bayes_badger.outer_loop.lifetimes import Inferred, Sums, infer, shares_nothing, sums
from bayes_badger.outer_loop.loop import TRIES, Learned, Settings
from bayes_badger.outer_loop.penalty import Penalty, penalty
from bayes_badger.outer_loop.standard_errors import (
    bounded,
    by_name,
    flat_doubt,
    table_at,
    that_do_not_fall,
    with_noise,
    without,
)
from bayes_badger.program import Program
from bayes_badger.program.parameters import bound, free

# Steps of descent on the same points at most, while this share of them counts.
REUSED, CARRIED = 8, 0.5
# The least draws of a lifetime.
FEW = 400


class State(NamedTuple):
    """All that changes while it learns.

    Attributes:
        place: Of `newton` or of `descent`.
        astray: How often in a row numbers were not finite.
        loss: Summed since the last look, nats per observation.
        steps: Since then.
    """

    place: newton.Place | descent.Place
    astray: float | np.ndarray
    loss: float | np.ndarray
    steps: float | np.ndarray


def why_no_lifetimes(program: Program, lifetimes: Sequence[Evidence]) -> str | None:
    """Why nothing can be learned; None where it can. Arguments as of `learn_lifetimes`."""
    if not program.parameters:
        return "has no parameters to learn: numpyro.param, or a module"
    if not sum(x.n_rows for x in lifetimes):
        return "has nothing to learn from: the evidence has no rows"
    reason = next((why for x in lifetimes if (why := unfit(program, x))), unfit_given(program))
    return None if reason is None else f"cannot be learned with experts, which {reason}"


def learn_lifetimes(
    program: Program,
    lifetimes: Sequence[Evidence],
    key: Key[Any, ""],
    settings: Settings | None = None,
    report: Report = silent,
    folder: Path | None = None,
    seconds: float = 30.0,
) -> Learned:
    """Learns a program's parameters from lifetimes, each a set of tasks that share latents.

    Args:
        program: The lifted program; its parameters are where it starts.
        lifetimes: The evidence of each.
        key: Of everything random.
        settings: How to learn.
        report: Is told how far it has come. A KeyboardInterrupt ends it with what was learned.
        folder: Where checkpoints are written, and where it goes on from if there are any.
        seconds: Between checkpoints.

    Raises:
        BadgerError: Where nothing can be learned, or no step gives a finite number.
    """
    settings = settings or Settings()
    reason = why_no_lifetimes(program, lifetimes)
    if reason is not None:
        raise BadgerError(f"{program.name} {reason}")
    work = _Work(program, lifetimes, key, settings, report)
    state, done, curve, finished = drive(work, settings.steps, report, folder, seconds)
    learned = bound(program, work.unflatten(work.chosen(state)))
    if not finished:
        why = ("the outer loop was interrupted",)
        return Learned(learned, done, {}, curve, work.notes(done), why, finished)
    errors, more = work.errors(state)
    doubts = (*work.doubts(state, curve), *more)
    return Learned(learned, done, errors, curve, work.notes(done), doubts, finished)


class _Work:
    """What stays the same while it learns."""

    def __init__(
        self,
        program: Program,
        lifetimes: Sequence[Evidence],
        key: Key[Any, ""],
        settings: Settings,
        report: Report,
    ) -> None:
        self.program, self.key, self.settings, self.report = program, key, settings, report
        self.lifetimes = [x for x in lifetimes if x.n_rows]
        flat, self.unflatten = ravel_pytree(free(program))
        self.first = np.asarray(flat, float)
        self.few = len(self.first) <= settings.scoring
        tasks, count = sum(x.n_tasks for x in self.lifetimes), len(self.lifetimes)
        self.some = count if self.few else min(count, max(1, settings.tasks * count // tasks))
        self.draws = max(FEW, settings.draws // self.some)
        self.sizes = Sizes(experts=settings.experts, points=settings.points)

    @property
    def every(self) -> int:
        """Steps between two looks."""
        return 1

    def start(self) -> State:
        """Before the first step."""
        way: Any = newton if self.few else descent
        return State(way.start(self.first), 0.0, 0.0, 0.0)

    def step(self, state: State, done: int) -> State:
        """Infers lifetimes, and goes as far as their points carry."""
        place = state.place
        chosen = self._chosen(done)
        rows = sum(x.n_rows for x in chosen)
        key = self.key if self.few else jax.random.fold_in(self.key, done)
        try:
            program = bound(self.program, self._parameters(place.point))
            found = infer(program, chosen, key, self.draws, self.sizes, self.report)
            values = found.log_evidence
        except BadgerError:
            found, values = None, np.array([np.nan])
        fine = found is not None and bool(np.isfinite(values).all())
        astray = 0.0 if fine else float(state.astray) + 1
        known = isinstance(place, newton.Place) and newton.is_known(place)
        if astray >= TRIES and not known:
            names = listed(self.program.parameters)
            raise BadgerError(
                f"{self.program.name}: the log evidence is not finite at the parameters ({names}), "
                "nor near where they started: start them elsewhere"
            )
        if isinstance(place, newton.Place):
            place = self._after(place, found, values)
        else:
            place = self._descended(place, found, chosen, done)
        if not fine:
            return state._replace(place=place, astray=astray)
        loss = state.loss - values.sum() / rows
        return State(place, astray, loss, state.steps + 1)

    def _chosen(self, done: int) -> list[Evidence]:
        if self.some == len(self.lifetimes) and (self.few or not shares_nothing(self.program)):
            return self.lifetimes
        data = np.asarray(jax.random.key_data(self.key)).ravel().tolist()
        chance = np.random.default_rng([*data, 1, done])
        if shares_nothing(self.program):
            return [_some_tasks(x, self.settings.tasks, chance) for x in self.lifetimes]
        which = chance.choice(len(self.lifetimes), self.some, replace=False)
        return [self.lifetimes[i] for i in np.sort(which)]

    def _parameters(self, point: Any) -> Any:
        return self.unflatten(jnp.asarray(point, jnp.float32))

    def _near(
        self, found: Inferred, point: Any, weight: float, curved: bool
    ) -> tuple[Sums, Penalty]:
        each = sums(self.program, self._parameters(point), found, curved)
        return each, penalty(point, self.first, weight)

    def _after(
        self, place: newton.Place, found: Inferred | None, values: np.ndarray
    ) -> newton.Place:
        weight = self.settings.penalty
        height = float(values.sum()) + penalty(place.point, self.first, weight).value
        error = float(np.sqrt((found.error**2).sum())) if found is not None else 0.0

        def near(point: np.ndarray) -> tuple[Sums, Penalty]:
            if found is None:
                raise ValueError("nothing was inferred")
            return self._near(found, point, weight, True)

        return newton.moved(place, height, error, near)

    def _descended(
        self, place: descent.Place, found: Inferred | None, chosen: list[Evidence], done: int
    ) -> descent.Place:
        rows, share = sum(x.n_rows for x in chosen), done / max(self.settings.steps, 1)
        total = sum(x.n_rows for x in self.lifetimes)
        weight = self.settings.penalty * rows / total
        rate, none = self.settings.rate, np.full((1, len(self.first)), np.nan)
        for _ in range(REUSED):
            if found is None:
                cost = penalty(place.point, self.first, weight)
                return descent.moved(place, none[:, 0], none, cost, rows, rate, share)
            each, cost = self._near(found, place.point, weight, False)
            if not each.carried >= CARRIED:
                break
            values = found.log_evidence + each.gain
            place = descent.moved(place, values, each.slope, cost, rows, rate, share)
        return place

    def look(self, state: State, done: int) -> tuple[State, dict[str, Any]]:
        """A line of the learning curve."""
        steps = max(float(state.steps), 1.0)
        line: dict[str, Any] = {"stage": "learning", "step": done, "loss": state.loss / steps}
        if isinstance(state.place, newton.Place):
            line |= newton.told(state.place)
        numbers = {n: x if isinstance(x, str | int) else float(x) for n, x in line.items()}
        return state._replace(loss=0.0, steps=0.0), numbers

    def at_rest(self, state: State) -> bool:
        """Whether there is no more to learn."""
        place = state.place
        if not isinstance(place, newton.Place):
            return False
        return newton.at_rest(place) or int(state.astray) >= TRIES

    def tasks_seen(self, state: State) -> float:
        """Since the last look."""
        return float(state.steps) * sum(x.n_tasks for x in self.lifetimes) * self._share

    @property
    def _share(self) -> float:
        return self.some / len(self.lifetimes)

    def note(self, line: dict[str, Any]) -> str:
        """A line of the curve in words."""
        note = f"{line['loss']:.4f} nats per observation"
        if "standard_errors_away" in line:
            note += f", {line['standard_errors_away']:.2g} standard errors to go"
        return note

    def chosen(self, state: State) -> Any:
        """The parameters that were learned, without bounds."""
        place = state.place
        best = place.at if isinstance(place, newton.Place) else descent.best(place)
        return jnp.asarray(best, jnp.float32)

    def errors(self, state: State) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Standard errors by name, and why they are not to be trusted."""
        place = state.place
        if not isinstance(place, newton.Place) or not newton.is_known(place):
            return {}, ()
        known, at = newton.known(place), np.asarray(place.at, float)
        if known.flat.any() and not newton.at_rest(place):
            # The log evidence is not yet curved as at a maximum.
            return {}, ()
        flat = that_do_not_fall(known, at, bounded(self.program), self._height)
        known = with_noise(without(known, flat), place.noise)
        errors = by_name(table_at(self.program, self.unflatten, self.chosen(state)), known)
        doubt = flat_doubt(errors)
        return errors, () if doubt is None else (doubt,)

    def _height(self, point: np.ndarray) -> float:
        """Log evidence of all lifetimes, inferred at a point, less the penalty."""
        program = bound(self.program, self._parameters(point))
        try:
            found = infer(program, self.lifetimes, self.key, self.draws, self.sizes, self.report)
        except BadgerError:
            return -np.inf
        cost = penalty(point, self.first, self.settings.penalty)
        return float(found.log_evidence.sum()) + cost.value

    def notes(self, done: int) -> tuple[str, ...]:
        """What was done."""
        tasks, count = sum(x.n_tasks for x in self.lifetimes), len(self.lifetimes)
        of = f"{tasks} tasks" if count == 1 else f"{count} lifetimes of {tasks} tasks"
        told = [f"learned {listed(self.program.parameters)} in {done} outer steps from {of}"]
        if count == 1 and not shares_nothing(self.program):
            told.append(
                "one lifetime was given: parameters of the prior of what its tasks share are those "
                "that suit this one, not how lifetimes vary"
            )
        return tuple(told)

    def doubts(self, state: State, curve: list[dict[str, Any]]) -> tuple[str, ...]:
        """Whether it had not come to rest."""
        if isinstance(state.place, newton.Place):
            doubt = newton.doubt(state.place)
        else:
            doubt = _still_learning(np.array([line["loss"] for line in curve]))
        return () if doubt is None else (f"the outer loop {doubt}",)


def _still_learning(losses: np.ndarray) -> str | None:
    """Whether descent was, by losses of other lifetimes at each step, which have a spread."""
    quarter = len(losses) // 4
    if quarter < 3:
        return None
    before, last = losses[-2 * quarter : -quarter], losses[-quarter:]
    fall = before.mean() - last.mean()
    spread = np.sqrt((before.var() + last.var()) / quarter)
    if fall < max(descent.NATS, 3 * spread):
        return None
    return f"was still learning, {fall:.2g} nats per observation: take more (--outer-steps)"


def _some_tasks(evidence: Evidence, most: int, chance: np.random.Generator) -> Evidence:
    if evidence.n_tasks <= most:
        return evidence
    return evidence.select(np.sort(chance.choice(evidence.n_tasks, most, replace=False)))
