"""Can a belief be trusted, and what to do where it cannot."""

from bayes_badger.trust.chains import ESS_PER_CHAIN, R_HAT, beyond, doubts
from bayes_badger.trust.given import GivenVerdicts
from bayes_badger.trust.held import inferred
from bayes_badger.trust.judge import judged
from bayes_badger.trust.missed_modes import missed_modes
from bayes_badger.trust.verdicts import HOW, Verdicts

__all__ = [
    "ESS_PER_CHAIN",
    "HOW",
    "R_HAT",
    "GivenVerdicts",
    "Verdicts",
    "beyond",
    "doubts",
    "inferred",
    "judged",
    "missed_modes",
]
