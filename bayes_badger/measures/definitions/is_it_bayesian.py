"""Does a learner revise its beliefs as Bayes' rule asks? One family of tests, one false-alarm rate.

- *martingale*: what it expects to believe after one more row is what it believes,
  Σ_y q(y | D) q(· | D, y) = q(· | D): enumerated where outcomes are a few, else sampled from its
  own predictive.
- *order*: the same evidence, shuffled, gives the same belief. The martingale test alone is blind:
  a counter that forgets passes it.
- *calibration* on what it simulates from its prior, and on what it simulates from its belief after
  given evidence: ranks of each latent, and of the log likelihood, are uniform. *Coverage* is that
  of central 90 % intervals, from the same ranks.
- *contraction* and a *length sweep*: how its beliefs narrow with evidence, and what it loses
  against exact inference where there is one.

What is compared are probabilities of the next outcome, or else mean and mean square of each latent
in standard deviations of the belief. Two sets of draws are multiplied, so that their own noise
adds nothing on average.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import t as student

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop import registry
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.measures.calibration import coverage, holm, ranks, uniformity
from bayes_badger.measures.closed import is_exact, picked
from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.learners import Learner, OfProgram, Seen
from bayes_badger.measures.picture import BLUE, GREY, ORANGE
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Does the learner revise its beliefs as Bayes' rule asks?"
REFERENCE = (
    "Falck et al. (2024), martingale tests; Talts et al. (2018) and Modrák et al. (2023), "
    "simulation-based calibration; Säilynoja et al. (2025), posterior SBC"
)
LEVEL = 0.9
# Numbers whose ranks are looked at; the rest say much the same.
MOST = 40
# Lifetimes that are shuffled, for each whose expectations are followed.
SHUFFLED = 4
LOG_LIKELIHOOD = "log likelihood"


class Check(NamedTuple):
    """One question that is answered with yes or no.

    Attributes:
        chance: Of numbers like these where the answer is yes.
        failed: What a failure is called, one sentence.
    """

    chance: float
    failed: str


def root_mean_square(one: np.ndarray, two: np.ndarray, material: float) -> tuple[Estimate, float]:
    """Size of deviations measured twice, and the chance of it if they are no larger than material.

    Args:
        one: Deviations of each case, `[case, k]`.
        two: The same with independent noise.
        material: A deviation that matters.

    Example:
        >>> import numpy as np
        >>> size, chance = root_mean_square(np.full((9, 1), 0.1), np.full((9, 1), 0.1), 0.01)
        >>> round(size.value, 6), chance
        (0.1, 0.0)
    """
    each = (np.asarray(one, float) * two).mean(1)
    mean, error = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
    size = math.sqrt(max(mean, 0.0))
    own = error / (2 * size) if mean > error else math.sqrt(error)
    if error < 1e-12:
        return Estimate(size, own), float(mean <= material**2)
    return Estimate(size, own), float(student.sf((mean - material**2) / error, len(each) - 1))


def martingale(
    learner: Learner, cases: int, context: int, samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """How what is expected to be believed differs from what is believed, `[case, k]`, twice.

    Args:
        learner: Examined in the world that it believes in.
        cases: Data sets.
        context: Rows of each.
        samples: Outcomes of the next row, where they cannot be listed.
        seed: Of everything random.
    """
    seen, after = _cases(learner, cases, context, seed)
    scale = _scale(learner, seen, seed + 1)
    following = after[:, :1]
    found = []
    for turn in (2, 3):
        key = seed + 10 * turn
        now = _view(learner, seen, after[:, 1], key, scale)
        if learner.outcomes is not None:
            y = np.broadcast_to(learner.outcomes, (cases, len(learner.outcomes)))
            weights = np.exp(learner.log_predictive(seen, following[:, 0], y, key + 1))
        else:
            drawn = learner.draws(seen, key + 1)
            some = {n: x[np.linspace(0, len(x) - 1, samples).astype(int)] for n, x in drawn.items()}
            flat = {n: np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]) for n, x in some.items()}
            _, y = learner.simulate(np.repeat(following, samples, 0), key + 2, flat)
            y = y.reshape(cases, samples, *y.shape[2:])
            weights = np.full((cases, samples), 1 / samples)
        many = weights.shape[1]
        outcomes = y.reshape(cases * many, 1, *y.shape[2:])
        wide = seen.repeated(many).then(np.repeat(following, many, 0), outcomes)
        wider = (
            None if scale is None else (np.repeat(scale[0], many, 0), np.repeat(scale[1], many, 0))
        )
        then = _view(learner, wide, np.repeat(after[:, 1], many), key + 3, wider)
        expected = (weights[..., None] * then.reshape(cases, many, -1)).sum(1)
        found.append(expected - now)
    return found[0], found[1]


def order(learner: Learner, cases: int, context: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How the belief differs when its evidence is shuffled, `[case, k]`, twice."""
    seen, after = _cases(learner, cases, context, seed)
    scale = _scale(learner, seen, seed + 1)
    mixed = np.argsort(np.random.default_rng(seed).uniform(size=seen.places.shape), axis=1)
    rows = np.arange(cases)[:, None]
    shuffled = Seen(seen.places[rows, mixed], seen.outcomes[rows, mixed])
    found = []
    for turn in (2, 3):
        views = [
            _view(learner, one, after[:, 1], seed + 10 * turn + i, scale)
            for i, one in enumerate((seen, shuffled))
        ]
        found.append(views[1] - views[0])
    return found[0], found[1]


