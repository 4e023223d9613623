"""A belief as a mixture of Gaussians over the flat vector of one task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from bayes_badger.belief.gaussian import conditioned, log_terms, scale_tril_of_rows
from bayes_badger.belief.logs import log_sum_exp, normalised
from bayes_badger.belief.selection import in_vector, names_of, positions, select
from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.program import Latent


def _arrays(values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: jnp.asarray(value) for name, value in values.items()}


class Mixture(eqx.Module):
    """K weighted Gaussians over the flat vector u, each with one assignment of discrete latents.

    For one task; a belief about many tasks is one `Mixture` whose arrays have an axis of tasks in
    front, made and read with `eqx.filter_vmap`. All methods are pure, can be compiled, mapped and
    differentiated, and keep their digits in float32 whatever the log weights.

    Attributes:
        log_weights: `[K]`, in nats, up to any constant; all but one may be -inf.
        loc: Means of the components, `[K, d]`.
        scale_tril: Cholesky factors of their covariances, `[K, d, d]`: lower triangular, with a
            positive diagonal.
        latents: What it is about, in the program's order. In u those of the lifetime stand before
            those of a task, as in `Program`.
        discrete: What each component takes the discrete latents to be, by name, `[K, *shape]`.

    Raises:
        BadgerError: Where the arrays do not fit the latents.

    Example:
        >>> z = Latent("z", "task", "task", (), "Normal", "real", "whitened",
        ...            (("whitened", ()),), 0, True, True)
        >>> belief = Mixture(jnp.zeros(2), jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1, 1)), (z,))
        >>> print(belief.mean(), belief.covariance(), f"{belief.log_prob(jnp.zeros(1)):.4f}")
        [0.] [[2.]] -1.4189
    """

    log_weights: Array = eqx.field(converter=jnp.asarray)
    loc: Array = eqx.field(converter=jnp.asarray)
    scale_tril: Array = eqx.field(converter=jnp.asarray)
    latents: tuple[Latent, ...] = eqx.field(static=True)
    discrete: dict[str, Array] = eqx.field(default_factory=dict, converter=_arrays)

    def __check_init__(self) -> None:
        size = sum(latent.size for latent in self.latents)
        components = self.log_weights.shape[-1:]
        wanted = {
            "loc": (self.loc, (*components, size), 2),
            "scale_tril": (self.scale_tril, (*components, size, size), 3),
        }
        names = {latent.name for latent in self.latents if latent.discrete}
        if names != set(self.discrete):
            raise BadgerError(
                f"the discrete latents are {listed(sorted(names)) or 'none'}, but the components "
                f"assign {listed(sorted(self.discrete)) or 'none'}"
            )
        for latent in self.latents:
            if latent.discrete:
                shape = (*components, *latent.shape)
                wanted[latent.name] = (self.discrete[latent.name], shape, len(shape))
        for name, (array, shape, axes) in wanted.items():
            if array.shape[-axes:] != shape:
                raise BadgerError(f"{name} has shape {array.shape}, but ends in {shape}")

    @property
    def size(self) -> int:
        """Length d of the flat vector."""
        return self.loc.shape[-1]

    def log_prob(
        self, u: Float[Array, " d"], discrete: Mapping[str, ArrayLike] | None = None
    ) -> Float[Array, ""]:
        """Log density in nats, at a point of the flat vector.

        Args:
            u: The point.
            discrete: Values of some discrete latents, by name: then the joint log density of the
                point and these values. Discrete latents that are not given are summed over.

        Raises:
            BadgerError: Where u has another length, or a discrete latent is not known.
        """
        if u.shape != (self.size,):
            raise BadgerError(f"u has shape {u.shape}, but the belief is over {self.size} entries")
        each = jax.vmap(log_terms, (None, 0, 0))(u, self.loc, self.scale_tril).sum(-1)
        log_weights = self._where(self.agrees(discrete or {}), normalised(self.log_weights))
        return log_sum_exp(log_weights + each)

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...] = ()
    ) -> tuple[Float[Array, "*shape d"], dict[str, Array]]:
        """Independent draws of u, `[*shape, d]`, and of the discrete latents, `[*shape, ...]`."""
        keys = jax.random.split(key)
        which = jax.random.categorical(keys[0], self.log_weights, shape=shape)
        noise = jax.random.normal(keys[1], (*shape, self.size), self.loc.dtype)
        moved = jnp.einsum("kij,...j->...ki", self.scale_tril, noise, precision="highest")
        u = jnp.take_along_axis(self.loc + moved, which[..., None, None], -2)[..., 0, :]
        some = log_sum_exp(self.log_weights) > -jnp.inf
        return jnp.where(some, u, jnp.nan), {k: v[which] for k, v in self.discrete.items()}

    def mean(self) -> Float[Array, " d"]:
        """Mean of the whole mixture."""
        return jnp.einsum("k,ki->i", self._weights(), self.loc, precision="highest")

    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the whole mixture: within the components, plus that of their means."""
        roots = jnp.concatenate([self.scale_tril, (self.loc - self.mean())[..., None]], -1)
        return jnp.einsum("k,kij,klj->il", self._weights(), roots, roots, precision="highest")

    def marginal(
        self,
        *,
        scope: str | None = None,
        role: str | None = None,
        site: str | Iterable[str] | None = None,
    ) -> Mixture:
        """The belief about some latents alone: those of a scope, of a role, of a name, or of all.

        Raises:
            BadgerError: Where a word is not known, or no latent is all that was asked for.
        """
        kept = select(self.latents, scope, role, site)
        rows = self._rows(kept)
        scale_tril = jax.vmap(lambda scale_tril: scale_tril_of_rows(scale_tril, rows))
        return Mixture(
            self.log_weights,
            self.loc[:, np.asarray(rows, int)],
            scale_tril(self.scale_tril),
            kept,
            {latent.name: self.discrete[latent.name] for latent in kept if latent.discrete},
        )

    def condition(
        self,
        at: Float[Array, " m"] | None = None,
        *,
        scope: str | None = None,
        role: str | None = None,
        site: str | Iterable[str] | None = None,
        discrete: Mapping[str, ArrayLike] | None = None,
    ) -> Mixture:
        """The belief about the rest, given some latents.

        Each component is weighted by its own density at what is given.

        Args:
            at: Coordinates of the continuous latents that scope, role and site select, as a flat
                vector of them.
            scope: "lifetime" or "task".
            role: "algorithm", "task" or the user's own label.
            site: One name or several.
            discrete: Values of discrete latents, by name; others stay in the belief.

        Raises:
            BadgerError: Where a word is not known, lengths differ, or no component has the
                assignment. Compiled, where values are not known, the latter gives a belief whose
                log weights are all -inf: `log_prob` is -inf, moments and draws are NaN.
        """
        given = self._given(at, scope, role, site)
        named = {latent.name for latent in given} | set(discrete or {})
        rest = tuple(latent for latent in self.latents if latent.name not in named)
        log_weights = self._where(self.agrees(discrete or {}), normalised(self.log_weights))
        impossible = jnp.all(log_weights == -jnp.inf)
        if not isinstance(impossible, jax.core.Tracer) and impossible:
            raise BadgerError(f"no component has the assignment {dict(discrete or {})}")
        rows, others = self._rows(given), self._rows(rest)
        at = jnp.zeros(0, self.loc.dtype) if at is None else at
        log_density, loc, scale_tril = jax.vmap(
            lambda loc, scale_tril: conditioned(loc, scale_tril, rows, others, at)
        )(self.loc, self.scale_tril)
        left = {name: value for name, value in self.discrete.items() if name not in named}
        return Mixture(normalised(log_weights + log_density), loc, scale_tril, rest, left)

    def agrees(self, discrete: Mapping[str, ArrayLike]) -> Bool[Array, " K"]:
        """Which components have these values of discrete latents.

        Raises:
            BadgerError: Where a name is not that of a discrete latent, or a shape is not its own.
        """
        same = jnp.ones(self.log_weights.shape, bool)
        for name, value in discrete.items():
            if name not in self.discrete:
                raise BadgerError(
                    f"the belief has no discrete latent '{name}'"
                    f"{did_you_mean(name, self.discrete)}: "
                    f"it has {listed(self.discrete, 12) or 'none'}"
                )
            own = self.discrete[name]
            if jnp.shape(value) != own.shape[1:]:
                raise BadgerError(f"{name} has shape {jnp.shape(value)}, not {own.shape[1:]}")
            same &= jnp.all(own == value, tuple(range(1, own.ndim)))
        return same

    def _given(
        self,
        at: Array | None,
        scope: str | None,
        role: str | None,
        site: str | Iterable[str] | None,
    ) -> tuple[Latent, ...]:
        """The latents whose coordinates are given."""
        named = (scope, role, site) != (None, None, None)
        if (at is not None) != named:
            missing = "which latents `at` gives: scope, role or site" if at is not None else "`at`"
            raise BadgerError(f"condition also needs {missing}")
        if at is None:
            return ()
        site = None if site is None else names_of(site)
        for name in site or ():
            if name in self.discrete:
                raise BadgerError(f"'{name}' is discrete: give it in discrete={{...}}")
        chosen = tuple(x for x in select(self.latents, scope, role, site) if not x.discrete)
        size = sum(latent.size for latent in chosen)
        if at.shape != (size,):
            names = listed([latent.name for latent in in_vector(chosen)], 12)
            raise BadgerError(f"`at` has shape {at.shape}, but {names} have {size} coordinates")
        return chosen

    def _rows(self, latents: Iterable[Latent]) -> list[int]:
        places = positions(self.latents)
        return [i for latent in in_vector(latents) for i in places[latent.name]]

    def _weights(self) -> Float[Array, " K"]:
        """NaN where all log weights are -inf."""
        return jax.nn.softmax(self.log_weights)

    def _where(self, same: Array, log_weights: Array) -> Float[Array, " K"]:
        return jnp.where(same, log_weights, -jnp.inf)


def standard_normal(latents: Iterable[Latent]) -> Mixture:
    """N(0, I) over the continuous latents among these, as a mixture of one component.

    It is the prior of a program whose latents are all whitened (`Program.prior_normal`).

    Example:
        >>> z = Latent("z", "task", "task", (), "Normal", "real", "whitened",
        ...            (("whitened", ()),), 0, True, True)
        >>> print(f"{standard_normal((z,)).log_prob(jnp.zeros(1)):.4f}")
        -0.9189
    """
    kept = tuple(latent for latent in latents if not latent.discrete)
    size = sum(latent.size for latent in kept)
    return Mixture(jnp.zeros(1), jnp.zeros((1, size)), jnp.eye(size)[None], kept)
