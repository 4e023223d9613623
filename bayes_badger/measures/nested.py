"""Nested Monte Carlo: information between a latent and evidence, from below and from above.

    I(u; D) = E log p(D | u) - E log p(D)

The likelihood is known, the evidence p(D) = ∫ p(u) p(D | u) du is not. Weights
w_l = p(u_l) p(D | u_l) / q(u_l | D) of draws u_l ~ q have p(D) as their mean, whatever q is, so
that log mean w_l is below log p(D) in expectation; and where the u that D was drawn with is one of
them, above. The better q the narrower, and a bad one makes bounds wide, never both of them wrong.

No distribution-free lower bound exceeds the log of a number of samples (McAllester & Stratos 2020):
with the prior as q the lower bound stays below log(L + 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayes_badger.measures.controls import controlled_mean
from bayes_badger.measures.estimate import Estimate

# Bounds this far apart, in nats or as a share of what is between them, say what is between them.
NARROW, SHARE = 0.01, 0.02


class LogEvidence(NamedTuple):
    """Estimates of log p(D), in nats, `[...]`, of simulated evidence D.

    Attributes:
        below: In expectation at most log p(D).
        above: In expectation, over the u that D was drawn with, at least log p(D).
    """

    below: np.ndarray
    above: np.ndarray


class Sandwich(NamedTuple):
    """Information between two bounds, each an expectation that has a standard error.

    Attributes:
        lower: In nats.
        upper: In nats.
    """

    lower: Estimate
    upper: Estimate

    @property
    def middle(self) -> Estimate:
        """Half of the sum; its error is the larger of the two."""
        value = 0.5 * (self.lower.value + self.upper.value)
        error = np.maximum(self.lower.error, self.upper.error)
        return Estimate(value, error if error.ndim else float(error))

    @property
    def width(self) -> np.ndarray:
        """Upper minus lower, in nats; of common samples, so that it is known better than either."""
        return np.asarray(np.subtract(self.upper.value, self.lower.value))

    @property
    def narrow(self) -> np.ndarray:
        """Whether what is between the bounds can stand for the information."""
        enough = np.maximum(NARROW, SHARE * np.abs(self.middle.value))
        return np.asarray(np.abs(self.width) <= enough)


def log_evidence(true: np.ndarray, weights: np.ndarray) -> LogEvidence:
    """Log p(D) from importance weights, without and with that of the latent D was drawn with.

    Args:
        true: log p(u) + log p(D | u) - log q(u | D) at that latent, `[...]`.
        weights: The same at independent draws of q, `[..., draw]`.

    Example:
        >>> print(log_evidence(np.zeros(1), np.full((1, 9), -np.inf)).above)
        [-2.30258509]
    """
    weights = np.asarray(weights, float)
    many, total = weights.shape[-1], logsumexp(weights, -1)
    above = np.logaddexp(total, np.asarray(true, float)) - np.log(many + 1)
    return LogEvidence(total - np.log(many), above)


def information(
    log_likelihood: np.ndarray, evidence: LogEvidence, controls: np.ndarray | None = None
) -> Sandwich:
    """I(u; D) between bounds, from independent pairs (u, D).

    From above it is variational nested Monte Carlo (VNMC; Foster et al. 2019); from below adaptive
    contrastive estimation (ACE; Foster et al. 2020), with the prior as q prior contrastive
    estimation (PCE), at most log(L + 1).

    Args:
        log_likelihood: log p(D | u) at the latents with which D was drawn, `[pair, ...]`.
        evidence: Of the same D, `[pair, ...]`.
        controls: Of mean zero, `[pair, ..., k]`, which take chance out of the means.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> u = rng.normal(size=(4000, 1))
        >>> y = u + rng.normal(size=u.shape)
        >>> others = -0.5 * (y - rng.normal(size=(4000, 200))) ** 2  # the prior as q
        >>> own = -0.5 * (y - u)[:, 0] ** 2
        >>> found = information(own, log_evidence(own, others))
        >>> bool(found.lower.value < found.upper.value)
        True
        >>> bool(abs(found.middle.value - 0.5 * np.log(2)) < 3 * found.middle.error)
        True
    """
    own = np.asarray(log_likelihood, float)
    return Sandwich(
        controlled_mean(own - evidence.above, controls),
        controlled_mean(own - evidence.below, controls),
    )


def between(parts: LogEvidence, whole: LogEvidence, controls: np.ndarray | None = None) -> Sandwich:
    """Total correlation of several pieces of evidence: E log p(D_1:m) - Σ_i E log p(D_i).

    Of two it is their mutual information.

    Args:
        parts: Of each piece, `[lifetime, piece]`.
        whole: Of all together, `[lifetime]`.
        controls: Of mean zero, `[lifetime, k]`, which take chance out of the means.
    """
    return Sandwich(
        controlled_mean(whole.below - parts.above.sum(1), controls),
        controlled_mean(whole.above - parts.below.sum(1), controls),
    )


def barber_agakov(
    log_q: np.ndarray, log_prior: np.ndarray, controls: np.ndarray | None = None
) -> Estimate:
    """E log q(u | D) + H(u): a lower bound on I(u; D), whatever the normalised density q.

    It is short of it by E KL(p(u | D), q(u | D)) (Barber & Agakov 2003).

    Args:
        log_q: Of the latents that D was drawn with, `[pair]`.
        log_prior: Of the same, `[pair]`.
        controls: Of mean zero, `[pair, k]`, which take chance out of the mean.
    """
    return controlled_mean(np.asarray(log_q, float) - np.asarray(log_prior, float), controls)