def calibration(
    learner: Learner, cases: int, steps: int, seed: int, observed: Seen | None = None
) -> dict[str, np.ndarray]:
    """Ranks of what was drawn among draws of the belief after evidence from it, by name, `[case]`.

    Args:
        learner: Examined.
        cases: Data sets.
        steps: Rows of each.
        seed: Of everything random.
        observed: Evidence of one case, where it is calibrated after that and not from its prior.
    """
    places = _places(learner, cases, steps)
    if observed is None:
        truth, y = learner.simulate(places, seed)
        seen = Seen(places, y)
    else:
        drawn = learner.draws(observed, seed)
        truth = {n: x[np.linspace(0, len(x) - 1, cases).astype(int), 0] for n, x in drawn.items()}
        _, y = learner.simulate(places, seed + 1, truth)
        seen = observed.repeated(cases).then(places, y)
    belief = learner.draws(seen, seed + 2)
    true = _numbers({n: x[None] for n, x in truth.items()})
    found = {
        name: ranks(true[name][0], x, seed + 3 + i)
        for i, (name, x) in enumerate(_numbers(belief).items())
    }
    likelihood = [
        learner.log_likelihood(x, seen) for x in ({n: x[None] for n, x in truth.items()}, belief)
    ]
    found[LOG_LIKELIHOOD] = ranks(likelihood[0][0], likelihood[1], seed)
    return found


