"""What is believed after the evidence: Gaussians over the flat vector, or draws."""

from bayes_badger.belief.divergence import Bounds, kl
from bayes_badger.belief.draws import Draws, in_chains
from bayes_badger.belief.mixture import Mixture, standard_normal
from bayes_badger.belief.posterior import Posterior
from bayes_badger.belief.user_space import log_prob_by_site

__all__ = [
    "Bounds",
    "Draws",
    "Mixture",
    "Posterior",
    "in_chains",
    "kl",
    "log_prob_by_site",
    "standard_normal",
]
