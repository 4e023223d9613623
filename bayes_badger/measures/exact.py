"""Information in closed form, in nats and double precision: what estimators are held to.

For Gaussians it is ½ log det of what the evidence multiplies a precision by; for conjugate counts a
sum over what can be counted. `tests/test_exact.py` holds each to a value that was computed by other
means.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import betaln, digamma, gammaln


def half_log_det(gain: np.ndarray) -> float | np.ndarray:
    """½ log det(I + G), in nats, of positive semi-definite matrices G, `[..., d, d]`.

    It is the information of evidence with Fisher information G about a latent that is N(0, I)
    (Cover & Thomas 2006, section 8.4).

    Example:
        >>> print(half_log_det(np.diag([1.0, 3.0])) / np.log(2))
        1.5
    """
    gain = np.asarray(gain, float)
    found = 0.5 * np.linalg.slogdet(np.eye(gain.shape[-1]) + gain)[1]
    return found if np.ndim(found) else float(found)


# --- the normal hierarchy: a ~ N(0, gamma²), z_i ~ N(a, tau²), n readings y ~ N(z_i, sigma²)


def normal_level(steps: float, tau: float = 1.0, sigma: float = 1.0) -> float:
    """I(z; D_1:t) of a level z with a known prior: ½ log(1 + t tau² / sigma²).

    Example:
        >>> print(round(normal_level(10.0), 6))
        1.198948
    """
    return float(0.5 * np.log1p(steps * (tau / sigma) ** 2))


def normal_between_tasks(
    steps: float, gamma: float = 1.0, tau: float = 1.0, sigma: float = 1.0
) -> float:
    """I(D_i; D_j) of two tasks: -½ log(1 - ρ²), ρ the correlation of the means of their readings.

    Args:
        steps: Readings of each task; may be infinite.
        gamma: Standard deviation of the shared level.
        tau: Of the tasks' levels around it.
        sigma: Of readings around these.

    Example:
        >>> print(round(normal_between_tasks(np.inf), 6))
        0.143841
    """
    rho = gamma**2 / (gamma**2 + tau**2 + sigma**2 / steps)
    return float(-0.5 * np.log1p(-(rho**2)))


def normal_shared(
    tasks: float, steps: float, gamma: float = 1.0, tau: float = 1.0, sigma: float = 1.0
) -> float:
    """I(a; D_1:m) of the shared level: ½ log(1 + m gamma² / (tau² + sigma² / n)).

    Example:
        >>> print(round(normal_shared(10.0, 10.0), 6))
        1.155817
    """
    return float(0.5 * np.log1p(tasks * gamma**2 / (tau**2 + sigma**2 / steps)))


def normal_total_correlation(
    tasks: float, steps: float, gamma: float = 1.0, tau: float = 1.0, sigma: float = 1.0
) -> float:
    """Total correlation of m tasks (Watanabe 1960): Σ_i I(a; D_i) - I(a; D_1:m).

    Example:
        >>> print(round(normal_total_correlation(10.0, 10.0), 6))
        2.077318
    """
    one, all_of_them = (normal_shared(m, steps, gamma, tau, sigma) for m in (1.0, tasks))
    return tasks * one - all_of_them


# --- counts


def beta_bernoulli(tosses: int, a: float = 1.0, b: float = 1.0) -> float:
    """I(p; D_1:n) of a bias p ~ Beta(a, b): E KL(Beta(a + k, b + n - k), Beta(a, b)).

    Example:
        >>> print(round(beta_bernoulli(10), 6))
        0.853997
    """
    n, k = tosses, np.arange(tosses + 1.0)
    log_ratio = betaln(a + k, b + n - k) - betaln(a, b)
    share = np.exp(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + log_ratio)
    gain = k * digamma(a + k) + (n - k) * digamma(b + n - k) - n * digamma(a + b + n) - log_ratio
    return float(share @ gain)


def dirichlet_categorical(concentration: np.ndarray) -> float:
    """I(p; y) of one draw y from p ~ Dirichlet(c): H(E p) - E H(p).

    Args:
        concentration: `[category]`.

    Example:
        >>> print(round(dirichlet_categorical(np.ones(10)), 6))
        0.373617
    """
    c = np.asarray(concentration, float)
    mean = c / c.sum()
    return float(mean @ (digamma(c + 1) - np.log(mean)) - digamma(c.sum() + 1))


# --- linear-Gaussian


def linear_regression(
    design: np.ndarray, prior: np.ndarray | float = 1.0, noise: float = 1.0
) -> float | np.ndarray:
    """I(w; y) of weights w ~ N(., Λ) and y ~ N(X w, noise²): ½ log det(I + X Λ Xᵀ / noise²).

    Args:
        design: X, `[..., row, feature]`.
        prior: Λ, `[feature, feature]`, or its variance where Λ is a multiple of I.
        noise: A standard deviation.

    Example:
        >>> print(round(linear_regression(np.ones((10, 1))), 6))
        1.198948
    """
    x = np.asarray(design, float)
    root = np.sqrt(prior) if np.ndim(prior) == 0 else np.linalg.cholesky(np.asarray(prior, float))
    scaled = (x * root if np.ndim(prior) == 0 else x @ root) / noise
    return half_log_det(np.swapaxes(scaled, -1, -2) @ scaled)


def gaussian_process(kernel: np.ndarray, noise_variance: float) -> float | np.ndarray:
    """I(f; y) of a Gaussian process at some points: ½ log det(I + K / σ²).

    Args:
        kernel: Covariances of f at the points, `[point, point]`.
        noise_variance: σ².

    Source:
        Srinivas et al. (2010), "Gaussian process optimization in the bandit setting", eq. 3.

    Example:
        >>> x = np.linspace(0, 1, 10)
        >>> kernel = np.exp(-((x - x[:, None]) ** 2) / (2 * 0.2**2))
        >>> print(round(gaussian_process(kernel, 0.01), 6))
        14.498551
    """
    return half_log_det(np.asarray(kernel, float) / noise_variance)


class Shared(NamedTuple):
    """What tasks that are linear-Gaussian say of a shared `a`, of their own z, and of each other.

    Attributes:
        given: I(z_i; D_i | a), `[..., task]`.
        said: The Fisher information of each task about `a`, z integrated out, `[..., task, a, a]`.
    """

    given: np.ndarray
    said: np.ndarray

    @property
    def of_one(self) -> np.ndarray:
        """I(a; D_i) of each task alone, `[..., task]`."""
        return np.asarray(half_log_det(self.said))

    @property
    def of_algorithm(self) -> np.ndarray:
        """I(a; D_1:m) for m = 1, 2, ..., `[..., task]`."""
        return np.asarray(half_log_det(np.cumsum(self.said, -3)))

    @property
    def total_correlation(self) -> np.ndarray:
        """Of the first 1, 2, ... tasks, `[..., task]`."""
        return np.cumsum(self.of_one, -1) - self.of_algorithm

    @property
    def between(self) -> np.ndarray:
        """I(D_i; D_j), `[..., task, task]`; NaN on the diagonal."""
        one = self.of_one
        together = half_log_det(self.said[..., :, None, :, :] + self.said[..., None, :, :, :])
        pairs = one[..., :, None] + one[..., None, :] - np.asarray(together)
        return np.where(np.eye(one.shape[-1], dtype=bool), np.nan, pairs)


def linear_gaussian(information: np.ndarray, shared: int) -> Shared:
    """All of it from each task's Fisher information about (a, z_i), where both are N(0, I).

    A task's latents are integrated out by a Schur complement: what it says of `a` is
    F_aa - F_az (I + F_zz)⁻¹ F_za, and what tasks say adds up.

    Args:
        information: F, `[..., task, a + z, a + z]`.
        shared: How many of the first entries are `a`.

    Example:
        >>> readings = np.full((2, 2, 2), 10.0)  # y ~ N(a + z, 1), ten of each task
        >>> found = linear_gaussian(readings, 1)
        >>> print(found.between[0, 1].round(6), found.of_algorithm.round(6))
        0.128581 [0.323314 0.518046]
    """
    f, k = np.asarray(information, float), shared
    aa, az, zz = f[..., :k, :k], f[..., :k, k:], f[..., k:, k:]
    said = aa - az @ np.linalg.solve(np.eye(f.shape[-1] - k) + zz, np.swapaxes(az, -1, -2))
    said = 0.5 * (said + np.swapaxes(said, -1, -2))
    return Shared(np.asarray(half_log_det(zz)), said)


def shared_regressions(
    designs: np.ndarray,
    centre: float = 64 / 3,
    spread: float = 1.0,
    noise: float = 0.5,
    towards: np.ndarray | None = None,
) -> Shared:
    """Regressions y ~ N(X_i w_i, noise²) with weights w_i ~ N(B μ, spread I), μ ~ N(0, centre I).

    Args:
        designs: X of each task, `[task, row, feature]`.
        centre: Variance of μ.
        spread: Variance of weights around B μ.
        noise: A standard deviation.
        towards: B, `[feature, shared]`; I by default. Ones in one column for one common centre.

    Example:
        >>> found = shared_regressions(np.ones((2, 10, 1)), centre=1.0, noise=1.0)
        >>> print(found.between[0, 1].round(6))
        0.128581
    """
    x = np.asarray(designs, float) / noise
    b = np.eye(x.shape[-1]) if towards is None else np.asarray(towards, float)
    both = np.concatenate([np.sqrt(centre) * x @ b, np.sqrt(spread) * x], -1)
    return linear_gaussian(np.swapaxes(both, -1, -2) @ both, b.shape[-1])
