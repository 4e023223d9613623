"""Whether a posterior has a mode that its draws do not describe.

Draws cannot show what none of them has seen: a chain stays in the mode in which it began, a lattice
starts from the prior, and effective sample sizes count what was found. So ascents of the log joint
density start from some dozen places of the prior and from beyond it, and others from the draws.
An ascent from the prior that ends elsewhere than those from the draws, outside of the range of all
draws, is made exact by Newton steps, and the mass of its mode is compared with that of the mode
that is known, both by Laplace's approximation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import Posterior
from bayes_badger.compilation import jit_by_work
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import task_columns_of
from bayes_badger.inner_loop._density import Part, parts_of, reference, values_and_slopes
from bayes_badger.inner_loop._split import split
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.program import LIFETIME, Program
from bayes_badger.trust.ascents import ascended
from bayes_badger.trust.modes import Mode, Place, mode_near

# Ascents from draws, from the prior, and from so much wider than the prior.
FROM_DRAWS, FROM_PRIOR, FROM_BEYOND, WIDER = 6, 24, 8, 2.5
# Draws by whose range it is told what they have seen.
SEEN = 400
# Steps of an ascent; evaluations of a row's density that all ascents together may cost.
STEPS, EVALUATIONS = 120, 3e8
# An end counts where it is not this many nats below the best that is known, and where the density
# falls by more than this on the straight way to every end that is known.
BELOW, DIP = 6.0, 1.0
# A mode counts whose mass is not this many nats below that of the known one: one part in fifty.
LIGHTER = 4.0
# Newton steps with which an end is made exact; modes this close in every coordinate are one.
POLISH, SAME = 60, 1e-2
# Draws are taken to have seen what is within this many of their standard deviations of their range.
MARGIN = 1.0


def missed_modes(
    program: Program,
    evidence: Evidence,
    posterior: Posterior,
    key: PRNGKeyArray,
    report: Report = silent,
) -> list[str]:
    """Why draws may not describe the whole posterior: one sentence, or none where nothing says so.

    Looked at where tasks share latents with coordinates, no latent is discrete, and no closed form
    is proved to be the posterior.

    Args:
        program: The lifted program.
        evidence: What was inferred from.
        posterior: What was inferred.
        key: For the places from which ascents start.
        report: Is told how far it has come.
    """
    if not _can_be_looked_at(program, evidence):
        return []
    parts, columns = parts_of(evidence), task_columns_of(evidence)
    draws = _coordinates(program, posterior, columns, evidence.n_tasks)
    if not np.isfinite(draws.lifetime).all() or not np.isfinite(draws.task).all():
        return []
    starts, count = _starts(draws, key, evidence)
    report("looking for modes that were missed", 0, 1)
    at = Place(draws.lifetime[0], draws.task[0])
    ends, heights = _ascended(program, starts, at, parts)
    known, others = slice(0, count), range(count, len(heights))
    best = int(np.argmax(heights[known]))
    candidates = [
        i
        for i in others
        if heights[i] > heights[best] - BELOW
        and _outside(draws, _of(ends, i))
        and not _connected(program, ends, heights, i, count, at, parts)
    ]
    found = _heaviest(program, ends, candidates, best, draws, parts) if candidates else None
    report("looking for modes that were missed", 1, 1)
    return [] if found is None else [_told(program, found, draws, columns)]


def _can_be_looked_at(program: Program, evidence: Evidence) -> bool:
    if not program.lifetime_size or program.discrete or not program.prior_normal:
        return False
    if program.without_gradient or not evidence.n_rows:
        return False
    how = split(program, evidence)
    return isinstance(how, str) or not how.closed_form


def _coordinates(
    program: Program, posterior: Posterior, columns: Mapping[str, Array], tasks: int
) -> Place:
    """Coordinates of some of the draws, `[draw, a]` and `[draw, task, z]`."""
    values = posterior.draws.values
    flat = {x.name: np.asarray(values[x.name]) for x in program.latents}
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in flat.items()}
    many = len(next(iter(flat.values())))
    some = np.linspace(0, many - 1, min(SEEN, many)).astype(int)
    chosen = {name: jnp.asarray(x[some]) for name, x in flat.items()}
    lifetime, task = _unconstrained(program, chosen, columns, tasks)
    return Place(np.asarray(lifetime, float), np.asarray(task, float))


@jit_by_work
def _unconstrained(
    program: Program, values: Mapping[str, Array], columns: Mapping[str, Array], tasks: int
) -> tuple[Array, Array]:
    found: tuple[Array, Array] = jax.lax.map(
        lambda one: program.unconstrain(one, columns, tasks), dict(values)
    )
    return found


def _starts(draws: Place, key: PRNGKeyArray, evidence: Evidence) -> tuple[Place, int]:
    """Where ascents start: some draws first, and how many of these there are."""
    cost = STEPS * max(evidence.n_rows, evidence.n_tasks, 1)
    most = int(np.clip(EVALUATIONS // cost, 4, FROM_DRAWS + FROM_PRIOR + FROM_BEYOND))
    known = min(FROM_DRAWS, max(most // 4, 1), len(draws.lifetime))
    fresh = most - known
    some = np.linspace(0, len(draws.lifetime) - 1, known).astype(int)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    wide = np.where(np.arange(fresh) % 4 == 3, WIDER, 1.0)[:, None]
    lifetime = wide * rng.normal(size=(fresh, draws.lifetime.shape[1]))
    # A task's own latents begin where the draws have them, or in the middle of their prior.
    task = np.zeros((fresh, *draws.task.shape[1:]))
    task[1::2] = draws.task[rng.integers(len(draws.task), size=len(task[1::2]))]
    return Place(
        np.concatenate([draws.lifetime[some], lifetime]), np.concatenate([draws.task[some], task])
    ), known


def _ascended(
    program: Program, starts: Place, at: Place, parts: Sequence[Part]
) -> tuple[Place, np.ndarray]:
    """Where ascents end, and the log joint density there relative to one of the draws."""
    references = reference(program, _single(at.lifetime), _single(at.task), parts)
    (many, shared), size = starts.lifetime.shape, starts.task.shape[1:]

    def places(flat: np.ndarray) -> Place:
        return Place(flat[:, :shared], flat[:, shared:].reshape(-1, *size))

    def heights(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, *slopes = values_and_slopes(program, *places(flat), parts, references)
        return value, np.concatenate([x.reshape(len(value), -1) for x in slopes], 1)

    flat = np.concatenate([x.reshape(many, -1) for x in starts], 1)
    ends, found = ascended(heights, flat, STEPS)
    return places(ends), found


def _of(places: Place, i: int) -> Place:
    return Place(places.lifetime[i], places.task[i])


def _outside(draws: Place, place: Place) -> bool:
    """Whether any coordinate is where no draw comes near."""
    return any(
        bool(((x < low - MARGIN * sd) | (x > high + MARGIN * sd)).any())
        for x, low, high, sd in (
            (x, each.min(0), each.max(0), each.std(0) + 1e-6)
            for x, each in zip(place, draws, strict=True)
            if x.size
        )
    )


def _connected(
    program: Program,
    ends: Place,
    heights: np.ndarray,
    i: int,
    known: int,
    at: Place,
    parts: Sequence[Part],
) -> bool:
    """Whether the density hardly dips on the straight way to some end that is known."""
    steps = np.linspace(0.0, 1.0, 9)[1:-1]

    def ways(x: np.ndarray) -> np.ndarray:
        each = [x[i] + np.multiply.outer(steps, x[j] - x[i]) for j in range(known)]
        return np.concatenate(each)

    references = reference(program, _single(at.lifetime), _single(at.task), parts)
    between, _, _ = values_and_slopes(
        program, ways(ends.lifetime), ways(ends.task), parts, references
    )
    lowest = between.astype(float).reshape(known, -1).min(axis=1)
    return bool((lowest > np.minimum(heights[i], heights[:known]) - DIP).any())


def _single(x: np.ndarray) -> Array:
    return jnp.asarray(x, jnp.float32)


def _heaviest(
    program: Program,
    ends: Place,
    candidates: Sequence[int],
    best: int,
    draws: Place,
    parts: Sequence[Part],
) -> Place | None:
    """The mode of the most mass among the candidates, if it is one that the draws lack."""
    known = mode_near(program, _of(ends, best), parts, POLISH)
    if known is None:
        return None
    found: Mode | None = None
    for i in candidates:
        other = mode_near(program, _of(ends, i), parts, POLISH)
        if other is None or not _outside(draws, other.place):
            continue
        pairs = zip(other.place, known.place, strict=True)
        apart = max(np.abs(x - y).max(initial=0.0) for x, y in pairs)
        heavy = other.log_mass > known.log_mass - LIGHTER
        if apart > SAME and heavy and (found is None or other.log_mass > found.log_mass):
            found = other
    return None if found is None else found.place


def _told(program: Program, found: Place, draws: Place, columns: Mapping[str, Array]) -> str:
    """Where the other mode is, by the latent that differs most, in the user's own units."""
    middle, spread = draws.lifetime.mean(0), draws.lifetime.std(0) + 1e-6
    away = np.abs(found.lifetime - middle) / spread
    ends = np.cumsum([0, *(latent.size for latent in program.select(LIFETIME))])
    names = [latent.name for latent in program.select(LIFETIME)]
    name = names[int(np.searchsorted(ends, away.argmax(), side="right")) - 1]
    values = program.constrain(_single(found.lifetime), _single(found.task), columns)
    there = np.ravel(np.asarray(values[name]))
    shown = f"{name} = {there[0]:.4g}" if len(there) == 1 else f"other values of {name}"
    return (
        f"the posterior has another mode, near {shown}, which no draw has seen and whose mass is "
        "not small beside theirs: use another recipe, or a prior that excludes one of the two"
    )
