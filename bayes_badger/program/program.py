"""A program, lifted: pure functions of one flat vector, ready for jit and vmap.

The vector of one task is `u = [lifetime latents, task latents]`. Where every latent is whitened
(the default wherever a map exists), u is prior-normal: its prior is N(0, I), whatever the program.
A whole lifetime is the pair `(lifetime [a], task [tasks, z])`. Densities are in nats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bayes_badger.compilation import jit_by_work
from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.program.information import outcome_information
from bayes_badger.program.latent import LIFETIME, TASK, Derived, Latent, pack, unpack
from bayes_badger.program.parts import (
    Outcome,
    Simulated,
    Step,
    Terms,
    later_steps,
    one_step_of,
    per_row,
    shaped_like,
    sum_per_row,
    sum_per_task,
)
from bayes_badger.program.sigma_points import nearest_psd, stein_score_and_hessian
from bayes_badger.program.support import log_prob_within, supported
from bayes_badger.program.walk import WHITENED, Data, Site, Walk, family, to_coordinate, walk
from bayes_badger.signature import Signature

EXPECTED, OBSERVED, SIGMA_POINTS = "expected", "observed", "sigma points"


class Program(eqx.Module):
    """A lifted program. Made by `lift`, which proves that it keeps the contract.

    Attributes:
        name: The program's name.
        model: The user's function, its settings bound.
        signature: What it asks for.
        latents: In the program's order; their order in the flat vector within each scope.
        derived: Its `numpyro.deterministic` sites that do not change from step to step.
        outcome: Its observed site.
        information: Where `fisher` comes from: "expected" (closed form), "observed" (Hessian) or
            "sigma points" (some latent has no gradient).
        without_gradient: Latents that move the likelihood without giving it a finite gradient.
        left_out: Its deterministics that depend on rows or on other tasks, and so have no value for
            a task or a lifetime alone.
        parameters: Values of its `numpyro.param` sites and modules, the learned prior ψ: the leaves
            that an outer loop may change.
        example: A row that the program is known to accept, `[1, 1, ...]`.
    """

    name: str = eqx.field(static=True)
    model: Callable[..., Any] = eqx.field(static=True)
    signature: Signature = eqx.field(static=True)
    latents: tuple[Latent, ...] = eqx.field(static=True)
    derived: tuple[Derived, ...] = eqx.field(static=True)
    outcome: Outcome = eqx.field(static=True)
    information: str = eqx.field(static=True)
    without_gradient: tuple[str, ...] = eqx.field(static=True)
    left_out: tuple[str, ...] = eqx.field(static=True)
    parameters: dict[str, PyTree]
    example: Data

    # --- what it is made of

    def select(self, scope: str | None = None, role: str | None = None) -> tuple[Latent, ...]:
        """The latents of a scope ("lifetime", "task"), of a role, or of both."""
        return tuple(
            latent
            for latent in self.latents
            if scope in (None, latent.scope) and role in (None, latent.role)
        )

    @property
    def variables(self) -> tuple[Latent | Derived, ...]:
        """Latents and deterministics: all that has a value in a lifetime or in a task."""
        return (*self.latents, *self.derived)

    def latent(self, name: str) -> Latent:
        """The latent of that name.

        Raises:
            BadgerError: If there is none.
        """
        names = [latent.name for latent in self.latents]
        if name not in names:
            raise BadgerError(
                f"{self.name} has no latent '{name}'{did_you_mean(name, names)}: "
                f"it has {listed(names, 12)}"
            )
        return self.latents[names.index(name)]

    @property
    def lifetime_size(self) -> int:
        """Entries of u that all tasks share."""
        return sum(latent.size for latent in self.select(LIFETIME))

    @property
    def task_size(self) -> int:
        """Entries of u that each task has for itself."""
        return sum(latent.size for latent in self.select(TASK))

    @property
    def size(self) -> int:
        """Length of the flat vector u of one task."""
        return self.lifetime_size + self.task_size

    @property
    def discrete(self) -> tuple[Latent, ...]:
        """The discrete latents: they have no coordinate."""
        return tuple(latent for latent in self.latents if latent.discrete)

    @property
    def factors(self) -> tuple[str, ...]:
        """Its factors, and what it observes beside the outcome: terms of the prior."""
        sites = self._walk(self.example).sites.items()
        return tuple(name for name, site in sites if site.kind in ("factor", "observed"))

    @property
    def constraints(self) -> dict[str, Any]:
        """The support of each parameter; None where it has no bounds."""
        sites = self._walk(self.example).sites
        return {name: sites[name].constraint for name in self.parameters}

    @property
    def prior_normal(self) -> bool:
        """Whether the prior of u is exactly N(0, I)."""
        return all(latent.kind == WHITENED for latent in self.latents)

    def with_coordinates(self, kinds: Mapping[str, str]) -> Program:
        """The same program, with other coordinates: latent name to "whitened" or "unconstrained".

        Raises:
            BadgerError: Where a latent has no such coordinate.
        """
        for name, kind in kinds.items():
            latent = self.latent(name)
            if kind not in dict(latent.shapes):
                raise BadgerError(
                    f"{self.name}: latent '{name}' ({latent.family}) has no {kind} coordinate"
                )
        latents = tuple(
            dataclasses.replace(latent, kind=kinds.get(latent.name, latent.kind))
            for latent in self.latents
        )
        return dataclasses.replace(self, latents=latents)

    def enumerate_support(self, name: str) -> tuple[int, ...] | None:
        """The values that one entry of a discrete latent can take; None where they have no end.

        Raises:
            BadgerError: If there is no such latent.
        """
        self.latent(name)
        fn = family(self._walk(self.example).sites[name].fn)
        if not fn.has_enumerate_support or fn.event_shape:
            return None
        try:
            return tuple(int(x) for x in jnp.ravel(fn.enumerate_support(expand=False)))
        except NotImplementedError:
            return None

    # --- a whole lifetime

    @eqx.filter_jit
    def terms(
        self,
        lifetime: Float[Array, " lifetime"],
        task: Float[Array, "task size"],
        data: Data,
        discrete: Mapping[str, Array] | None = None,
    ) -> Terms:
        """Log density of everything at a point, in coordinates, term by term.

        Args:
            lifetime: Coordinates that all tasks share.
            task: Coordinates of each task.
            data: Evidence of these tasks, with its outcome.
            discrete: Values of discrete latents, by name, `[task, *shape]` or `[*shape]`.
        """
        return self._terms(self._at(lifetime, task, data, discrete), data)

    @eqx.filter_jit
    def terms_at(
        self,
        values: Mapping[str, Array],
        lifetime: Float[Array, " lifetime"],
        task: Float[Array, "task size"],
        data: Data,
    ) -> Terms:
        """As `terms`, with some latents held where they are in the user's own space.

        Their density is that of the value, and so moves with the program's parameters; the density
        of a coordinate does not.

        Args:
            values: Those latents by name, `[task, *shape]` or `[*shape]`; all that are discrete.
            lifetime: Coordinates of all latents that tasks share; of no matter where a value is.
            task: Coordinates of each task, likewise.
            data: Evidence of these tasks, with its outcome.
        """
        places = unpack(self.latents, lifetime, task)
        walked = self._walk(
            data,
            values=self._as_sites(values),
            coordinates={name: u for name, u in places.items() if name not in values},
            kinds={latent.name: latent.kind for latent in self.latents},
        )
        return self._terms(walked, data)

    @jit_by_work
    def constrain(
        self,
        lifetime: Float[Array, " lifetime"],
        task: Float[Array, "task size"],
        task_columns: Mapping[str, Array],
        key: PRNGKeyArray | None = None,
        discrete: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """The latents and deterministics at a point, in the user's own space.

        Args:
            lifetime: Coordinates that all tasks share.
            task: Coordinates of each task.
            task_columns: Columns of the task, `[task, 1, ...]`.
            key: With which discrete latents that are not given are drawn from their prior.
            discrete: Values of discrete latents, by name, `[task, *shape]` or `[*shape]`.

        Returns:
            By name: `[*shape]` in a lifetime, `[task, *shape]` in a task.
        """
        data = self.without_rows(task_columns, task.shape[0])
        return self._values(self._at(lifetime, task, data, discrete, key=key).sites)

    @jit_by_work
    def unconstrain(
        self, values: Mapping[str, Array], task_columns: Mapping[str, Array], tasks: int
    ) -> tuple[Float[Array, " lifetime"], Float[Array, "task size"]]:
        """The point at which the latents have these values: the inverse of `constrain`."""
        data = self.without_rows(task_columns, tasks)
        sites = self._walk(data, values=self._as_sites(values)).sites
        coordinates = {
            latent.name: to_coordinate(sites[latent.name].fn, sites[latent.name].value, latent.kind)
            for latent in self.latents
            if not latent.discrete
        }
        return pack(self.latents, coordinates, tasks)

    @jit_by_work
    def coordinates_and_log_jacobian(
        self, values: Mapping[str, Array], task_columns: Mapping[str, Array], tasks: int
    ) -> tuple[Float[Array, " lifetime"], Float[Array, "task size"], dict[str, Array]]:
        """The point at which the latents have these values, and log |du/dv| of each site there.

        A site's log density in the user's own space v is that of its coordinate u plus log |du/dv|,
        scalar or `[task]`, given the sites before it.
        """
        lifetime, task = self.unconstrain(values, task_columns, tasks)
        discrete = {x.name: values[x.name] for x in self.discrete if x.name in values}
        data = self.without_rows(task_columns, tasks)
        sites = self._at(lifetime, task, data, discrete).sites
        jacobian = {}
        for latent in self.latents:
            if not latent.discrete:
                site = sites[latent.name]
                change = site.log_prob - site.log_density
                inside = latent.scope == TASK
                jacobian[latent.name] = sum_per_task(change, tasks) if inside else jnp.sum(change)
        return lifetime, task, jacobian

    @jit_by_work
    def log_prior_by_site(
        self, values: Mapping[str, Array], task_columns: Mapping[str, Array], tasks: int
    ) -> dict[str, Array]:
        """Log prior of each site (latents, factors) in the user's own space: scalar or `[task]`."""
        data = self.without_rows(task_columns, tasks)
        return self.priors_of(self.walk_at(values, data), tasks)

    @jit_by_work
    def log_likelihood_of(
        self, values: Mapping[str, Array], data: Data
    ) -> Float[Array, "task step"]:
        """Log likelihood of each outcome, given the latents in the user's own space."""
        return self.rows_of(self.walk_at(values, data), data)

    @jit_by_work
    def supports(self, values: Mapping[str, Array], data: Data) -> Array:
        """Whether each outcome, `[task, step, ...]`, is one that its distribution can give."""
        site = self.walk_at(values, data).sites[self.outcome.site]
        return supported(site.fn, site.value)

    @jit_by_work
    def simulate(
        self, key: PRNGKeyArray, data: Data, values: Mapping[str, Array] | None = None
    ) -> Simulated:
        """Draws a lifetime: what is not given in `values`, and the outcome of each step.

        A stateful program is walked step by step, so that its state follows the drawn outcomes.
        """
        data = data._replace(outcome=None)
        given = self._as_sites(values or {})
        if not self.signature.stateful:
            return self._simulated(self._walk(data, key=key, values=given))
        keys = jax.random.split(key, data.steps)
        first = self._walk(data.step(slice(0, 1), data.state), key=keys[0], values=given)
        latents = {latent.name: first.sites[latent.name].value for latent in self.latents}
        drawn = self._simulated(first)

        def one_step(state: PyTree, xs: Any) -> tuple[PyTree, Array]:
            key, columns = xs
            done = self._walk(one_step_of(data, columns, state), key=key, values=latents)
            return done.state, done.sites[self.outcome.site].value[:, 0]

        state, rest = jax.lax.scan(one_step, drawn.state, (keys[1:], later_steps(data.columns)))
        outcome = jnp.concatenate([drawn.outcome, jnp.moveaxis(rest, 0, 1)], 1)
        return Simulated(drawn.values, outcome, state)

    @jit_by_work
    def state_after(self, values: Mapping[str, Array], data: Data, mask: Array) -> PyTree:
        """The state of a stateful program after the rows that `mask`, `[task, step]`, calls real.

        The first row of each task must be real: a program does not show the state it starts from.
        """
        given = self._as_sites(values)
        start = self._walk(data.step(slice(0, 1), data.state), values=given).state

        def one_step(state: PyTree, xs: Any) -> tuple[PyTree, None]:
            columns, outcome, real = xs
            now = one_step_of(data, columns, state)._replace(outcome=outcome[:, None])
            after = self._walk(now, values=given).state
            keep = jax.tree.map(
                lambda new, old: jnp.where(shaped_like(real, new), new, old), after, state
            )
            return keep, None

        later = (
            later_steps(data.columns),
            *later_steps({"y": data.answers, "mask": mask}).values(),
        )
        return jax.lax.scan(one_step, start, later)[0]

    # --- one task, one step

    def log_prior(
        self,
        u: Float[Array, " size"],
        task_columns: Mapping[str, Array] | None = None,
        discrete: Mapping[str, Array] | None = None,
    ) -> Float[Array, ""]:
        """Log prior of one task's flat vector, in nats: that of N(0, I), plus any factors.

        Args:
            u: The flat vector.
            task_columns: Columns of the task, by name, `[...]`.
            discrete: Values of discrete latents, by name, `[*shape]`; their log prior counts too.
        """
        columns = {name: x[None, None] for name, x in (task_columns or {}).items()}
        data = self.without_rows(columns, 1)
        lifetime, task = self._split(u)
        terms = self._priors(self._at(lifetime, task, data, self._of_one(discrete)).sites, 1)
        return terms[0] + terms[1].sum()

    def log_likelihood(
        self,
        u: Float[Array, " size"],
        step: Step,
        state: PyTree = None,
        discrete: Mapping[str, Array] | None = None,
    ) -> Float[Array, ""]:
        """Log likelihood of one piece of evidence, in nats. jit- and vmap-able."""
        return self.log_likelihood_and_state(u, step, state, discrete)[0]

    def log_likelihood_and_state(
        self,
        u: Float[Array, " size"],
        step: Step,
        state: PyTree = None,
        discrete: Mapping[str, Array] | None = None,
    ) -> tuple[Float[Array, ""], PyTree]:
        """Log likelihood of one piece of evidence, and the state after it."""
        data = self._data(step, state)
        walked = self._at(*self._split(u), data, self._of_one(discrete))
        return self.rows_of(walked, data)[0, 0], walked.state

    def score(
        self, u: Float[Array, " size"], step: Step, state: PyTree = None
    ) -> Float[Array, " size"]:
        """Gradient of the log likelihood of one piece of evidence."""
        return jax.grad(self.log_likelihood)(u, step, state)

    def fisher(
        self, u: Float[Array, " size"], step: Step, state: PyTree = None
    ) -> Float[Array, "size size"]:
        """Fisher information of one piece of evidence about u; positive semi-definite.

        Expected, JᵀIJ with the family's own information I in closed form and J the Jacobian of its
        parameters; else minus the Hessian at the outcome, its negative eigenvalues set to zero.
        """
        if self.information == EXPECTED:
            data = self._data(step, state)
            jacobian = jax.jacfwd(lambda u: self.outcome_parameters(u, data)[0])(u)
            information = self.outcome_parameters(u, data)[1]
            return jnp.einsum("tpi,tpq,tqj->ij", jacobian, information, jacobian)
        return nearest_psd(-jax.hessian(self.log_likelihood)(u, step, state))

    def stein_score_and_fisher(
        self,
        u: Float[Array, " size"],
        scale_tril: Float[Array, "size size"],
        step: Step,
        state: PyTree = None,
    ) -> tuple[Float[Array, " size"], Float[Array, "size size"]]:
        """Score and curvature averaged over N(u, S Sᵀ) by sigma points: needs no gradient."""
        score, hessian = stein_score_and_hessian(
            lambda u: self.log_likelihood(u, step, state), u, scale_tril
        )
        return score, nearest_psd(-hessian)

    # --- one task, all its steps

    def rows_and_factors(
        self,
        u: Float[Array, " size"] | tuple[Float[Array, " a"], Float[Array, " z"]],
        data: Data,
        discrete: Mapping[str, Array] | None = None,
        own: bool = False,
    ) -> tuple[Float[Array, " step"], Float[Array, ""]]:
        """Log likelihood of each row of one task, `data` of `[1, step, ...]`, and of its factors.

        Where the program is prior-normal, the log density of u is the sum of both, plus that of
        N(0, I).

        Args:
            u: The flat vector, or its two parts: what tasks share and the task's own. As parts the
                one need not be computed anew where only the other moves.
            data: Of the task.
            discrete: Values of discrete latents, by name, `[*shape]`.
            own: Whether only what is the task's own counts: not the lifetime's factors, but the log
                prior of the task's discrete latents.
        """
        walked = self._at(*self._split(u), data, self._of_one(discrete))
        factors = [site for site in walked.sites.values() if site.kind in ("factor", "observed")]
        if own:
            assigned = [walked.sites[latent.name] for latent in self.discrete]
            factors = [site for site in (*factors, *assigned) if site.inside(TASK)]
        total = sum((jnp.sum(site.log_prob) for site in factors), jnp.zeros(()))
        return self.rows_of(walked, data)[0], total

    def log_prior_of_discrete(
        self, u: Float[Array, " size"], data: Data, discrete: Mapping[str, Array]
    ) -> Float[Array, ""]:
        """Log prior of values of one task's discrete latents, by name `[*shape]`, in nats."""
        walked = self._at(*self._split(u), data, self._of_one(discrete))
        each = [jnp.sum(walked.sites[latent.name].log_prob) for latent in self.discrete]
        return sum(each, jnp.zeros(()))

    def outcome_parameters(
        self,
        u: Float[Array, " size"] | tuple[Float[Array, " a"], Float[Array, " z"]],
        data: Data,
        discrete: Mapping[str, Array] | None = None,
    ) -> tuple[Float[Array, "step p"], Float[Array, "step p p"]]:
        """The parameters of each outcome's family, and the information of an outcome about them.

        Only where `information` is "expected". The entries of a vector outcome stand in a row.
        """
        walked = self._at(*self._split(u), data, self._of_one(discrete))
        known = outcome_information(walked.sites[self.outcome.site].fn)
        if known is None:
            raise ValueError(f"{self.outcome.family} has no information in closed form")
        return per_row(*known, data)

    # --- within

    def walk_at(self, values: Mapping[str, Array], data: Data) -> Walk:
        """Walks once with latents given in the user's own space."""
        return self._walk(data, values=self._as_sites(values))

    def rows_of(self, walked: Walk, data: Data) -> Float[Array, "task step"]:
        """The log likelihood of each outcome in a walk; -inf outside a support that moves."""
        site = walked.sites[self.outcome.site]
        if not self.outcome.support_moves:
            return sum_per_row(site.log_prob, data)
        density = log_prob_within(site.fn, site.value)
        return sum_per_row(density if site.scale is None else site.scale * density, data)

    def priors_of(self, walked: Walk, tasks: int) -> dict[str, Array]:
        """The log density of each other site in a walk, in the user's space: scalar or `[task]`."""
        return {
            name: sum_per_task(site.log_prob, tasks)
            if site.inside(TASK)
            else jnp.sum(site.log_prob)
            for name, site in walked.sites.items()
            if site.kind in ("latent", "factor", "observed")
        }

    def without_rows(self, task_columns: Mapping[str, Array], tasks: int) -> Data:
        """Data of that many tasks with one placeholder row each, where only latents matter."""
        columns = {
            name: jnp.broadcast_to(x, (tasks, 1, *x.shape[2:]))
            for name, x in self.example.columns.items()
        }
        return Data(columns, task_columns)

    def _walk(self, data: Data, key: PRNGKeyArray | None = None, **given: Any) -> Walk:
        return walk(
            self.model,
            self.signature,
            data,
            key=jax.random.key(0) if key is None else key,
            outcome_site=self.outcome.site,
            parameters=self.parameters,
            **given,
        )

    def _at(
        self,
        lifetime: Array,
        task: Array,
        data: Data,
        discrete: Mapping[str, Array] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Walk:
        return self._walk(
            data,
            key=key,
            coordinates=unpack(self.latents, lifetime, task),
            kinds={latent.name: latent.kind for latent in self.latents},
            values=self._as_sites(discrete or {}),
        )

    def _terms(self, walked: Walk, data: Data) -> Terms:
        lifetime, task = self._priors(walked.sites, data.tasks)
        return Terms(lifetime, task, self.rows_of(walked, data))

    def _priors(self, sites: Mapping[str, Site], tasks: int) -> tuple[Array, Array]:
        lifetime, task = jnp.zeros(()), jnp.zeros(tasks)
        for site in sites.values():
            if site.kind not in ("latent", "factor", "observed"):
                continue
            density = site.log_prob if site.log_density is None else site.log_density
            if site.inside(TASK):
                task = task + sum_per_task(density, tasks)
            else:
                lifetime = lifetime + jnp.sum(density)
        return lifetime, task

    def _values(self, sites: Mapping[str, Site]) -> dict[str, Array]:
        return {thing.name: thing.task_first(sites[thing.name].value) for thing in self.variables}

    def _as_sites(self, values: Mapping[str, Array]) -> dict[str, Array]:
        latents = {latent.name: latent for latent in self.latents}
        return {
            name: latents[name].as_site(jnp.asarray(value))
            for name, value in values.items()
            if name in latents
        }

    def _simulated(self, walked: Walk) -> Simulated:
        sites = walked.sites
        return Simulated(self._values(sites), sites[self.outcome.site].value, walked.state)

    def _of_one(self, discrete: Mapping[str, Array] | None) -> dict[str, Array]:
        """Values of discrete latents of one task, with an axis of tasks where there is one."""
        return {
            name: jnp.asarray(x)[None] if self.latent(name).scope == TASK else jnp.asarray(x)
            for name, x in (discrete or {}).items()
        }

    def _split(self, u: Array | tuple[Array, Array]) -> tuple[Array, Array]:
        if isinstance(u, tuple):
            return u[0], u[1][None]
        return u[: self.lifetime_size], u[None, self.lifetime_size :]

    def _data(self, step: Step, state: PyTree) -> Data:
        def lead(columns: Mapping[str, Array]) -> dict[str, Array]:
            return {name: jnp.asarray(x)[None, None] for name, x in columns.items()}

        outcome = None if step.outcome is None else jnp.asarray(step.outcome)[None, None]
        return Data(lead(step.columns), lead(step.task_columns), outcome, state)
