"""Learners that are sound, and others that have one fault each: for tests and benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from bayes_badger.measures.learners import Seen


@dataclasses.dataclass(frozen=True)
class Counter:
    """Beta-Bernoulli; counts, those of the prior too, may decay."""

    decay: float = 1.0
    size: int = 100

    @property
    def outcomes(self) -> np.ndarray:
        """Tails and heads."""
        return np.array([0, 1])

    def simulate(
        self, places: np.ndarray, seed: int, given: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """From the prior, or at latents that are given."""
        rng = np.random.default_rng(seed)
        p = rng.uniform(size=len(places)) if given is None else np.asarray(given["p"])
        return {"p": p}, (rng.uniform(size=places.shape) < p[:, None]).astype(int)

    def log_likelihood(self, values: Mapping[str, Any], seen: Seen) -> np.ndarray:
        """Of all rows of a case."""
        heads, n = seen.outcomes.sum(1), seen.outcomes.shape[1]
        p = np.clip(values["p"], 1e-12, 1 - 1e-12)
        return heads * np.log(p) + (n - heads) * np.log1p(-p)

    def counts(self, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
        """Of heads and tails, those of the prior included."""
        n = seen.outcomes.shape[1]
        weight = self.decay ** np.arange(n - 1, -1, -1)
        before = self.decay**n
        return before + seen.outcomes @ weight, before + (1 - seen.outcomes) @ weight

    def draws(self, seen: Seen, seed: int) -> dict[str, np.ndarray]:
        """Of the belief."""
        a, b = self.counts(seen)
        return {"p": np.random.default_rng(seed).beta(a, b, size=(400, len(a)))}

    def log_predictive(self, seen: Seen, place: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """In closed form."""
        a, b = self.counts(seen)
        return np.log(np.where(y == 1, a[:, None], b[:, None]) / (a + b)[:, None])


@dataclasses.dataclass(frozen=True)
class Level:
    """z ~ N(0, 1), y ~ N(z, 1); the posterior sd is `width` times what it should be."""

    width: float = 1.0
    bias: float = 0.0
    size: int = 100
    outcomes: None = None

    def simulate(
        self, places: np.ndarray, seed: int, given: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """From the prior, or at latents that are given."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=len(places)) if given is None else np.asarray(given["z"])
        return {"z": z}, z[:, None] + rng.normal(size=places.shape)

    def log_likelihood(self, values: Mapping[str, Any], seen: Seen) -> np.ndarray:
        """Of all rows of a case."""
        y = seen.outcomes
        n, mean, rest = y.shape[1], y.mean(1), ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
        return -0.5 * (n * (values["z"] - mean) ** 2 + rest + n * np.log(2 * np.pi))

    def belief(self, seen: Seen) -> tuple[np.ndarray, float]:
        """Mean and standard deviation."""
        n = seen.outcomes.shape[1]
        sd = self.width / np.sqrt(1 + n)
        return seen.outcomes.sum(1) / (1 + n) + self.bias * sd, sd

    def draws(self, seen: Seen, seed: int) -> dict[str, np.ndarray]:
        """Of the belief."""
        mean, sd = self.belief(seen)
        noise = np.random.default_rng(seed).normal(size=(400, len(mean)))
        return {"z": mean + sd * noise}

    def log_predictive(self, seen: Seen, place: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        """In closed form."""
        mean, sd = self.belief(seen)
        return norm.logpdf(y, mean[:, None], np.sqrt(1 + sd**2))
