"""Control variates: what has mean zero under the program, and moves with log p(D | u) / p(D).

At the latents that evidence was drawn with, the score has mean zero and the Fisher information as
its covariance, and latents are N(0, I) before. Where a program is linear-Gaussian

    log p(D | u) / p(D) = ½ log det(I + F) + ½ |u|² - ½ (u - s)ᵀ (I + F)⁻¹ (u - s)

so that with the parts of these squares as controls nothing is left to chance; elsewhere less is.
The mean stays what it is, as far as coefficients are known (Owen 2013, section 8.9).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from bayes_badger.compilation import jit_lightly
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.measures.estimate import Estimate, mean_of
from bayes_badger.program import Program
from bayes_badger.program.program import EXPECTED

# Fewer samples for each coefficient would be fitted rather than averaged.
SAMPLES = 10
BATCH = 256


class Scores(NamedTuple):
    """Of tasks at the latents that they were drawn with, `[task, ...]`.

    Attributes:
        score: Gradient of log p(D | u), `[task, u]`.
        information: Its covariance at these latents, `[task, u, u]`.
        central: The information in the middle of the prior, which does not depend on them.
    """

    score: np.ndarray
    information: np.ndarray
    central: np.ndarray


def scores(program: Program, evidence: Evidence, points: np.ndarray) -> Scores | None:
    """Scores of simulated tasks; None where an outcome has no information in closed form.

    Args:
        program: The lifted program, every latent of which is whitened.
        evidence: Of all tasks.
        points: The flat vectors that it was drawn with, `[task, u]`.
    """
    if program.information != EXPECTED or program.discrete:
        return None
    block = evidence.padded()
    with jax.enable_x64(True):
        u = jnp.asarray(np.asarray(points, float))
        found = _scores(program, (data_of(block), jnp.asarray(block.mask), u))
        score, here, middle = (np.asarray(x, float) for x in found)
    whole = np.isfinite(score).all() and np.isfinite(here).all() and np.isfinite(middle).all()
    return Scores(score, here, middle) if whole else None


@jit_lightly
def _scores(program: Program, xs: Any) -> tuple[Array, Array, Array]:
    def one(xs: Any) -> tuple[Array, Array, Array]:
        data, mask, u = xs
        data = jax.tree.map(lambda x: x[None], data)

        def density(u: Array) -> Array:
            return jnp.where(mask, program.rows_and_factors(u, data)[0], 0.0).sum()

        def information(u: Array) -> Array:
            slope = jax.jacfwd(lambda u: program.outcome_parameters(u, data)[0])(u)
            own = program.outcome_parameters(u, data)[1] * mask[:, None, None]
            return jnp.einsum("tpi,tpq,tqj->ij", slope, own, slope)

        return jax.grad(density)(u), information(u), information(jnp.zeros_like(u))

    return jax.lax.map(one, xs, batch_size=BATCH)


def of_squares(
    u: np.ndarray, score: np.ndarray, covariance: np.ndarray, central: np.ndarray
) -> np.ndarray:
    """Four controls of each sample, `[sample, 4]`.

    Args:
        u: Drawn from N(0, I), `[sample, d]`.
        score: Of mean zero given u, `[sample, d]`.
        covariance: Whose mean given u is that of the score's square, `[sample, d, d]`.
        central: Positive semi-definite, and independent of u and of the score, `[sample, d, d]`.
    """
    weight = np.linalg.inv(np.eye(u.shape[1]) + central)
    return np.stack(
        [
            (u**2 - 1).sum(1),
            np.einsum("ni,nij,nj->n", u, weight, u) - np.trace(weight, axis1=1, axis2=2),
            np.einsum("ni,nij,nj->n", u, weight, score),
            np.einsum("ni,nij,nj->n", score, weight, score)
            - np.einsum("nij,nji->n", weight, covariance),
        ],
        1,
    )


def of_task(found: Scores, points: np.ndarray, shared: int) -> tuple[np.ndarray, np.ndarray]:
    """Controls for log p(D | u) / p(D), and for log p(D | a, z) / p(D | a), `[task, 4]` each."""
    rest = slice(shared, None)
    own = of_squares(
        points[:, rest],
        found.score[:, rest],
        found.information[:, rest, rest],
        found.central[:, rest, rest],
    )
    return of_squares(points, *found), own


class Said(NamedTuple):
    """What tasks say of `a` with their own latents integrated out, `[task, ...]`, as `Scores`."""

    score: np.ndarray
    covariance: np.ndarray
    central: np.ndarray


def of_shared(found: Scores, points: np.ndarray, shared: int) -> Said:
    """The efficient score of `a`: s_a + B (z - s_z) with B = F_az (I + F_zz)⁻¹, F in the middle.

    Given `a` its mean is zero and its square has the mean of `covariance`; where F is the same
    everywhere it is the score of p(D | a), and the squares' mean its information.
    """
    k = shared
    aa, az, zz = (slice(None), slice(None, k), slice(None, k)), np.s_[:, :k, k:], np.s_[:, k:, k:]
    middle, here = found.central, found.information
    own = np.eye(middle.shape[-1] - k)
    b = np.swapaxes(np.linalg.solve(own + middle[zz], np.swapaxes(middle[az], 1, 2)), 1, 2)
    away = points[:, k:] - found.score[:, k:]
    score = found.score[:, :k] + np.einsum("nij,nj->ni", b, away)
    cross = b @ np.swapaxes(here[az], 1, 2)
    covariance = here[aa] - cross - np.swapaxes(cross, 1, 2)
    covariance = covariance + b @ (own + here[zz]) @ np.swapaxes(b, 1, 2)
    central = middle[aa] - b @ np.swapaxes(middle[az], 1, 2)
    return Said(score, covariance, central)


def controlled_mean(samples: np.ndarray, controls: np.ndarray | None) -> Estimate:
    """The mean of samples, less what controls of mean zero explain of their differences.

    Args:
        samples: `[sample]` or `[sample, stage]`.
        controls: `[sample, k]` or `[sample, stage, k]`; None for a plain mean, which it also is
            where samples are few.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> luck = rng.normal(size=200)
        >>> found = controlled_mean(3.0 + 2.0 * luck, luck[:, None])
        >>> print(round(found.value, 9), found.error < 1e-9)
        3.0 True
    """
    y = np.asarray(samples, float)
    if controls is None or len(y) < SAMPLES * (controls.shape[-1] + 1):
        return mean_of(y)
    flat = y.reshape(len(y), -1)
    each = np.moveaxis(np.reshape(controls, (len(y), flat.shape[1], -1)), 1, 0)
    scale = each.std(1, keepdims=True)
    each = each / np.where(scale > 0, scale, 1.0)
    design = np.concatenate([np.ones((*each.shape[:2], 1)), each], -1)
    inverse = np.linalg.pinv(design, rcond=1e-9)
    coefficients = np.einsum("skn,ns->sk", inverse, flat)
    left = flat.T - np.einsum("snk,sk->sn", design, coefficients)
    free = len(y) - design.shape[-1]
    # The variance of the intercept: of a mean at the place where every control is zero.
    spread = np.einsum("skn,skn->sk", inverse, inverse)[:, 0]
    error = np.sqrt((left**2).sum(1) / free * spread)
    value = coefficients[:, 0].reshape(y.shape[1:])
    if y.ndim == 1:
        return Estimate(float(value), float(error[0]))
    return Estimate(value, error.reshape(y.shape[1:]))
