"""Student copula: correlations of ranks, and tails that come together, by maximum likelihood.

Every coordinate is replaced by Student quantiles of its ranks, so that only the dependence is left,
and that is modelled as a joint Student distribution with one dispersion matrix and `df` degrees of
freedom. Many degrees of freedom are the Gaussian copula, whose mutual information is that of the
canonical correlations, Σ -½ log(1 - ρ²) (Kay 1992; Arellano-Valle et al. 2013 for the Student).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import digamma, gammaln
from scipy.stats import t as student

# Degrees of freedom that are tried. To rounding, the last is the normal distribution.
NORMAL = 1e6
DF = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0, 50.0, NORMAL)
STEPS = 12


class Copula(NamedTuple):
    """A Student copula.

    Attributes:
        df: Degrees of freedom.
        dispersion: With a diagonal of ones, `[coordinate, coordinate]`, those of x first.
        dims: How many coordinates are of x.
    """

    df: float
    dispersion: np.ndarray
    dims: int

    def quantiles(self, uniform: np.ndarray) -> np.ndarray:
        """Coordinates in which it is a Student distribution, from ranks between 0 and 1."""
        return quantiles(uniform, self.df)

    def information(self) -> float:
        """Its mutual information, in closed form."""
        m, d = self.dims, len(self.dispersion)
        whole, x, y = (
            np.linalg.slogdet(a)[1]
            for a in (self.dispersion, self.dispersion[:m, :m], self.dispersion[m:, m:])
        )

        def f(k: int) -> float:
            a = (self.df + k) / 2
            return float(-gammaln(a) + a * (digamma(a) - digamma(self.df / 2)))

        tails = 0.0 if self.df >= NORMAL else f(m) + f(d - m) - f(d) - f(0)
        return float(x + y - whole) / 2 + tails

    def critic(self) -> tuple[Any, ...]:
        """What `scores` needs: df, a constant, and the matrices of its quadratic forms."""
        m, d, df = self.dims, len(self.dispersion), self.df
        x, y = np.linalg.inv(self.dispersion[:m, :m]), np.linalg.inv(self.dispersion[m:, m:])
        whole = np.linalg.inv(self.dispersion)
        log_det = [np.linalg.slogdet(a)[1] for a in (x, y, whole)]
        constant = (log_det[2] - log_det[0] - log_det[1]) / 2
        if df < NORMAL:
            constant += float(
                gammaln((df + d) / 2)
                + gammaln(df / 2)
                - gammaln((df + m) / 2)
                - gammaln((df + d - m) / 2)
            )
        return (
            np.float64(df),
            np.float64(constant),
            x,
            y,
            whole[:m, :m],
            whole[m:, m:],
            whole[:m, m:],
        )


def scores(critic: tuple[Any, ...], x: Any, y: Any, numpy: Any = np) -> Any:
    """The log of c(x, y) / c(x) c(y), of every x with every y, `[x, y]`, in nats.

    Args:
        critic: `Copula.critic`.
        x: Quantiles, `[x, coordinate]`.
        y: Quantiles, `[y, coordinate]`.
        numpy: `jax.numpy`, to trace it.
    """
    df, constant, of_x, of_y, all_x, all_y, across = critic
    m, n = x.shape[-1], y.shape[-1]

    def form(a: Any, z: Any) -> Any:
        return ((z @ a) * z).sum(-1)

    def tail(k: int, q: Any) -> Any:
        return (df + k) / 2 * numpy.log1p(numpy.maximum(q, 0) / df)

    whole = form(all_x, x)[:, None] + form(all_y, y)[None] + 2 * (x @ across) @ y.T
    apart = tail(m, form(of_x, x))[:, None] + tail(n, form(of_y, y))[None]
    return constant + apart - tail(m + n, whole)


def quantiles(uniform: np.ndarray, df: float) -> np.ndarray:
    """Student quantiles, by interpolation between those of a fine grid."""
    grid = np.unique(uniform)
    if len(grid) > 20_000:
        grid = np.quantile(grid, np.linspace(0, 1, 20_000))
    return np.interp(uniform, grid, student.ppf(grid, df))


def fit(uniform: np.ndarray, dims: int) -> Copula:
    """The copula of highest likelihood; for each `df` the dispersion is found by EM.

    Args:
        uniform: Ranks between 0 and 1, `[sample, coordinate]`, those of x first.
        dims: How many coordinates are of x.
    """
    best, found = -np.inf, Copula(NORMAL, np.eye(uniform.shape[1]), dims)
    for df in DF:
        z = quantiles(uniform, df)
        dispersion = _dispersion(z, df)
        value = _log_likelihood(z, df, dispersion)
        if value > best:
            best, found = value, Copula(df, dispersion, dims)
    return found


def _dispersion(z: np.ndarray, df: float) -> np.ndarray:
    d = z.shape[1]
    a = np.eye(d) if df < NORMAL else np.corrcoef(z.T).reshape(d, d)
    for _ in range(STEPS if df < NORMAL else 0):
        far = ((z @ np.linalg.inv(a)) * z).sum(1)
        a = (z * ((df + d) / (df + far))[:, None]).T @ z / len(z)
        sd = np.sqrt(np.diagonal(a))
        a = a / np.outer(sd, sd)
    # Short of singular, as where a coordinate comes twice.
    return 0.999999 * a + 0.000001 * np.eye(d)


def _log_likelihood(z: np.ndarray, df: float, a: np.ndarray) -> float:
    d = z.shape[1]
    far = ((z @ np.linalg.inv(a)) * z).sum(1)
    whole = gammaln((df + d) / 2) - (df + d) / 2 * np.log1p(far / df)
    apart = gammaln((df + 1) / 2) - (df + 1) / 2 * np.log1p(z**2 / df)
    if df >= NORMAL:
        whole, apart = -far / 2, -(z**2) / 2
        return float(whole.mean() - apart.sum(1).mean() - np.linalg.slogdet(a)[1] / 2)
    rest = (d - 1) * gammaln(df / 2) - np.linalg.slogdet(a)[1] / 2
    return float(whole.mean() - apart.sum(1).mean() + rest)


def sparser(copula: Copula, n: int) -> Copula:
    """The same without canonical correlations that n independent samples would show as well.

    Their squares stay below (√(a (1 - b)) + √(b (1 - a)))², a and b dimensions per sample (Wachter
    1980).
    """
    m, r = copula.dims, copula.dispersion
    root_x, root_y = np.linalg.cholesky(r[:m, :m]), np.linalg.cholesky(r[m:, m:])
    u, s, v = np.linalg.svd(np.linalg.solve(root_x, np.linalg.solve(root_y, r[m:, :m]).T))
    a, b = m / n, (len(r) - m) / n
    edge = (np.sqrt(a * (1 - b)) + np.sqrt(b * (1 - a))) ** 2
    kept = np.flatnonzero(s**2 > 1.2 * edge)
    across = root_x @ (u[:, kept] * s[kept]) @ (root_y @ v[kept].T).T
    whole = r.copy()
    whole[:m, m:], whole[m:, :m] = across, across.T
    return copula._replace(dispersion=whole)
