"""What of a program can be integrated in closed form, and what is left for a sum or a lattice.

A set of latents is Gaussian given all others where the log density is a polynomial of degree two in
them together. That is proved by reading the traced program (`program.quadratic`): values at some
points could not show it, since a density may be saturated at all of them. Among all sets for which
the proof succeeds, the one is taken that leaves the cheapest rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from bayes_badger.errors import listed
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.inner_loop._quadratic import Where
from bayes_badger.program import LIFETIME, TASK, WHITENED, Latent, Program
from bayes_badger.program.quadratic import not_quadratic, positions

# Dimensions of a lattice; assignments of discrete latents of a task, and of a lifetime.
DIMS, STATES = 3, 4096
# So many latents at most are tried for closed forms: every subset of them is a choice.
LATENTS = 10


@dataclass(frozen=True)
class Split:
    """How each latent is integrated.

    Attributes:
        linear: Positions of coordinates that are integrated in closed form.
        lattice: Positions of coordinates that need a lattice.
        lifetime_states: Assignments of the lifetime's discrete latents, by name `[s, ...]`.
        task_states: Of a task's.
        names: Latents that need a lattice, by scope.
    """

    linear: Where
    lattice: Where
    lifetime_states: Mapping[str, np.ndarray] = field(default_factory=dict)
    task_states: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def n_lifetime_states(self) -> int:
        """How many assignments the lifetime's discrete latents have."""
        return count_of(self.lifetime_states)

    @property
    def n_task_states(self) -> int:
        """How many assignments a task's discrete latents have."""
        return count_of(self.task_states)

    @property
    def tasks_are_summed(self) -> bool:
        """Whether tasks need a lattice or a sum, so that they are not Gaussian given the rest."""
        return bool(self.lattice.task or self.task_states)

    @property
    def closed_form(self) -> bool:
        """Whether everything is integrated in closed form."""
        return not (self.lattice.lifetime or self.lifetime_states or self.tasks_are_summed)

    @property
    def enumerated(self) -> bool:
        """Whether sums over discrete latents are all that is needed besides."""
        return not (self.lattice.lifetime or self.lattice.task or self.closed_form)


class Identity:
    """A thing by its identity, so that what is known of it can be kept while it lives."""

    def __init__(self, *things: object) -> None:
        self.things = things

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.things)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return all(a is b for a, b in zip(self.things, other.things, strict=True))


def split(program: Program, evidence: Evidence) -> Split | str:
    """How a program's latents can be integrated; else why they cannot, after "it "."""
    return _split(Identity(program, evidence))


@lru_cache(maxsize=4)
def _split(key: Identity) -> Split | str:
    program, evidence = key.things
    assert isinstance(program, Program)  # noqa: S101 - what `split` put there
    assert isinstance(evidence, Evidence)  # noqa: S101
    early = unfit(program, evidence)
    if early is not None:
        return early
    states: dict[str, dict[str, np.ndarray]] = {}
    for scope in (LIFETIME, TASK):
        found = assignments(program, scope)
        if isinstance(found, str):
            return found
        states[scope] = found
    latents = [latent for latent in program.latents if not latent.discrete]
    chosen = _cheapest(latents, _unproved(program, evidence, latents, states), bool(states[TASK]))
    if isinstance(chosen, str):
        return chosen
    places = positions(program)

    def where(names: set[str]) -> Where:
        return Where(
            *(
                tuple(
                    i
                    for latent in program.select(scope)
                    if latent.name in names
                    for i in places[latent.name]
                )
                for scope in (LIFETIME, TASK)
            )
        )

    rest = {latent.name for latent in latents} - chosen
    names = tuple(latent.name for latent in latents if latent.name in rest)
    return Split(where(chosen), where(rest), states[LIFETIME], states[TASK], names)


def unfit(program: Program, evidence: Evidence) -> str | None:
    """Why no integral over this program's latents can be taken, whatever they are."""
    if not program.latents:
        return "has nothing to infer: the program has no latents"
    if not evidence.n_tasks:
        return "has nothing to infer from: the evidence has no tasks"
    return None


