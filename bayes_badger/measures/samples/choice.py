"""Mutual information between two sets of samples, and which estimator of it is to be believed.

Samples are divided into folds; a critic is made from the others, and what it proves is measured on
the fold (cross-fitting). In each fold that critic is taken which does best on samples apart: none,
a Student copula with all or with the clear correlations only, or one that networks have moved. On
samples it was made from a critic seems to know more than its kind can, on others it knows less: the
two enclose what its kind of critic can find. That kind may be too poor, and two witnesses speak to
that: what is left over between residuals and simple features (`misfit`), and the distances to
neighbours, where dimensions are few (`ksg`). Thresholds were chosen on distributions of known truth
other than those that the result is held to.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from scipy.special import ndtri

from bayes_badger.errors import BadgerError
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.measures.labelled import Quantity, labelled
from bayes_badger.measures.samples import copula, neural
from bayes_badger.measures.samples.bound import AMONG, held_out
from bayes_badger.measures.samples.ksg import ksg
from bayes_badger.measures.samples.misfit import left_over
from bayes_badger.measures.samples.scores import normal_scores, samples, uniform_scores

REFERENCE = (
    "Kraskov et al. (2004); van den Oord et al. (2018); Czyż et al. (2023), tasks of known truth"
)
LEAST = 200
# Neighbours are asked up to so many dimensions, and believed alone up to so many.
FEW_DIMENSIONS, FEWER_DIMENSIONS, MANY_NEIGHBOURS = 6, 3, 20
# Of the logarithm of how many pairs compete a bound keeps this far away, or it is cut short.
CLEAR_OF_THE_CAP = 3.5


class Witness(NamedTuple):
    """What one kind of critic says.

    Attributes:
        proven: A lower bound, on samples that it was not made from.
        seeming: The same on those that it was made from.
        left_over: What simple features find in its residuals.
    """

    proven: Estimate
    seeming: float
    left_over: Estimate

    @property
    def middle(self) -> float:
        """Between what is proven and what seems."""
        return (float(self.proven.value) + self.seeming) / 2

    @property
    def half(self) -> float:
        """Half the distance between the two."""
        return max(self.seeming - float(self.proven.value), 0.0) / 2

    @property
    def error(self) -> float:
        """Of the middle: of what is proven, and as if the truth were anywhere between the two."""
        return float(np.hypot(self.proven.error, self.half / np.sqrt(3)))


class Belief(NamedTuple):
    """A value that is believed; or, with a doubt, none that is."""

    method: str
    estimate: Estimate
    reason: str


class _Folded(NamedTuple):
    """Per fold: contributions of held-out samples, what seems, what is left over, who was taken."""

    proven: np.ndarray
    seeming: float
    left_over: Estimate
    taken: str
    copula_proven: np.ndarray
    copula_seeming: float


def allowed(value: float) -> float:
    """How far off a believed number may be, in nats: half of a tenth and .02."""
    return 0.05 * abs(value) + 0.01


def information_between_samples(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    folds: int = 3,
    steps: int = 3000,
    neighbours: int = 3,
) -> xr.Dataset:
    """I(x; y) in nats from pairs of samples alone, by the estimator that is to be trusted.

    Args:
        x: Samples, `[sample, coordinate]` or `[sample]`, in any units: only ranks count.
        y: Those that belong to them, one for each, independent of the other pairs.
        seed: Of the folds and of training.
        folds: Samples are held out once each, in so many parts.
        steps: Of training in each fold, at most; 0 leaves the networks out.
        neighbours: Of the estimate from distances.

    Returns:
        `information`, NaN where no estimator is to be trusted, and then `doubts` says why;
        `proven`, a lower bound in any case; what each estimator says: `copula`, `critic` (the best
        critic, the middle of what it proves and what it seems to know), `left_over` (what simple
        features find beyond it), and where dimensions are few `neighbours` and `many_neighbours`.
        `attrs["believed"]` names the estimator; notes say why. All are blind to a dependence that
        none of them can see, as a parity of many coordinates.

    Raises:
        BadgerError: For samples that are not finite, not numbers, constant, too few, or unpaired.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=1000)
        >>> y = 0.75 * x + np.sqrt(1 - 0.75**2) * rng.normal(size=1000)
        >>> found = information_between_samples(x, y, steps=0)
        >>> bool(abs(found["information"] - 0.4133) < 3 * found["information_se"])
        True
    """
    x, y = samples("x", x, LEAST), samples("y", y, LEAST)
    if len(x) != len(y):
        raise BadgerError(f"x has {len(x)} samples and y has {len(y)}: they must be pairs")
    if folds < 2 or len(x) // folds < LEAST // 5:
        raise BadgerError(
            f"folds = {folds} must be at least 2, and leave {LEAST // 5} samples each"
        )
    # What ranks and scores are is settled for x without y, and for y without x.
    uniform = np.concatenate([uniform_scores(x), uniform_scores(y)], 1)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(x)), folds)
    told = [_fold(uniform, x.shape[1], parts, i, seed, steps) for i in range(folds)]
    critic, plain = _witnesses(told)
    taken = sorted({fold.taken for fold in told})
    near = _neighbours(x, y, neighbours)
    belief = judged(critic, taken, near, x.shape[1] + y.shape[1])
    return _labelled(belief, critic, plain, near, taken)


def _fold(
    uniform: np.ndarray, m: int, parts: list[np.ndarray], i: int, seed: int, steps: int
) -> _Folded:
    rows, rest = parts[i], np.concatenate([p for j, p in enumerate(parts) if j != i])
    seen, apart = rest[len(rest) // 6 :], rest[: len(rest) // 6]
    fitted = copula.fit(uniform[seen], m)
    nothing = fitted._replace(df=copula.NORMAL, dispersion=np.eye(len(fitted.dispersion)))
    kinds = [nothing, copula.sparser(fitted, len(seen)), fitted]
    at = [float(_proven(c, uniform, apart).mean()) for c in kinds]
    best = kinds[int(np.argmax(at))]
    told, seems = _proven(best, uniform, rows), float(_proven(best, uniform, seen).mean())
    left = _left_over(best.quantiles(uniform[rows]), best)
    name = "copula" if best is not nothing else "nothing"
    found = _Folded(told, seems, left, name, told, seems)
    if not steps:
        return found
    base = best if best is not nothing else kinds[1]
    score, of = ndtri(uniform), base.quantiles(uniform)
    sides = neural.single(neural.Sides(score[:, :m], score[:, m:], of[:, :m], of[:, m:]))
    key = jax.random.fold_in(jax.random.key(seed), i)
    learned = neural.train(base.critic(), sides.at(seen), sides.at(apart), key, steps)
    # Less is within what the choice between them gains by chance.
    if learned.apart <= max(at) + allowed(max(at)) / 2:
        return found
    df = np.float32(base.df)

    def networks(on: np.ndarray) -> np.ndarray:
        return held_out(lambda r: neural.scores(learned.weights, df, sides.at(r)), on)

    # Where the networks have moved them, coordinates should be those of a copula.
    to = np.concatenate(neural.moved(learned.weights, sides.at(rows)), 1).astype(float)
    again = copula.fit(uniform_scores(to), m)
    left = _left_over(again.quantiles(uniform_scores(to)), again)
    return _Folded(networks(rows), float(networks(seen).mean()), left, "networks", told, seems)


def _proven(c: copula.Copula, uniform: np.ndarray, on: np.ndarray) -> np.ndarray:
    z, form, m = c.quantiles(uniform), c.critic(), c.dims
    return held_out(lambda r: copula.scores(form, z[r, :m], z[r, m:]), on)


def _left_over(z: np.ndarray, c: copula.Copula) -> Estimate:
    """The larger of what x leaves of y, and y of x."""
    m, d = c.dims, len(c.dispersion)
    other = np.r_[m:d, :m]
    swapped = c.dispersion[np.ix_(other, other)]
    of_y = left_over(z[:, :m], z[:, m:], c.dispersion, c.df)
    of_x = left_over(z[:, m:], z[:, :m], swapped, c.df)
    return of_y if float(of_y.value) > float(of_x.value) else of_x


def _witnesses(told: list[_Folded]) -> tuple[Witness, Witness]:
    """The best critics, and the copula alone."""
    left = Estimate(
        float(np.mean([fold.left_over.value for fold in told])),
        float(np.sqrt(np.mean([np.square(fold.left_over.error) for fold in told]) / len(told))),
    )
    critic = mean_of(np.concatenate([fold.proven for fold in told]))
    plain = mean_of(np.concatenate([fold.copula_proven for fold in told]))
    return (
        Witness(critic, float(np.mean([fold.seeming for fold in told])), left),
        Witness(plain, float(np.mean([fold.copula_seeming for fold in told])), left),
    )


def _neighbours(x: np.ndarray, y: np.ndarray, k: int) -> tuple[Estimate, Estimate] | None:
    """With few neighbours and with many; None where they say nothing."""
    if x.shape[1] + y.shape[1] > FEW_DIMENSIONS:
        return None
    if any(len(np.unique(a, axis=0)) < len(a) for a in (x, y)):
        return None
    a, b = normal_scores(x), normal_scores(y)
    return ksg(a, b, k), ksg(a, b, MANY_NEIGHBOURS)


def judged(
    critic: Witness, taken: list[str], near: tuple[Estimate, Estimate] | None, dims: int
) -> Belief:
    """Which number is to be believed, if any.

    Args:
        critic: What the best critics say.
        taken: Which kinds of them there were, among the folds.
        near: KSG with few and with many neighbours, where dimensions are few.
        dims: Of x and y together.
    """
    proven, error = float(critic.proven.value), float(critic.proven.error)
    method = "critic" if "networks" in taken else "copula"
    middle = Estimate(critic.middle, critic.error)
    cap = np.log(AMONG) - CLEAR_OF_THE_CAP
    if near is not None:
        few, many = float(near[0].value), float(near[1].value)
        noise = float(near[0].error)
        steady = abs(few - many) <= allowed(few) + 2 * noise
        # Where the number of neighbours still matters there is as much bias again.
        steadied = Estimate(few, float(np.hypot(noise, few - many)))
        apart = few - critic.middle
        close = 2 * allowed(max(few, critic.middle)) + 2 * float(np.hypot(error, noise))
        if steady and abs(apart) <= close:
            if method == "copula" and float(critic.left_over.value) <= allowed(proven) / 2:
                return Belief("copula", middle, "distances to neighbours agree with it")
            if dims <= FEWER_DIMENSIONS:
                return Belief("neighbours", steadied, "few or many neighbours, and critics, agree")
            if critic.half <= allowed(critic.middle):
                return Belief(method, middle, "distances to neighbours agree with it")
        elif steady and apart > 0:
            if dims <= FEWER_DIMENSIONS:
                return Belief("neighbours", steadied, "critics found less, neighbours are steady")
            return Belief(
                "", middle, f"neighbours say {few:.3f} and the critics {critic.middle:.3f}"
            )
    if max(proven, critic.seeming) > cap:
        return Belief("", middle, f"critics cannot prove much more than {cap:.1f} nats")
    if critic.half > allowed(critic.middle):
        return Belief(
            "",
            middle,
            f"critics prove {proven:.3f} and seem to know {critic.seeming:.3f}: too few samples "
            "for this dependence",
        )
    left, left_error = float(critic.left_over.value), float(critic.left_over.error)
    if left > max(allowed(proven) / 2, 4 * left_error):
        return Belief(
            "", middle, f"simple features find {left:.3f} nats that the critics have missed"
        )
    if 4 * left_error > 2 * allowed(proven):
        return Belief("", middle, "too few samples to see whether the critics have missed anything")
    reason = "what it proves and what it seems to know are close, and its residuals say no more"
    return Belief(method, middle, reason)


def _labelled(
    belief: Belief,
    critic: Witness,
    plain: Witness,
    near: tuple[Estimate, Estimate] | None,
    taken: list[str],
) -> xr.Dataset:
    value, error = float(belief.estimate.value), float(belief.estimate.error)
    trusted = bool(belief.method)
    left = critic.left_over
    quantities = {
        "information": Quantity(
            "mutual information", value if trusted else np.nan, error if trusted else np.nan
        ),
        "proven": Quantity("lower bound", critic.proven.value, critic.proven.error),
        "critic": Quantity(
            "best critic", critic.middle, np.hypot(critic.proven.error, critic.half)
        ),
        "copula": Quantity("copula", plain.middle, plain.error),
        "left_over": Quantity("left over in residuals", left.value, left.error),
    }
    if near is not None:
        quantities["neighbours"] = Quantity("few neighbours", near[0].value, near[0].error)
        quantities["many_neighbours"] = Quantity("many neighbours", near[1].value, near[1].error)
    notes = [f"critics of the folds: {', '.join(taken)}"]
    doubts = []
    if trusted:
        notes.insert(0, f"{belief.method} is believed: {belief.reason}")
    else:
        doubts.append(f"not trusted here: {belief.reason}; at least {critic.proven.value:.3f} nats")
    found = labelled(
        "information_between_samples", REFERENCE, quantities, notes=notes, doubts=doubts
    )
    found.attrs["believed"] = belief.method
    return found
