"""A belief as draws in the user's own space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from bayes_badger.belief.selection import names_of, select
from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.program import Derived, Latent

NO_DENSITY = (
    "draws have no density: fit with an inner loop whose belief is a Mixture, or ask for what "
    "draws can tell (mean, sample, marginal, condition on a discrete latent)"
)


def in_chains(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Draws `[draw, ...]` as `[chain, draw, ...]`, in single precision as all draws are."""
    x = np.asarray(values)
    x = x.astype(np.float32) if x.dtype.kind == "f" else x
    return x.reshape(*shape, *x.shape[1:])


class Draws(eqx.Module):
    """A belief as draws of every latent, in the user's own space, kept on the host.

    Attributes:
        values: Latents and deterministics by name: `[chain, draw, *shape]` in a lifetime,
            `[chain, draw, task, *shape]` in a task.
        stats: Statistics of the sampler by name, `[chain, draw]`.
        log_weights: `[chain, draw]`, in nats, up to any constant; None where all weigh the same.
        variables: What the values are of; empty where that is not known.

    Example:
        >>> draws = Draws({"mu": np.array([[0.0, 4.0]])}, {}, log_weights=np.log([[0.75, 0.25]]))
        >>> float(draws.mean()["mu"]), round(draws.ess(), 2)
        (1.0, 1.6)
    """

    values: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]
    log_weights: np.ndarray | None = None
    variables: tuple[Latent | Derived, ...] = eqx.field(static=True, default=())

    @property
    def chains(self) -> int:
        """Number of chains."""
        return next(iter(self.values.values())).shape[0]

    @property
    def draws(self) -> int:
        """Draws of each chain."""
        return next(iter(self.values.values())).shape[1]

    def weights(self) -> np.ndarray:
        """What each draw weighs, `[chain, draw]`, float64; the sum is one.

        Raises:
            BadgerError: Where no draw has a weight, or a weight is NaN.
        """
        if self.log_weights is None:
            return np.full((self.chains, self.draws), 1 / (self.chains * self.draws))
        logs = np.asarray(self.log_weights, float)
        if not np.isfinite(logs.max()):
            raise BadgerError("log weights must be finite or -inf, and one of them finite")
        weights = np.exp(logs - logs.max())
        return weights / weights.sum()

    def mean(self) -> dict[str, np.ndarray]:
        """Weighted mean of each variable, float64: `[*shape]`, or `[task, *shape]`."""
        weights = self.weights()
        return {
            name: np.asarray(np.einsum("cd,cd...->...", weights, np.asarray(value, float)))
            for name, value in self.values.items()
        }

    def ess(self) -> float:
        """How many equally weighted draws the weights are worth: 1 / Σ w².

        It knows nothing of correlation along a chain. Kong (1992), "A note on importance sampling
        using standardized weights".
        """
        return float(1 / (self.weights() ** 2).sum())

    def sample(self, key: PRNGKeyArray, n: int) -> Draws:
        """Picks n of the draws, as one chain without weights.

        With weights, each is drawn by weight and can come several times; without, each comes at
        most once, unless n is more than there are.

        Raises:
            BadgerError: Where n is not at least 1.
        """
        if n < 1:
            raise BadgerError(f"n={n}: draw at least 1")
        total = self.chains * self.draws
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel().tolist())
        if self.log_weights is None:
            which = rng.choice(total, n, replace=n > total)
        else:
            which = rng.choice(total, n, p=self.weights().ravel())
        return self._chosen(which, None)

    def marginal(
        self,
        *,
        scope: str | None = None,
        role: str | None = None,
        site: str | Iterable[str] | None = None,
    ) -> Draws:
        """The belief about some variables alone: those of a scope, of a role, or of a name.

        Raises:
            BadgerError: Where a word is not known, or no variable is all that was asked for.
        """
        if self.variables:
            kept = select(self.variables, scope, role, site)
            values = {variable.name: self.values[variable.name] for variable in kept}
            return self._with(values, self.stats, self.log_weights, kept)
        if scope is not None or role is not None:
            raise BadgerError(
                "these draws do not know the scope and role of their variables: choose by site, or "
                "make them with variables=program.variables"
            )
        names = list(self.values) if site is None else names_of(site)
        return self._with({name: self._value(name) for name in names}, self.stats, self.log_weights)

    def condition(self, *, discrete: Mapping[str, Any]) -> Draws:
        """The draws in which discrete variables have these values, as one chain.

        Args:
            discrete: By name, `[*shape]` or `[task, *shape]`; one number stands for all entries.

        Raises:
            BadgerError: Where a variable is not known or not discrete, a value does not fit, or no
                draw has these values.
        """
        same = np.ones((self.chains, self.draws), bool)
        for name, value in discrete.items():
            own = self._value(name)
            if not self._is_discrete(name):
                raise BadgerError(
                    f"'{name}' is continuous, and no draw equals a given number: condition a "
                    "Mixture, or fit again with it observed"
                )
            try:
                wanted = np.broadcast_to(np.asarray(value), own.shape[2:])
            except ValueError:
                raise BadgerError(
                    f"'{name}' has shape {own.shape[2:]}, not {np.shape(value)}"
                ) from None
            same &= (own == wanted).all(tuple(range(2, own.ndim)))
        which = np.flatnonzero(same)
        if not len(which):
            raise BadgerError(f"none of {same.size} draws has {dict(discrete)}: draw more")
        weights = self.log_weights
        return self._chosen(which, None if weights is None else weights.reshape(1, -1)[:, which])

    def log_prob(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: draws have no density.

        Raises:
            BadgerError: Always, with what to do instead.
        """
        raise BadgerError(f"log_prob: {NO_DENSITY}")

    def _value(self, name: str) -> np.ndarray:
        if name not in self.values:
            raise BadgerError(
                f"the belief has no site '{name}'{did_you_mean(name, self.values)}: "
                f"it has {listed(self.values, 12)}"
            )
        return self.values[name]

    def _is_discrete(self, name: str) -> bool:
        for variable in self.variables:
            if variable.name == name and isinstance(variable, Latent):
                return variable.discrete
        return self.values[name].dtype.kind in "iub"

    def _chosen(self, which: np.ndarray, log_weights: np.ndarray | None) -> Draws:
        """Some draws, counted through all chains, as one chain."""

        def chosen(x: np.ndarray) -> np.ndarray:
            return x.reshape(1, -1, *x.shape[2:])[:, which]

        return self._with(
            _each(chosen, self.values), _each(chosen, self.stats), log_weights, self.variables
        )

    def _with(
        self,
        values: Mapping[str, np.ndarray],
        stats: Mapping[str, np.ndarray],
        log_weights: np.ndarray | None,
        variables: tuple[Latent | Derived, ...] = (),
    ) -> Draws:
        return Draws(values, stats, log_weights, variables)


def _each(
    function: Callable[[np.ndarray], np.ndarray], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {name: function(np.asarray(array)) for name, array in arrays.items()}
