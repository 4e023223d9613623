"""What a copula leaves over: information in its residuals, in nats.

If a copula is right, what is left of y once x has predicted it, in units of its spread given x, is
independent of x. Correlations that are left between residuals and simple features of x (cubes,
squares, and squares with squares) are information it has missed: -½ log(1 - ρ²) nats each, about
ρ²/2. Their sum exceeds chance where the model is wrong, and is seen in many dimensions, where a
network finds nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from bayes_badger.measures.estimate import Estimate
from bayes_badger.measures.samples.copula import NORMAL
from bayes_badger.measures.samples.scores import uniform_scores


def left_over(x: np.ndarray, y: np.ndarray, dispersion: np.ndarray, df: float) -> Estimate:
    """Nats that simple features still find between x and the residual of y, beyond chance.

    Args:
        x: In coordinates in which the joint distribution is to be Student, `[sample, coordinate]`.
        y: The same.
        dispersion: Of both, x first.
        df: Degrees of freedom.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, noise = rng.normal(size=(2, 4000, 2))
        >>> whole = np.eye(4) + 0.5 * np.diag([1, 1], 2) + 0.5 * np.diag([1, 1], -2)
        >>> right = left_over(x, 0.5 * x + np.sqrt(0.75) * noise, whole, 1e6)
        >>> wrong = left_over(x, 0.5 * x * noise, whole, 1e6)
        >>> bool(right.value < 4 * right.error), bool(wrong.value > 10 * wrong.error)
        (True, True)
    """
    n, m = x.shape
    slope = np.linalg.solve(dispersion[:m, :m], dispersion[:m, m:])
    rest = dispersion[m:, m:] - dispersion[m:, :m] @ slope
    spread = np.ones(n)
    if df < NORMAL:
        far = ((x @ np.linalg.inv(dispersion[:m, :m])) * x).sum(1)
        spread = np.sqrt((df + far) / (df + m))
    residual = np.linalg.solve(np.linalg.cholesky(rest), ((y - x @ slope) / spread[:, None]).T).T
    z, e = _normal(x), _normal(residual)
    # The mean of squares is how far out a sample lies: no network finds it among many coordinates.
    far_out = (z**2).mean(1, keepdims=True)
    plain = np.concatenate([np.ones((n, 1)), z], 1)
    squares, cubes = _beyond(plain, z**2), _beyond(plain, z * far_out)
    of_e, of_square = _beyond(np.ones((n, 1)), e), _beyond(np.ones((n, 1)), e**2)
    excess, variance = 0.0, 0.0
    for a, b in ((cubes, of_e), (squares, of_e), (squares, of_square)):
        rho = a.T @ b / n
        excess += float((rho**2).sum() - rho.size / n)
        variance += 2 * rho.size / n**2
    return Estimate(excess / 2, float(np.sqrt(variance)) / 2)


def _normal(x: np.ndarray) -> np.ndarray:
    return ndtri(uniform_scores(x))


def _beyond(known: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What of x is no linear function of what is known, white, `[sample, direction]`."""
    x = x - known @ np.linalg.solve(known.T @ known, known.T @ x)
    variance, axes = np.linalg.eigh(x.T @ x / len(x))
    kept = variance > 1e-9 * max(variance[-1], 1.0)
    return (x @ axes[:, kept]) / np.sqrt(variance[kept])
