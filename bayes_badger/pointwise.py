"""What has a value for each row and each draw: outcomes that are predicted, and log likelihoods.

All is compiled for a fixed number of draws at once, so that the prior, the posterior and whatever
else has rows of the same tasks share what is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bayes_badger.belief import in_chains
from bayes_badger.compilation import jit_by_work
from bayes_badger.evidence import Evidence
from bayes_badger.evidence.compiled import blocks_of, data_of
from bayes_badger.program import TASK, Data, Program

# Draws of which a run asks for a log likelihood, or an outcome, and log densities that drawing an
# outcome costs: some families are drawn by rejection, in a loop.
ASKED, DRAWN, DRAWN_IN_A_LOOP = 6000, 2.0, 20.0
AT_ONCE = ("Normal", "Bernoulli", "Categorical", "Laplace", "Cauchy", "LogNormal", "Uniform")
# Draws that are computed at once; fewer where values are many, so that memory stays small.
DRAWS, VALUES = 250, 4_000_000


def predict_rows(
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Any],
    key: PRNGKeyArray,
    history: Evidence | None = None,
) -> np.ndarray:
    """An outcome for each row from each draw of the latents: `[chain, draw, row, ...]`.

    Args:
        program: The lifted program.
        evidence: The rows; their outcomes, if any, are not looked at.
        values: Draws of the latents, `[chain, draw, ...]`.
        key: For the outcomes.
        history: For a program with state, the rows that came before, of the same tasks: at least
            one of each. By default nothing came before.
    """
    return _by_block(_predicted, program, evidence, values, key, history)


def log_likelihood_rows(
    program: Program, evidence: Evidence, values: Mapping[str, Any]
) -> np.ndarray:
    """Log likelihood of each row at each draw of the latents, in nats: `[chain, draw, row]`."""
    return _by_block(_scored, program, evidence, values, jax.random.key(0))


def replicated_rows(
    program: Program, evidence: Evidence, values: Mapping[str, Any], key: PRNGKeyArray
) -> np.ndarray:
    """How much likelier each row is than one drawn anew at the same latents, in nats.

    Returns:
        Log likelihood of the row less that of its replicate, `[chain, draw, row]`.
    """

    def one(program: Program, block: _Block) -> np.ndarray:
        again = _predicted(program, block).astype(block.data.answers.dtype)
        return _scored(program, block) - _scored(program, block, again)

    return _by_block(one, program, evidence, values, key)


def over_draws(
    function: Callable[..., Any],
    program: Program,
    xs: Any,
    args: tuple[Any, ...],
    cells: int,
    each: float = 1.0,
) -> Any:
    """Maps a function of one draw over all, some at once.

    Args:
        function: Of the program, a draw, and what is the same for all. It is compiled once for
            each shape as long as it is the same object: give none that is made anew.
        program: The lifted program.
        xs: A tree of arrays `[draw, ...]`, none of keys: on the host, where slices of them cost no
            compilation.
        args: The same for all.
        cells: How many values one draw has, or so.
        each: What a value costs, where the log density of a row costs 1.
    """
    size = max(1, min(DRAWS, VALUES // max(cells, 1)))
    many, work = len(jax.tree.leaves(xs)[0]), ASKED * cells * each
    xs = jax.tree.map(np.asarray, xs)
    done = []
    for start in range(0, many, size):
        # Always as many: the last draw comes again to fill up.
        some = np.minimum(np.arange(start, start + size), many - 1)
        found = _some(function, program, jax.tree.map(lambda x, i=some: x[i], xs), args, work=work)
        kept = min(size, many - start)
        done.append(jax.tree.map(lambda x, n=kept: np.asarray(x)[:n], found))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *done)


@jit_by_work
def _some(function: Callable[..., Any], program: Program, xs: Any, args: tuple[Any, ...]) -> Any:
    return jax.vmap(lambda x: function(program, x, *args))(xs)


class _Block(NamedTuple):
    """Draws `[draw, ...]` of the latents of some tasks, their rows, and those that came before."""

    values: dict[str, np.ndarray]
    key: Array
    data: Data
    past: tuple[Data, Array] | None
    cells: int

    @property
    def draws(self) -> int:
        """How many there are."""
        return len(next(iter(self.values.values())))


def _by_block(
    function: Callable[[Program, _Block], np.ndarray],
    program: Program,
    evidence: Evidence,
    values: Mapping[str, Any],
    key: PRNGKeyArray,
    history: Evidence | None = None,
) -> np.ndarray:
    """Applies a function to each block of tasks; back to the long form of rows."""
    lead = next(iter(values.values())).shape[:2]
    blocks, done = blocks_of(evidence), []
    for i, block in enumerate(blocks):
        own = {
            name: np.asarray(x)[:, :, block.tasks] if program.latent(name).scope == TASK else x
            for name, x in values.items()
        }
        flat = {name: np.asarray(x).reshape(-1, *x.shape[2:]) for name, x in own.items()}
        own_key = jax.random.fold_in(key, i)
        past = None
        if history is not None:
            before = history.select(block.tasks).padded()
            past = data_of(before), jnp.asarray(before.mask)
        found = function(program, _Block(flat, own_key, data_of(block), past, block.mask.size))
        done.append(in_chains(found, lead))
    return evidence.long(blocks, done, axis=2)


def _predicted(program: Program, block: _Block) -> np.ndarray:
    args = block.key, block.data._replace(outcome=None), block.past
    at_once = program.outcome.family.startswith(AT_ONCE)
    each = DRAWN if at_once else DRAWN_IN_A_LOOP
    xs = (np.arange(block.draws), block.values)
    found: np.ndarray = over_draws(_outcome, program, xs, args, block.cells, each)
    return found


def _outcome(
    program: Program, xs: Any, key: Array, data: Data, past: tuple[Data, Array] | None
) -> Array:
    number, values = xs
    if past is not None:
        data = data._replace(state=program.state_after(values, *past))
    return program.simulate(jax.random.fold_in(key, number), data, values).outcome


def _scored(program: Program, block: _Block, outcome: np.ndarray | None = None) -> np.ndarray:
    """Of the rows' own outcomes, or of others, `[draw, task, step, ...]`."""
    own = np.asarray(block.data.answers)
    others = np.broadcast_to(own, (block.draws, *own.shape)) if outcome is None else outcome
    args = (block.data._replace(outcome=None),)
    found: np.ndarray = over_draws(_density, program, (block.values, others), args, block.cells)
    return found


def _density(program: Program, xs: Any, data: Data) -> Array:
    values, outcome = xs
    return program.log_likelihood_of(values, data._replace(outcome=outcome))