def assignments(program: Program, scope: str) -> dict[str, np.ndarray] | str:
    """All joint values of a scope's discrete latents, by name `[s, *shape]`; or why not."""
    return _assignments(Identity(program), scope)


@lru_cache(maxsize=8)
def _assignments(key: Identity, scope: str) -> dict[str, np.ndarray] | str:
    (program,) = key.things
    assert isinstance(program, Program)  # noqa: S101 - what `assignments` put there
    latents = [latent for latent in program.discrete if latent.scope == scope]
    if not latents:
        return {}
    entries: list[tuple[int, ...]] = []
    for latent in latents:
        values = program.enumerate_support(latent.name)
        if values is None:
            return f"cannot list the values of {latent.name} ({latent.family})"
        entries += [values] * math.prod(latent.shape)
    total = math.prod(len(values) for values in entries)
    if total > STATES:
        each = "a task" if scope == TASK else "the lifetime"
        names = listed(latent.name for latent in latents)
        return f"cannot sum over {total} joint values of {names} for {each}, only over {STATES}"
    table = np.array(list(itertools.product(*entries)), np.int32)
    ends = np.cumsum([math.prod(latent.shape) for latent in latents])
    pieces = np.split(table, ends[:-1], axis=1)
    return {
        latent.name: piece.reshape(total, *latent.shape)
        for latent, piece in zip(latents, pieces, strict=True)
    }


def _cheapest(
    latents: Sequence[Latent], unproved: np.ndarray | None, tasks_are_summed: bool
) -> set[str] | str:
    """The names of the latents to integrate in closed form; or why no choice will do."""
    count = len(latents) if unproved is not None else 0
    options = itertools.chain.from_iterable(
        itertools.combinations(range(count), size) for size in range(count, -1, -1)
    )
    best: tuple[tuple[int, int], set[str]] | None = None
    why = (DIMS + 1, DIMS + 1)
    for option in options:
        chosen = list(option)
        if unproved is not None and unproved[np.ix_(chosen, chosen, chosen)].any():
            continue
        rest = [x for i, x in enumerate(latents) if i not in option]
        dims = {s: sum(x.size for x in rest if x.scope == s) for s in (LIFETIME, TASK)}
        left = any(latents[i].scope == LIFETIME for i in option)
        if (dims[TASK] or tasks_are_summed) and left:
            # Sums over a task's values times Gaussians of the lifetime have no closed form.
            continue
        cost = (dims[TASK], dims[LIFETIME])
        why = min(why, cost) if best is None else why
        mapped = all(x.kind == WHITENED for x in rest)
        if max(cost) <= DIMS and mapped and (best is None or cost < best[0]):
            best = cost, {latents[i].name for i in option}
    if best is not None:
        return best[1]
    task, lifetime = (f"more than {DIMS}" if x > DIMS else str(x) for x in why)
    return (
        f"needs a lattice of {task} dimensions per task and {lifetime} per lifetime, and can do "
        f"{DIMS} of each"
    )


def count_of(states: Mapping[str, np.ndarray]) -> int:
    """How many assignments there are: one where there is nothing to assign."""
    return len(next(iter(states.values()))) if states else 1


def _unproved(
    program: Program,
    evidence: Evidence,
    latents: Sequence[Latent],
    states: Mapping[str, Mapping[str, np.ndarray]],
) -> np.ndarray | None:
    """Which three latents are not proved to be jointly quadratic, `[s, s, s]`.

    None where no proof is tried: there are too many latents, or the outcome is discrete, for which
    no family is quadratic.
    """
    if not latents or len(latents) > LATENTS or program.outcome.discrete:
        return None
    some = data_of(evidence.select(np.arange(min(2, evidence.n_tasks))).padded())
    first = {name: x[0] for scope in states.values() for name, x in scope.items()}
    return not_quadratic(program, some, latents, first)
