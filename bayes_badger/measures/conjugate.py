"""Which programs of counts are conjugate, by what they say of themselves and do when asked."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import data_of
from bayes_badger.program import TASK, Program
from bayes_badger.program.walk import family

# Probabilities at which it is tried, and how close it must come in single precision.
TRIED, CLOSE = (0.1, 0.35, 0.8), 1e-5


def beta_of(program: Program, evidence: Evidence) -> tuple[float, float] | None:
    """The prior Beta(a, b) of a program whose outcomes are tosses of one coin for each task.

    None for any other program: one latent of each task, its family Beta with the same numbers for
    all, and outcomes that are 1 with that probability, whatever the columns say.
    """
    own = program.latents
    alone = len(own) == 1 and own[0].scope == TASK and own[0].shape == ()
    if not alone or own[0].family != "Beta" or program.parameters or program.factors:
        return None
    if not program.outcome.discrete or program.outcome.shape or not evidence.n_rows:
        return None
    some = evidence.select(np.flatnonzero(evidence.lengths > 0)[:64]).padded()
    data, name = data_of(some), own[0].name
    for p in TRIED:
        values = {name: jnp.full(data.tasks, p)}
        for outcome in (0, 1):
            asked = data._replace(outcome=jnp.full_like(data.answers, outcome))
            rows = np.asarray(program.log_likelihood_of(values, asked))
            if not np.allclose(rows, np.log(p if outcome else 1 - p), atol=CLOSE):
                return None
    fn = family(program.walk_at({name: jnp.full(data.tasks, 0.5)}, data).sites[name].fn)
    found = [np.unique(np.asarray(x)) for x in (fn.concentration1, fn.concentration0)]
    if any(len(x) != 1 for x in found):
        return None
    return float(found[0][0]), float(found[1][0])
