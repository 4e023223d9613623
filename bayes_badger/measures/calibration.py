"""Ranks and what they tell: uniform where a belief is calibrated, whatever it is a belief about.

A draw of the world and draws of the belief after evidence from it are exchangeable under exact
Bayes (Talts et al. 2018), and so is any function of them and of the data (Modrák et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import binom, chi2

# Draws that a rank is among: the rest would be correlated, or say no more.
AMONG = 100
# Legendre polynomials of the smooth test: location, scale, skew and peak.
ORDER = 4


def ranks(truth: np.ndarray, draws: np.ndarray, seed: int = 0) -> np.ndarray:
    """Where the truth lies among draws, ties broken at random: uniform on (0, 1).

    Args:
        truth: `[case, ...]`.
        draws: `[draw, case, ...]`.
        seed: Of what breaks ties and fills the gaps between ranks.

    Returns:
        `[case, ...]`.

    Example:
        >>> import numpy as np
        >>> ranks(np.array([9.0]), np.arange(9.0)[:, None]).round()
        array([1.])
    """
    chance = np.random.default_rng(seed)
    some = np.asarray(draws)[np.linspace(0, len(draws) - 1, min(AMONG, len(draws))).astype(int)]
    below, equal = (some < truth).sum(0), (some == truth).sum(0)
    found: np.ndarray = (below + chance.uniform(size=np.shape(truth)) * (equal + 1)) / (
        len(some) + 1
    )
    return found


def uniformity(u: np.ndarray) -> float:
    """The chance of ranks as uneven as these, by Neyman's smooth test of order 4.

    Args:
        u: Ranks, `[case]`, on (0, 1).

    Example:
        >>> import numpy as np
        >>> u = np.random.default_rng(0).uniform(size=200)
        >>> uniformity(u) > 0.01, uniformity(u**2) < 1e-6
        (True, True)
    """
    x = 2 * np.asarray(u, float) - 1
    total = 0.0
    for order in range(1, ORDER + 1):
        basis = np.polynomial.legendre.Legendre.basis(order)(x) * np.sqrt(2 * order + 1)
        total += basis.sum() ** 2 / len(x)
    return float(chi2.sf(total, ORDER))


def coverage(u: np.ndarray, level: float) -> tuple[float, float]:
    """The share of truths in the central interval of that level, and its chance if it holds.

    Example:
        >>> import numpy as np
        >>> share, chance = coverage(np.linspace(0.005, 0.995, 100), 0.9)
        >>> round(share, 2), chance > 0.9
        (0.9, True)
    """
    inside = int((np.abs(np.asarray(u) - 0.5) <= level / 2).sum())
    n = len(u)
    tail = min(binom.cdf(inside, n, level), binom.sf(inside - 1, n, level))
    return inside / n, float(min(1.0, 2 * tail))


def holm(chances: Mapping[str, float], false_alarm: float) -> list[str]:
    """Which tests fail, so that all are passed but for one declared chance (Holm 1979).

    Args:
        chances: Of each test, by name.
        false_alarm: The chance that a sound learner fails any of them.

    Example:
        >>> holm({"a": 0.001, "b": 0.03, "c": 0.04}, 0.05)
        ['a']
    """
    failed: list[str] = []
    ordered = sorted(chances.items(), key=lambda x: x[1])
    for i, (name, chance) in enumerate(ordered):
        if chance > false_alarm / (len(ordered) - i):
            break
        failed.append(name)
    return failed
