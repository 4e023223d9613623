"""What an inner loop makes of a lifetime's evidence."""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import numpy as np

from bayes_badger.belief.draws import Draws
from bayes_badger.belief.mixture import Mixture


class Posterior(eqx.Module):
    """The belief about a whole lifetime, and how it was come by.

    Attributes:
        draws: Of everything together, in the user's own space.
        mixture: The belief about each task's flat vector as a density, its arrays with an axis of
            tasks in front; None where the inner loop has none in this form.
        lifetime: The belief about what tasks share, to go on from with other tasks; None where
            nothing is shared, or the inner loop has none in this form.
        log_evidence: Log p(all outcomes), in nats; None where the inner loop cannot know it.
        log_evidence_error: Its own estimate of the error, in nats.
        log_evidence_by_task: `[task]`, where tasks share nothing; else None.
        messages: log p(D_i | a) of each task, at each draw of what tasks share, in nats: `[chain,
            draw, task]`; None where nothing is shared, or the inner loop does not tell.
        effective: Of each task, `[task]`, how many points its evidence given what tasks share
            rests on, in the mean; infinite for closed forms, None where it rests on none.
        means: Posterior means in the user's own space by quadrature, without Monte Carlo error, of
            what has one in closed form; None where the inner loop has none.
        independent: Whether the draws are independent, so that there is nothing to converge.
        approximate: Whether the mixture is an approximation, which draws from it inherit.
        notes: What was chosen, and why, one sentence each.
        warnings: Why the numbers are not to be trusted, one sentence each; empty when they are.
    """

    draws: Draws
    mixture: Mixture | None = None
    lifetime: Mixture | None = None
    log_evidence: float | None = None
    log_evidence_error: float | None = None
    log_evidence_by_task: np.ndarray | None = None
    messages: np.ndarray | None = None
    effective: np.ndarray | None = None
    means: Mapping[str, np.ndarray] | None = None
    independent: bool = False
    approximate: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
