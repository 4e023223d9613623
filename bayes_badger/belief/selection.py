"""Which latents are meant: by scope, by role, by name; and where they stand in the flat vector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bayes_badger.errors import BadgerError, did_you_mean, listed
from bayes_badger.program import LIFETIME, TASK, Derived, Latent

Variable = Latent | Derived


def select[V: Variable](
    variables: Sequence[V],
    scope: str | None = None,
    role: str | None = None,
    site: str | Iterable[str] | None = None,
) -> tuple[V, ...]:
    """The variables that are of this scope, of this role, and among these sites.

    Args:
        variables: To choose from.
        scope: "lifetime" or "task"; None for both.
        role: "algorithm", "task" or the user's own label; None for all. Deterministics have none.
        site: One name or several; None for all.

    Returns:
        Those chosen, in the order in which they came.

    Raises:
        BadgerError: Where a word is not known, or nothing is all that was asked for.
    """
    chosen = list(variables)
    if scope is not None:
        _known("scope", scope, {variable.scope for variable in variables})
        chosen = [variable for variable in chosen if variable.scope == scope]
    if role is not None:
        _known("role", role, {_role(variable) for variable in variables} - {""})
        chosen = [variable for variable in chosen if _role(variable) == role]
    if site is not None:
        sites = names_of(site)
        for name in sites:
            _known("site", name, [variable.name for variable in variables])
        chosen = [variable for variable in chosen if variable.name in sites]
    if not chosen:
        asked = [f"{k} {v!r}" for k, v in (("scope", scope), ("role", role), ("site", site)) if v]
        raise BadgerError(
            f"nothing is {' and '.join(asked) or 'there'}: the belief is about {_told(variables)}"
        )
    return tuple(chosen)


def names_of(site: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    return (site,) if isinstance(site, str) else tuple(site)


def in_vector(latents: Iterable[Latent]) -> tuple[Latent, ...]:
    """The latents in the order of the flat vector: those of the lifetime, then those of a task."""
    latents = tuple(latents)
    return tuple(x for scope in (LIFETIME, TASK) for x in latents if x.scope == scope)


def positions(latents: Iterable[Latent]) -> dict[str, range]:
    """Where each latent stands in the flat vector; discrete ones have no place in it."""
    places, start = {}, 0
    for latent in in_vector(latents):
        places[latent.name] = range(start, start + latent.size)
        start += latent.size
    return places


def _role(variable: Variable) -> str:
    return variable.role if isinstance(variable, Latent) else ""


def _known(kind: str, word: str, known: Iterable[str]) -> None:
    known = list(known)
    if word not in known:
        raise BadgerError(
            f"the belief has no {kind} '{word}'{did_you_mean(word, known)}: "
            f"it has {listed(known, 12) or 'none'}"
        )


def _told(variables: Sequence[Variable]) -> str:
    return listed([variable.name for variable in variables], 12) or "no latent"