def sweep(
    learner: Learner, cases: int, lengths: list[int], seed: int, reference: Learner | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How wide beliefs are and what they lose against a reference, after more and more rows.

    Returns:
        Log of the geometric mean of standard deviations, `[length, case]`; log score of the next
        row that the reference has more, in nats, `[length, case]`, NaN where there is none.
    """
    places = _places(learner, cases, max(lengths) + 1)
    _, y = learner.simulate(places, seed)
    widths, lost = np.empty((len(lengths), cases)), np.full((len(lengths), cases), np.nan)
    for i, t in enumerate(lengths):
        seen, following = Seen(places[:, :t], y[:, :t]), y[:, t : t + 1]
        sd = np.stack([x.std(0) for x in _numbers(learner.draws(seen, seed + t)).values()])
        with np.errstate(divide="ignore"):
            logs = np.log(sd)
        widths[i] = np.where(np.isfinite(logs), logs, 0.0).mean(0)
        if reference is not None:
            scores = [
                one.log_predictive(seen, places[:, t], following, seed + t)[:, 0]
                for one in (reference, learner)
            ]
            lost[i] = scores[0] - scores[1]
    return widths, lost


class Examined(NamedTuple):
    """What was found of a learner.

    Attributes:
        martingale: Its size, and the smallest that would be told 8 times in 10.
        order: Its size; None where order means something.
        prior: Ranks by name, `[case]`.
        posterior: The same after observed evidence; empty where there is none.
        tests: By name.
        failed: Names of those that fail.
    """

    martingale: tuple[Estimate, float]
    order: Estimate | None
    prior: dict[str, np.ndarray]
    posterior: dict[str, np.ndarray]
    tests: dict[str, Check]
    failed: list[str]


def examined(
    learner: Learner,
    *,
    cases: int = 0,
    shuffled: int = 0,
    simulations: int = 200,
    steps: int = 10,
    samples: int = 16,
    observed: Seen | None = None,
    exchangeable: bool = True,
    material: float = 0.01,
    false_alarm: float = 0.01,
    seed: int = 0,
    report: Report = silent,
) -> Examined:
    """All tests of a learner; the arguments are those of `is_it_bayesian`.

    `shuffled` are the data sets whose order is tested; 0 for as many as there are cases.
    """
    tests: dict[str, Check] = {}
    # Outcomes that can be listed are few: there is time for more data sets.
    cases = cases or (100 if learner.outcomes is not None else 30)
    report("examining", 0, 4, "martingale")
    size, chance = root_mean_square(
        *(pair := martingale(learner, cases, steps, samples, seed)), material
    )
    each = (pair[0] * pair[1]).mean(1)
    need = student.isf(false_alarm, cases - 1) + student.isf(0.2, cases - 1)
    least = math.sqrt(material**2 + need * float(each.std(ddof=1)) / math.sqrt(cases))
    tests["martingale"] = Check(
        chance, f"it expects to change its mind: martingale defect {size.value:.3f}"
    )
    moved = None
    report("examining", 1, 4, "order")
    if exchangeable:
        pair = order(learner, shuffled or cases, steps, seed + 100)
        moved, chance = root_mean_square(*pair, material)
        tests["order"] = Check(
            chance, f"it heeds the order of evidence: order deviation {moved.value:.3f}"
        )
    report("examining", 2, 4, "calibration")
    prior = calibration(learner, simulations, steps, seed + 200)
    report("examining", 3, 4, "calibration after the evidence")
    after = (
        {} if observed is None else calibration(learner, simulations, steps, seed + 300, observed)
    )
    for kind, found in (("prior", prior), ("posterior", after)):
        for name, u in found.items():
            tests[f"calibration of {name}, {kind}"] = Check(
                uniformity(u), f"{name} is not calibrated on draws of its {kind}"
            )
            if name != LOG_LIKELIHOOD:
                share, chance = coverage(u, LEVEL)
                tests[f"coverage of {name}, {kind}"] = Check(
                    chance, f"{LEVEL:.0%} intervals of {name} hold {share:.0%}, {kind}"
                )
    report("examining", 4, 4)
    failed = holm({name: test.chance for name, test in tests.items()}, false_alarm)
    return Examined((size, least), moved, prior, after, tests, failed)


def is_it_bayesian(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    simulations: int = 0,
    cases: int = 0,
    steps: int = 10,
    samples: int = 16,
    longest: int = 64,
    material: float = 0.01,
    false_alarm: float = 0.01,
) -> xr.Dataset:
    """Whether the run's inner loop is Bayesian, in the world of the run's program.

    Args:
        run: Its inner loop infers anew what it simulates.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        simulations: Data sets for calibration; 0: 200, or 40 lifetimes where tasks share latents.
        cases: Data sets for martingale and order; 0: 30, 100 where outcomes are a few, 6 lifetimes
            where tasks share latents.
        steps: Rows of each; of a lifetime as many as the run has at least.
        samples: Outcomes of the next row, where they cannot be listed.
        longest: Rows of the last of the length sweep; 0 for none.
        material: A deviation, in probability or standard deviations, that matters.
        false_alarm: The chance that a sound learner fails any test.

    Returns:
        `martingale`, `order`, `chance` of each test, `coverage`, ranks, and the length sweep. What
        fails is a doubt.

    Raises:
        BadgerError: Where the settings leave nothing to test.

    Example:
        >>> import bayes_badger as bb
        >>> run = bb.fit("gaussian", tasks=2, steps=2, inference="exact")
        >>> found = bb.measures.is_it_bayesian(run, simulations=3, cases=2, samples=2, longest=0)
        >>> float(found["coverage_prior_exact"][0])
        0.9
    """
    subject = opened(run, program)
    loop = picked(subject.inner_loop, subject.program, subject.evidence)
    trust = str(run.spec.get("trust", "weigh"))
    learner = OfProgram(subject.program, loop, subject.evidence, trust)
    simulations = simulations or (40 if learner.shared else 200)
    cases = cases or (6 if learner.shared else 0)
    if simulations < 2 or cases == 1 or steps < 1:
        raise BadgerError(
            "is_it_bayesian: simulations and cases are at least 2, and steps 1: with fewer nothing "
            "is tested"
        )
    observed = _observed(learner, subject)
    found = examined(
        learner,
        cases=cases,
        # Lifetimes are few, and to shuffle one takes less than to let it expect: more of them.
        shuffled=SHUFFLED * cases if learner.shared else 0,
        simulations=simulations,
        steps=max(steps, learner.size) if learner.shared else steps,
        samples=samples,
        observed=observed,
        exchangeable=not subject.program.signature.stateful,
        material=material,
        false_alarm=false_alarm,
        seed=seed,
        report=report,
    )
    told = "probability" if learner.outcomes is not None else "sd"
    size, least = found.martingale
    quantities = {"martingale": Quantity("martingale defect", *size[:2], units=told)}
    if found.order is not None:
        quantities["order"] = Quantity("order deviation", *found.order[:2], units=told)
    names = list(found.prior)
    coords: dict[Hashable, Any] = {"test": list(found.tests), "quantity": names}
    chances = np.array([x.chance for x in found.tests.values()])
    quantities["chance"] = Quantity("chance if it is sound", chances, dims=("test",), units="share")
    for kind, own in (("prior", found.prior), ("posterior", found.posterior)):
        if own:
            u = np.stack([own[name] for name in names])
            held = np.array([coverage(x, LEVEL)[0] for x in u])
            error = np.sqrt(LEVEL * (1 - LEVEL) / u.shape[1])
            quantities[f"coverage_{kind}"] = Quantity(
                f"coverage, {kind}", held, error, LEVEL, ("quantity",), "share"
            )
            quantities[f"ranks_{kind}"] = Quantity(
                f"ranks, {kind}", u, dims=("quantity", "simulation"), units="share"
            )
    if longest:
        quantities |= _swept(subject, learner, cases or 30, longest, seed, coords)
    notes = [
        f"{len(found.tests)} tests at one false-alarm rate of {false_alarm:g} (Holm)",
        f"a martingale defect of {least:.3f} would be told 8 times in 10",
    ]
    doubts = [found.tests[name].failed for name in found.failed]
    return labelled("is_it_bayesian", REFERENCE, quantities, coords, notes, doubts)


def _swept(
    subject: Subject,
    learner: OfProgram,
    cases: int,
    longest: int,
    seed: int,
    coords: dict[Hashable, Any],
) -> dict[str, Quantity]:
    """Contraction and what is lost against exact inference, where there is one."""
    lengths = [2**i for i in range(int(math.log2(max(longest, 2))) + 1)]
    reference = None
    if not is_exact(learner.loop):
        for name in ("exact", "enumerate"):
            module = registry.module(name)
            other = module.make(module.Settings())
            if other.why_not(subject.program, subject.evidence) is None:
                reference = OfProgram(subject.program, other, subject.evidence)
                break
    widths, lost = sweep(learner, cases, lengths, seed + 400, reference)
    mean, error = widths.mean(1), widths.std(1, ddof=1) / np.sqrt(cases)
    late = np.arange(len(lengths)) >= len(lengths) // 2
    design = np.log(np.array(lengths)[late])
    slopes = np.polyfit(design, widths[late], 1)[0] if late.sum() > 1 else np.full(cases, np.nan)
    coords["length"] = lengths
    found = {
        "contraction": Quantity(
            "slope of log sd on log rows",
            float(slopes.mean()),
            float(slopes.std(ddof=1) / np.sqrt(cases)),
            units="per log row",
        ),
        "width": Quantity(
            "posterior sd", np.exp(mean), np.exp(mean) * error, dims=("length",), units="latent"
        ),
    }
    if reference is not None:
        own = lost.std(1, ddof=1) / np.sqrt(cases)
        found["lost"] = Quantity("lost to exact inference", lost.mean(1), own, dims=("length",))
    return found


def _observed(learner: OfProgram, subject: Subject) -> Seen | None:
    outcome = learner.design.outcome
    if outcome is None or not learner.size:
        return None
    return Seen(np.arange(learner.size)[None], np.asarray(outcome)[learner.order][None])


def _places(learner: Learner, cases: int, steps: int) -> np.ndarray:
    return np.tile(np.arange(steps) % max(learner.size, 1), (cases, 1))


def _cases(learner: Learner, cases: int, context: int, seed: int) -> tuple[Seen, np.ndarray]:
    """Simulated evidence, and the places of the next two rows, `[case, 2]`."""
    places = _places(learner, cases, context + 2)
    _, y = learner.simulate(places[:, :context], seed)
    return Seen(places[:, :context], y), places[:, context:]


def _view(learner: Learner, seen: Seen, place: np.ndarray, seed: int, scale: Any) -> np.ndarray:
    """What is compared of a belief, `[case, k]`."""
    if learner.outcomes is not None:
        y = np.broadcast_to(learner.outcomes, (len(place), len(learner.outcomes)))
        return np.exp(learner.log_predictive(seen, place, y, seed))
    numbers = _stacked(learner.draws(seen, seed))
    z = (numbers - scale[0]) / scale[1]
    return np.concatenate([z.mean(0), (z**2).mean(0)], -1)


def _scale(learner: Learner, seen: Seen, seed: int) -> Any:
    """Mean and standard deviation of each latent, `[case, k]`; None where outcomes are a few."""
    if learner.outcomes is not None:
        return None
    numbers = _stacked(learner.draws(seen, seed))
    sd = numbers.std(0)
    return numbers.mean(0), np.where(sd > 0, sd, 1.0)


def _stacked(draws: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.stack(list(_numbers(draws).values()), -1).astype(float)


def _numbers(draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each number by name, `[draw, case]`; at most so many."""
    found: dict[str, np.ndarray] = {}
    for name, x in draws.items():
        for place in np.ndindex(*x.shape[2:]):
            if len(found) == MOST:
                return found
            label = f"{name}[{', '.join(map(str, place))}]" if place else name
            found[label] = np.asarray(x)[(..., *place)]
    return found


def plot(found: xr.Dataset, axes: Axes) -> None:
    """How far the shares of ranks are from uniform: inside the band all is well."""
    u = found["ranks_prior"].values
    grid = np.linspace(0, 1, 101)
    band = 3 * np.sqrt(grid * (1 - grid) / u.shape[1])
    axes.fill_between(grid, -band, band, color=GREY, alpha=0.25, label="3 standard errors")
    for i, own in enumerate(u):
        apart = (own[:, None] <= grid).mean(0) - grid
        last = i == len(u) - 1
        label = LOG_LIKELIHOOD if last else ("latents" if not i else None)
        axes.plot(grid, apart, color=ORANGE if last else BLUE, linewidth=1, label=label)
    axes.set_xlabel("rank of the truth among draws (share)")
    axes.set_ylabel("share of cases below, less uniform")
    axes.legend(frameon=False)
