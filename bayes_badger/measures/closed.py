"""Closed forms of a belief that is a sum of Gaussians with discrete latents assigned: KL to prior.

In prior-normal coordinates the prior is N(0, I), and KL(N(m, C), N(0, I)) is
½ (|m|² + tr C - d - log det C). A component's discrete latents are known, so that the relative
entropy of everything is that of the weights plus that of the components.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from bayes_badger.belief import Mixture
from bayes_badger.evidence import Evidence
from bayes_badger.inner_loop._filter import start
from bayes_badger.inner_loop.auto import Auto
from bayes_badger.inner_loop.protocol import InnerLoop
from bayes_badger.measures.subject import Subject
from bayes_badger.program import WHITENED, Program

# Inner loops whose mixture is the posterior.
EXACT = ("Exact", "Enumerate")


class Shift(NamedTuple):
    """KL(posterior, prior), in nats.

    Attributes:
        algorithm: Of what tasks share.
        per_task: Of each task's latents given that, `[task]`.
    """

    algorithm: float
    per_task: np.ndarray

    @property
    def total(self) -> float:
        """Of all latents."""
        return float(self.algorithm + self.per_task.sum())


def shift_of(
    weights: np.ndarray,
    prior: np.ndarray,
    loc: np.ndarray,
    scale_tril: np.ndarray,
    shared: int,
    own: int,
) -> Shift:
    """KL of a mixture whose components differ in their discrete latents, from the prior.

    Args:
        weights: Of the posterior, `[task, k]`; assignments of a task vary fastest.
        prior: Of the prior, `[k]`.
        loc: Means in prior-normal coordinates, those of the lifetime first, `[task, k, d]`.
        scale_tril: Roots of the covariances, `[task, k, d, d]`.
        shared: How many coordinates tasks share.
        own: How many assignments a task has.

    Example:
        >>> one = np.ones((1, 1))
        >>> half = np.full((1, 1, 1, 1), 0.5**0.5)
        >>> found = shift_of(one, one[0], 0.5 * one[..., None], half, 0, 1)  # z | y = 1
        >>> bool(np.isclose(found.total, 0.5 * (0.5 + 0.25 - 1 - np.log(0.5))))
        True
    """
    tasks, k = weights.shape
    w = np.asarray(weights, float).reshape(tasks, k // own, own)
    p = np.asarray(prior, float).reshape(k // own, own)
    joint = _to_standard(loc, scale_tril).reshape(w.shape)
    # A block of a root's leading rows is the root of the lifetime's own covariance.
    ours = _to_standard(loc[..., :shared], scale_tril[..., :shared, :shared]).reshape(w.shape)
    outer, before = w.sum(2), p.sum(1)
    algorithm = _relative(outer[0], before).sum() + (w[0] * ours[0]).sum()
    within = _relative(w, p).sum((1, 2)) - _relative(outer, before).sum(1)
    return Shift(float(algorithm), within + (w * (joint - ours)).sum((1, 2)))


def closed_shift(subject: Subject) -> Shift | None:
    """That of a run whose inner loop is exact; None where it has no closed form."""
    program, evidence = subject.program, subject.evidence
    if subject.run.spec.get("before"):
        return None  # from the prior to its own tasks alone would be another shift
    loop = picked(subject.inner_loop, program, evidence)
    if not is_exact(loop) or program.factors:
        return None
    mixture = loop.infer(program, evidence, jax.random.key(0)).mixture
    return None if mixture is None else of_mixture(program, mixture)


def picked(loop: InnerLoop, program: Program, evidence: Evidence) -> InnerLoop:
    """The inner loop that `auto` takes; any other is itself."""
    return loop.pick(program, evidence)[1] if isinstance(loop, Auto) else loop


def of_mixture(program: Program, mixture: Mixture) -> Shift | None:
    """That of a belief about each task, `[task, k, ...]`; None where no prior weights are known."""
    log_weights, loc, root = (
        np.asarray(x, float) for x in (mixture.log_weights, mixture.loc, mixture.scale_tril)
    )
    if any(not latent.discrete and latent.kind != WHITENED for latent in program.latents):
        return None
    prior, own = np.ones(1), 1
    if program.discrete:
        if program.signature.stateful or program.signature.task_columns:
            return None
        state = start(program)
        prior, own = np.exp(state.log_weights), state.task_states
    weights = np.exp(log_weights - np.logaddexp.reduce(log_weights, -1, keepdims=True))
    if weights.shape[-1] != len(prior):
        return None
    return shift_of(weights, prior, loc, root, program.lifetime_size, own)


def is_exact(loop: InnerLoop) -> bool:
    """Whether its mixture is the posterior, to rounding."""
    return type(loop).__name__ in EXACT


def _to_standard(loc: np.ndarray, root: np.ndarray) -> np.ndarray:
    """KL of Gaussians from N(0, I)."""
    size = loc.shape[-1]
    log_det = 2 * np.log(np.abs(np.diagonal(root, axis1=-2, axis2=-1))).sum(-1)
    found: np.ndarray = 0.5 * ((loc**2).sum(-1) + (root**2).sum((-1, -2)) - size - log_det)
    return found


def _relative(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Terms q log q/p, 0 where q is."""
    safe = np.where(q > 0, q, 1.0)
    return np.where(q > 0, q * (np.log(safe) - np.log(np.where(q > 0, p, 1.0))), 0.0)
