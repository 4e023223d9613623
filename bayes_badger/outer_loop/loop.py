"""Learns the parameters of a program, its prior ψ, from many tasks: empirical Bayes.

    ψ* = argmax Σ_i log p_ψ(D_i) - λ · description length of ψ, λ = 0 by default

Few parameters are learned by `scoring`, which knows when it is done; many, as of a network, by
`descent`: two modules with the same functions. Step t uses nothing but the key, t and the state,
so that what is resumed ends bit for bit like what was not interrupted.

For the inner loop `gradient`, which has no log evidence, it maximises what is predicted after its
steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Key
from pydantic import BaseModel, ConfigDict, Field

from bayes_badger.errors import BadgerError, listed
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop import experts
from bayes_badger.inner_loop.gradient import Gradient
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.outer_loop import after_steps, descent, scoring
from bayes_badger.outer_loop.ceiling import ceiling
from bayes_badger.outer_loop.drive import drive
from bayes_badger.outer_loop.examining import Examiner
from bayes_badger.outer_loop.objective import log_evidence_and_slopes
from bayes_badger.outer_loop.penalty import penalty
from bayes_badger.outer_loop.standard_errors import covariance
from bayes_badger.program import LIFETIME, Program
from bayes_badger.program.parameters import bound, free

# It stops where held-out tasks have not become better for so many looks.
PATIENCE = 8
# With fewer observations than this for each entry, descent holds tasks out.
OBSERVATIONS_PER_ENTRY = 10
# So often in a row may numbers not be finite.
TRIES = 8
# How far from the start it begins again, in units of the unbounded parameters. With at most so many
# rows it does until two starts come to the same log evidence, to so many nats; with more, where
# another start costs more, only where one is stuck.
APART, CHEAP, ALIKE = 0.5, 2_000, 1.0


class Settings(BaseModel):
    """How to learn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(300, ge=0, description="at most")
    scoring: int = Field(64, ge=0, description="up to so many entries; of more, descent")
    rate: float = Field(0.01, gt=0, description="of descent, in the unbounded parameters")
    tasks: int = Field(128, ge=1, description="of one step of descent; scoring takes all")
    experts: int = Field(16, ge=1)
    refits: int = Field(1, ge=0)
    points: int = Field(16, ge=4, multiple_of=2)
    held_out: float = Field(0.1, ge=0, lt=1, description="share of tasks, where needed")
    starts: int = Field(3, ge=1, description="of scoring, at most, from other places")
    draws: int = Field(4000, ge=1, description="of all lifetimes, where tasks share latents")
    penalty: float = Field(0.0, ge=0, description="λ, of what parameters say beyond their start")


class Window(NamedTuple):
    """Sums over the steps since the last look, so that one who resumes sees what others see."""

    loss: float | np.ndarray
    slope: float | np.ndarray
    steepest: float | np.ndarray
    tasks: float | np.ndarray
    steps: float | np.ndarray


class State(NamedTuple):
    """All that changes while it learns.

    Attributes:
        place: Of scoring or of descent.
        best: The parameters of the best look at held-out tasks, `[p]`.
        best_loss: Its loss, in nats per observation.
        since: Looks since then.
        astray: How often in a row numbers were not finite.
        window: Of the steps since the last look.
        turn: How often it began again.
        points: Which start's points the place is looked at with.
        kept: The best place before it did.
        kept_points: And its points.
    """

    place: scoring.Place | descent.Place
    best: np.ndarray
    best_loss: float | np.ndarray
    since: float | np.ndarray
    astray: float | np.ndarray
    window: Window
    turn: float | np.ndarray
    points: float | np.ndarray
    kept: Any
    kept_points: float | np.ndarray


