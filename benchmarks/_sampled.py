"""Pairs of samples whose mutual information is known: the families of Czyż et al. (2023).

Each task is a way to draw `(x, y)` and the truth, in nats. All truths are closed forms or one
integral: mutual information does not change under one-to-one maps of x alone or of y alone, so
that a task is a base with a known value, and maps.

- Normal: -½ log det(R) + ½ log det(R_xx) + ½ log det(R_yy), R the joint correlation.
- Student, of dispersion R with ν degrees of freedom: that of the normal with R, plus
  f(ν+m) + f(ν+n) - f(ν+m+n) - f(ν), f(a) = -log Γ(a/2) + a/2 (ψ(a/2) - ψ(ν/2)), for dimensions m
  and n: positive even where nothing is correlated (Arellano-Valle et al. 2013).
- Additive noise, x ~ U(0, 1), y = x + U(-ε, ε): h(y) - log 2ε is ε - log 2ε to ε = ½, then 1/4ε.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln, ndtr, ndtri

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
Map = Callable[[np.ndarray], np.ndarray]


class Task(NamedTuple):
    """A joint distribution of x and y, and I(x; y) in nats."""

    name: str
    truth: float
    draw: Draw

    def through(self, name: str, of_x: Map, of_y: Map | None = None) -> Task:
        """The same information, seen through a one-to-one map of each."""

        def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
            x, y = self.draw(rng, n)
            return of_x(x), (of_y or of_x)(y)

        return Task(f"{name} {self.name}".strip(), self.truth, draw)


def normal_information(r: np.ndarray, m: int) -> float:
    """Of the first m coordinates and the rest, from their joint correlation."""
    whole, x, y = (np.linalg.slogdet(a)[1] for a in (r, r[:m, :m], r[m:, m:]))
    return float(x + y - whole) / 2


def student_excess(df: float, m: int, n: int) -> float:
    """What a Student distribution adds to the normal of its dispersion."""

    def f(k: int) -> float:
        a = (df + k) / 2
        return float(-gammaln(a) + a * (digamma(a) - digamma(df / 2)))

    return f(m) + f(n) - f(m + n) - f(0)


def normal(name: str, r: np.ndarray, m: int, df: float = np.inf) -> Task:
    """Normal, or Student with `df` degrees of freedom, of dispersion `r`."""
    root, d = np.linalg.cholesky(r), len(r)
    truth = normal_information(r, m)
    truth += student_excess(df, m, d - m) if np.isfinite(df) else 0.0

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        z = rng.normal(size=(n, d)) @ root.T
        if np.isfinite(df):
            z /= np.sqrt(rng.chisquare(df, (n, 1)) / df)
        return z[:, :m], z[:, m:]

    return Task(name, truth, draw)


def dense(m: int, n: int, rho: float = 0.5, df: float = np.inf) -> Task:
    """All coordinates are equally correlated."""
    kind = "normal" if np.isinf(df) else f"Student({df:g})"
    r = np.full((m + n, m + n), rho) + (1 - rho) * np.eye(m + n)
    return normal(f"{kind} dense {m}x{n}", r, m, df)


def sparse(m: int, n: int, rho: float = 0.8, pairs: int = 2, df: float = np.inf) -> Task:
    """The first pairs of coordinates are correlated, the rest is noise."""
    kind = "normal" if np.isinf(df) else f"Student({df:g})"
    r, i = np.eye(m + n), np.arange(pairs)
    r[i, m + i] = r[m + i, i] = rho
    return normal(f"{kind} sparse {m}x{n}", r, m, df)


def student(m: int, n: int, df: float) -> Task:
    """Nothing is correlated: all information is in how far out a sample lies."""
    return normal(f"Student({df:g}) {m}x{n}", np.eye(m + n), m, df)


def additive(width: float) -> Task:
    """Uniform x with uniform noise of half-width `width`."""
    truth = 0.25 / width if width > 0.5 else width - np.log(2 * width)

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.uniform(size=(n, 1))
        return x, x + rng.uniform(-width, width, (n, 1))

    return Task(f"additive noise {width:g} 1x1", float(truth), draw)


def half_cube(x: np.ndarray) -> np.ndarray:
    """Longer tails: x |x|^½."""
    return x * np.sqrt(np.abs(x))


def spiral(first: int, speed: float = 1.0) -> Map:
    """Turns two neighbouring coordinates by the mean square of all."""

    def turned(x: np.ndarray) -> np.ndarray:
        angle = speed * (x**2).mean(1)
        a, b = x[:, first], x[:, first + 1]
        found = x.copy()
        found[:, first] = np.cos(angle) * a - np.sin(angle) * b
        found[:, first + 1] = np.sin(angle) * a + np.cos(angle) * b
        return found

    return turned


def spirals(task: Task, speed: float = 1.0) -> Task:
    """Both sides are turned, in different coordinates."""
    return task.through("spiral", spiral(0, speed), spiral(1, speed))


def swiss_roll(turns: float = 1.0) -> Map:
    """Rolls a number between 0 and 1 up in the plane."""

    def rolled(u: np.ndarray) -> np.ndarray:
        t = 1.5 * np.pi * (1 + 2 * turns * u[:, 0])
        return np.stack([t * np.cos(t), t * np.sin(t)], 1) / 21

    return rolled


def bimodal(weight: float, low: float, high: float) -> Map:
    """From a normal number to one of a mixture of two normals, by quantiles."""

    def moved(x: np.ndarray) -> np.ndarray:
        grid = np.linspace(low - 9, high + 9, 20001)
        cdf = weight * ndtr(grid - low) + (1 - weight) * ndtr(grid - high)
        inside = (cdf > 1e-15) & (cdf < 1 - 1e-15)
        return np.interp(x, ndtri(cdf[inside]), grid[inside])

    return moved


def wiggly_x(x: np.ndarray) -> np.ndarray:
    """A monotone map with waves."""
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def wiggly_y(x: np.ndarray) -> np.ndarray:
    """Another."""
    return x - 0.4 * np.sin(0.4 * x) + 0.17 * np.sin(1.3 * x + 3.5) + 0.02 * np.sin(4.3 * x - 2.5)


def tasks() -> list[Task]:
    """The forty."""
    pair = dense(1, 1, 0.75)
    uniform = pair.through("uniform", ndtr)
    found = [
        pair,
        uniform,
        additive(0.1),
        additive(0.75),
        pair.through("bimodal", bimodal(0.3, 0, 5), bimodal(0.5, -1, 3)),
        pair.through("wiggly", wiggly_x, wiggly_y),
        pair.through("half-cube", half_cube),
        student(1, 1, 1),
        student(1, 1, 1).through("asinh", np.arcsinh),
        uniform.through("swiss roll 2x1", swiss_roll(), lambda y: y),
        *(dense(d, d) for d in (2, 3, 5, 25, 50)),
        *(sparse(d, d) for d in (2, 3, 5, 25)),
        *(student(d, d, df) for d, df in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))),
    ]
    pairs = [sparse(d, d) for d in (3, 5, 25)]
    found += [x.through("uniform", ndtr) for x in pairs]
    found += [x.through("half-cube", half_cube) for x in pairs]
    found += [spirals(x) for x in pairs]
    found += [spirals(x.through("uniform", ndtr)) for x in pairs]
    found += [student(d, d, df).through("asinh", np.arcsinh) for d, df in ((2, 1), (3, 2), (5, 2))]
    return found


def others() -> list[Task]:
    """Of other parameters, dimensions and families: what thresholds were chosen on."""
    pair = dense(1, 1, 0.6)
    uniform = pair.through("uniform", ndtr)
    return [
        dense(1, 1, 0.9),
        dense(1, 1, 0.3),
        pair.through("bimodal", bimodal(0.5, -2, 3), bimodal(0.2, 0, 6)),
        dense(1, 1, 0.0),
        additive(0.05),
        additive(0.4),
        student(1, 1, 2),
        uniform.through("swiss roll 2x1", swiss_roll(1.5), lambda y: y),
        dense(2, 3, 0.4),
        dense(4, 4, 0.3),
        dense(10, 10, 0.4),
        dense(30, 30, 0.6),
        sparse(4, 4, 0.9),
        sparse(8, 8, 0.7, 4),
        sparse(15, 15, 0.85, 3),
        sparse(4, 4, 0.7, 4).through("half-cube", half_cube),
        sparse(10, 10, 0.0),
        student(2, 3, 1.5),
        student(4, 4, 2.5),
        student(6, 6, 1.5),
        dense(3, 3, 0.4, 2),
        sparse(4, 4, 0.7, 2, 3).through("asinh", np.arcsinh),
        spirals(sparse(4, 4, 0.9)),
        spirals(sparse(4, 4, 0.7).through("uniform", ndtr), 3.0),
        spirals(sparse(3, 3, 0.9), 3.0),
        spirals(sparse(6, 6, 0.8, 4), 2.0),
        spirals(sparse(15, 15, 0.8, 3), 4.0),
        spirals(student(3, 3, 2).through("asinh", np.arcsinh), 2.0),
        spirals(dense(3, 3, 0.6).through("uniform", ndtr), 2.0),
        sparse(5, 5, 0.95, 5),
        sparse(20, 20, 0.9, 10),
    ]