class Learned(NamedTuple):
    """What was learned, and how.

    Attributes:
        program: With its learned parameters.
        steps: How many were done.
        errors: Standard error of each parameter, by name as in `as_table`; nan where the likelihood
            is flat or still rising, empty where none is known.
        curve: A table of numbers for each look.
        notes: What was chosen, one sentence each.
        warnings: Why what was learned is not to be trusted, one sentence each.
        finished: Whether it was not interrupted.
    """

    program: Program
    steps: int
    errors: dict[str, np.ndarray]
    curve: list[dict[str, Any]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    finished: bool


def shared(program: Program) -> bool:
    """Whether a task is not one Gaussian vector by itself, so that it is for `learn_lifetimes`."""
    return bool(program.select(LIFETIME) or program.discrete)


def why_not(program: Program, evidence: Evidence, inner: Gradient | None = None) -> str | None:
    """Why nothing can be learned; None where it can. Arguments as of `learn`."""
    if not program.parameters:
        return "has no parameters to learn: numpyro.param, or a module"
    if not evidence.n_rows:
        return "has nothing to learn from: the evidence has no rows"
    if inner is None and shared(program):
        names = listed(latent.name for latent in (*program.select(LIFETIME), *program.discrete))
        return f"is learned a lifetime at a time, with all tasks that share {names}"
    loop = inner or experts.make(experts.Settings())
    reason = loop.why_not(program, evidence)
    name = "experts" if inner is None else "gradient steps"
    return None if reason is None else f"cannot be learned with {name}, which {reason}"


def learn(
    program: Program,
    evidence: Evidence,
    key: Key[Any, ""],
    settings: Settings | None = None,
    report: Report = silent,
    folder: Path | None = None,
    seconds: float = 30.0,
    inner: Gradient | None = None,
    watch: Callable[[int, Program], None] | None = None,
    truth: Program | None = None,
) -> Learned:
    """Learns a program's parameters from tasks.

    Args:
        program: The lifted program; its parameters are where it starts.
        evidence: Of all tasks.
        key: Of everything random.
        settings: How to learn.
        report: Is told how far it has come. A KeyboardInterrupt ends it with what was learned.
        folder: Where checkpoints are written, and where it goes on from if there are any.
        seconds: Between checkpoints.
        inner: The inner loop that is learned for, where it is `gradient`; else by experts.
        watch: Is shown the program as it is after so many steps; of this call alone, where it goes
            on from a checkpoint.
        truth: What the tasks were simulated from, where they were: how far it is from the best
            that can be done is then told.

    Raises:
        BadgerError: Where nothing can be learned, or no step gives a finite number.
    """
    settings = settings or Settings()
    reason = why_not(program, evidence, inner)
    if reason is not None:
        raise BadgerError(f"{program.name} {reason}")
    work = _Work(program, evidence, key, settings, inner, truth)

    def show(done: int, state: State) -> None:
        if watch is not None:
            watch(done, bound(program, work.unflatten(work.now(state))))

    state, done, curve, finished = drive(work, settings.steps, report, folder, seconds, show)
    learned = bound(program, work.unflatten(work.chosen(state)))
    notes = work.notes(state, done, curve)
    if not finished:
        why = ("the outer loop was interrupted",)
        return Learned(learned, done, {}, curve, notes, why, finished)
    errors, more = work.errors(state)
    doubts = (*work.doubts(state, curve), *more)
    return Learned(learned, done, errors, curve, notes, doubts, finished)


class _Work:
    """What stays the same while it learns."""

    def __init__(
        self,
        program: Program,
        evidence: Evidence,
        key: Key[Any, ""],
        settings: Settings,
        inner: Gradient | None,
        truth: Program | None = None,
    ) -> None:
        self.program, self.evidence, self.key, self.settings = program, evidence, key, settings
        # What is predicted after gradient steps has another ceiling.
        self.truth = None if inner else truth
        self.loop: Any = inner or experts.make(
            experts.Settings(
                experts=settings.experts, refits=settings.refits, points=settings.points
            )
        )
        self.objective: Any = after_steps.scores_and_slopes if inner else log_evidence_and_slopes
        flat, self.unflatten = ravel_pytree(free(program))
        self.first = np.asarray(flat, float)
        # Scoring counts on the information of a likelihood.
        self.few = len(self.first) <= settings.scoring and inner is None
        self.way: Any = scoring if self.few else descent
        order = self._chance(0).permutation(np.flatnonzero(evidence.lengths))
        scarce = evidence.n_rows < OBSERVATIONS_PER_ENTRY * len(self.first)
        hold = not self.few and scarce and len(order) >= 10
        count = round(settings.held_out * len(order)) if hold else 0
        self.held_out, self.tasks = np.sort(order[:count]), np.sort(order[count:])
        self.many = len(self.tasks) if self.few else min(settings.tasks, len(self.tasks))

    @functools.cached_property
    def examiner(self) -> Examiner:
        """What looks around a place, where few parameters are learned."""
        loop: experts.Experts = self.loop
        some = self.evidence.select(self.tasks)
        weight = self.settings.penalty
        return Examiner(self.program, self.unflatten, some, loop, self.key, self.first, weight)

    @property
    def every(self) -> int:
        """Steps between two looks."""
        return int(self.way.EVERY)

    def _chance(self, *more: int) -> np.random.Generator:
        data = np.asarray(jax.random.key_data(self.key)).ravel().tolist()
        return np.random.default_rng([*data, *more])

    def start(self) -> State:
        """Before the first step."""
        place = self.way.start(self.first)
        return State(place, self.first, np.inf, 0.0, 0.0, _empty(), 0.0, 0.0, place, 0.0)

    def _looked_at(
        self, point: Any, tasks: np.ndarray, key: Any, slopes: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        parameters = self.unflatten(jnp.asarray(point, jnp.float32))
        some = self.evidence.select(tasks)
        how = {"steady": self.examiner.steady} if self.few and slopes else {}
        found: tuple[np.ndarray, np.ndarray] = self.objective(
            self.program, parameters, some, self.loop, key, slopes, **how
        )
        return found

    def step(self, state: State, done: int) -> State:
        """One step, on some tasks."""
        if self._is_lost(state):
            state = self._begun_again(state)
        tasks, place = self.tasks, state.place
        if self.many < len(tasks):
            tasks = np.sort(self._chance(1, done).choice(tasks, self.many, replace=False))
        key = self.examiner.key_of(state.points) if self.few else jax.random.fold_in(self.key, done)
        values, slopes = self._looked_at(place.point, tasks, key)
        rows = int(self.evidence.lengths[tasks].sum())
        slope = slopes.sum(0)
        fine = bool(np.isfinite(values).all() and np.isfinite(slope).all())
        astray = 0 if fine else int(state.astray) + 1
        if astray >= TRIES and not self.way.is_known(self._best(state)):
            names = listed(self.program.parameters)
            raise BadgerError(
                f"{self.program.name}: the log evidence is not finite at the parameters ({names}), "
                "nor near where they started: start them elsewhere"
            )
        share = done / max(self.settings.steps, 1)
        weight = self.settings.penalty * len(tasks) / len(self.tasks)
        cost = penalty(place.point, self.first, weight)
        place = self.way.moved(place, values, slopes, cost, rows, self.settings.rate, share)
        window = state.window
        if fine:
            norm = float(np.sqrt((slope**2).sum())) / rows
            window = Window(
                window.loss - values.sum() / rows,
                window.slope + norm,
                np.maximum(window.steepest, norm),
                window.tasks + len(tasks),
                window.steps + 1,
            )
        state = state._replace(place=place, astray=float(astray), window=window)
        return self._examined(state)

    def _examined(self, state: State) -> State:
        """With the observed information, where it seems that there is no more to gain."""
        place = state.place
        if not isinstance(place, scoring.Place):
            return state
        if not scoring.at_rest(place) or scoring.is_examined(place):
            return state
        if self._is_lost(state) and not scoring.is_stuck(place):
            return state
        if not self._is_lost(state):
            # From here on it stays with the best place of all starts.
            place, points = self._best_with_points(state)
            state = state._replace(place=place, points=points, kept=place, kept_points=points)
        information, found = self.examiner.information(place.at, state.points)
        place = scoring.examined(place, information, found.spread)
        return state._replace(place=place)

    def look(self, state: State, done: int) -> tuple[State, dict[str, Any]]:
        """Sums up the last steps, looks at held-out tasks, and keeps the best."""
        window = state.window
        steps = max(float(window.steps), 1.0)
        line: dict[str, Any] = {"stage": "learning", "step": done, "loss": window.loss / steps}
        line |= {"slope": window.slope / steps, "steepest": window.steepest}
        line |= self.way.told(state.place)
        if len(self.held_out):
            values, _ = self._looked_at(state.place.point, self.held_out, self.key, slopes=False)
            rows = self.evidence.lengths[self.held_out].sum()
            loss = line["held_out"] = -values.sum() / rows
            better = loss < state.best_loss
            state = state._replace(
                best=np.asarray(state.place.point, float) if better else state.best,
                best_loss=np.minimum(loss, state.best_loss),
                since=0.0 if better else state.since + 1,
            )
        if self._ceiling is not None:
            of = self.held_out if len(self.held_out) else self.tasks
            line["ceiling"] = -self._ceiling[of].sum() / self.evidence.lengths[of].sum()
        numbers = {n: x if isinstance(x, str | int) else float(x) for n, x in line.items()}
        return state._replace(window=_empty()), numbers

    @functools.cached_property
    def _ceiling(self) -> np.ndarray | None:
        """Log evidence of each task under the truth, `[task]`; None where that is not known."""
        if self.truth is None:
            return None
        return ceiling(self.truth, self.evidence, self.loop, self.key)

    def at_rest(self, state: State) -> bool:
        """Whether there is no more to learn."""
        gone = int(state.astray) >= TRIES and self.way.is_known(self._best(state))
        place = state.place
        settled = isinstance(place, scoring.Place) and scoring.is_settled(place)
        rests = settled and not self._is_lost(state)
        return bool(rests or gone or int(state.since) >= PATIENCE)

    def _is_lost(self, state: State) -> bool:
        """Whether it may be at rest where the highest maximum is not, and may begin elsewhere."""
        place = state.place
        if not isinstance(place, scoring.Place) or int(state.turn) + 1 >= self.settings.starts:
            return False
        if not scoring.at_rest(place) or scoring.is_stuck(place):
            return scoring.is_stuck(place)
        same = bool(state.turn) and abs(float(state.kept.height) - float(place.height)) < ALIKE
        return self.evidence.n_rows <= CHEAP and not same

    def _begun_again(self, state: State) -> State:
        turn = int(state.turn) + 1
        away = APART * self._chance(2, turn).normal(size=len(self.first))
        kept, points = self._best_with_points(state)
        return state._replace(
            place=scoring.start(self.first + away),
            turn=float(turn),
            points=float(turn),
            kept=kept,
            kept_points=points,
            astray=0.0,
        )

    def _best(self, state: State) -> Any:
        """The better of where it is and where it was before it began again."""
        return self._best_with_points(state)[0]

    def _best_with_points(self, state: State) -> tuple[Any, float | np.ndarray]:
        place, kept = state.place, state.kept
        if not isinstance(place, scoring.Place) or not state.turn:
            return place, state.points
        # Of two that are alike the one of which more is known.
        more = scoring.NOISE if scoring.is_examined(place) else 0.0
        if float(kept.height) > float(place.height) + more:
            return kept, state.kept_points
        return place, state.points

    def tasks_seen(self, state: State) -> float:
        """Since the last look."""
        return float(state.window.tasks)

    def note(self, line: dict[str, Any]) -> str:
        """A line of the curve in words."""
        note = f"{line['loss']:.4f} nats per observation"
        if "held_out" in line:
            note += f", {line['held_out']:.4f} held out"
        if "standard_errors_away" in line:
            note += f", {line['standard_errors_away']:.2g} standard errors to go"
        if "ceiling" in line:
            note += f", {_loss(line) - line['ceiling']:+.4f} from the ceiling"
        if "went_back" in line:
            note += f", {_went_back(line)}"
        return f"{note}, {line['tasks_per_second']:.0f} tasks/s"

    def chosen(self, state: State) -> Any:
        """The parameters that were learned, without bounds."""
        held = np.isfinite(state.best_loss)
        return jnp.asarray(state.best if held else self.way.best(self._best(state)), jnp.float32)

    def now(self, state: State) -> Any:
        """The parameters as they are, without bounds: of the last good point."""
        return jnp.asarray(self.way.best(state.place), jnp.float32)

    def errors(self, state: State) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Standard errors by name, and why they are not to be trusted."""
        place, points = self._best_with_points(state)
        if not isinstance(place, scoring.Place) or not scoring.is_known(place):
            return {}, ()
        if self._is_elsewhere(place, points):
            return {}, ()
        return self.examiner.errors(place.at, points)

    def _is_elsewhere(self, place: scoring.Place, points: float | np.ndarray) -> bool:
        """Whether it stopped where the log evidence is not yet curved as at a maximum."""
        if scoring.at_rest(place):
            return False
        information, found = self.examiner.information(place.at, points)
        return bool(covariance(information, found.spread).flat.any())

    def notes(self, state: State, done: int, curve: list[dict[str, Any]]) -> tuple[str, ...]:
        """What was done."""
        of = f"from {len(self.tasks)} tasks"
        if len(self.held_out):
            of += f", {len(self.held_out)} more held out to choose when to stop"
        if state.turn:
            of += f"; it began at {int(state.turn) + 1} places, and the best counts"
        notes = [f"learned {listed(self.program.parameters)} in {done} outer steps {of}"]
        if curve and "ceiling" in curve[-1]:
            losses = [_loss(line) for line in curve]
            best = min(losses) if self.few or len(self.held_out) else losses[-1]
            notes.append(
                f"in the end it was {best - curve[-1]['ceiling']:+.4f} nats per observation from "
                "what the program that they were simulated from gives them"
            )
        if curve and "went_back" in curve[-1]:
            notes.append(f"the outer loop {_went_back(curve[-1])}")
        return tuple(notes)

    def doubts(self, state: State, curve: list[dict[str, Any]]) -> tuple[str, ...]:
        """Whether it had not come to rest."""
        losses = np.array([_loss(line) for line in curve])
        place, points = self._best_with_points(state)
        if isinstance(place, scoring.Place) and scoring.is_known(place):
            information, found = self.examiner.information(place.at, points)
            if not self._is_elsewhere(place, points):
                place = scoring.counted(place, information, found.spread)
        doubt = self.way.doubt(place, losses, int(state.since) >= PATIENCE)
        return () if doubt is None else (f"the outer loop {doubt}",)


def _loss(line: dict[str, Any]) -> float:
    """Of a line of the curve: of tasks held out, where there are any."""
    return float(line.get("held_out", line["loss"]))


def _went_back(line: dict[str, Any]) -> str:
    times = int(line["went_back"])
    return f"went back to the last finite numbers {times} time{'s' if times > 1 else ''}"


def _empty() -> Window:
    return Window(0.0, 0.0, 0.0, 0.0, 0.0)
