"""What is believed of what tasks share, as rows of every task come in: 1, 2, 4, ... of each.

The run's inner loop is asked anew with the first rows of each task. Of a latent whose values have
names each value has a probability; of any other, mean and standard deviation are told. How far the
rows moved the belief is KL(q(a), p(a)) = E Σ log p(D_i | a) - log p(D), as in `posterior_shift`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import xarray as xr

from bayes_badger.errors import BadgerError
from bayes_badger.inner_loop.messages import messages
from bayes_badger.inner_loop.protocol import Report, silent
from bayes_badger.labels import safe_name
from bayes_badger.measures.definitions.posterior_shift import shift
from bayes_badger.measures.labelled import SE, Quantity, labelled
from bayes_badger.measures.subject import AnyProgram, Subject, opened
from bayes_badger.program import LIFETIME, Latent
from bayes_badger.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "What is believed of what tasks share after 1, 2, 4, ... rows of each?"
REFERENCE = "Bayes' rule on prefixes; Itti & Baldi (2009), Bayesian surprise"
ROWS, MOVED, MEAN, SD, OF = "rows", "moved", "mean_", "sd_", "probability_"
# Entries of a latent beyond which it is left out: a network's weights say nothing one by one.
ENTRIES = 16


def algorithm_by_rows(
    run: Run,
    *,
    program: AnyProgram = None,
    seed: int = 0,
    report: Report = silent,
    longest: int = 0,
) -> xr.Dataset:
    """What is believed of what tasks share as rows come in.

    Args:
        run: Of a program whose tasks share latents, fitted by an inner loop that knows the log
            evidence.
        program: The program, where the run was read and its program is not on the shelf.
        seed: Of everything random.
        report: Is told how far the work has come.
        longest: At most so many rows of each task; 0 for all that there are.

    Returns:
        Along `rows`: of each shared latent its mean and sd, or, where its values have names, the
        probability of each; and `moved`, KL(belief, prior) of all that is shared, in nats.

    Raises:
        BadgerError: Where tasks share nothing, or no log evidence is known.

    Example:
        >>> import bayes_badger as bb
        >>> found = bb.measures.algorithm_by_rows(bb.fit("eight_schools"))
        >>> found["mean_mu"].dims, found["rows"].values.tolist()
        (('rows',), [1])
    """
    subject = opened(run, program)
    shared = subject.program.select(LIFETIME)
    if not shared:
        raise BadgerError(
            f"{run.name}: tasks of {subject.program.name} share nothing: algorithm_by_rows is of "
            "programs with a latent outside the task plate; posterior_shift follows one task"
        )
    if subject.log_evidence is None:
        raise BadgerError(
            f"{run.name}: algorithm_by_rows needs the log evidence, which its inner loop does not "
            "know: fit with experts, grid, enumerate or exact"
        )
    most = int(subject.evidence.lengths.max())
    most = min(most, longest) if longest else most
    counts = [2**i for i in range(math.ceil(math.log2(most)))] + [most]
    told: dict[str, list[tuple[Any, Any]]] = {}
    doubts: list[str] = []
    for i, rows in enumerate(counts):
        report("letting rows in", i, len(counts), f"{rows} of each task")
        for name, pair in _after(subject, rows, seed, shared, doubts).items():
            told.setdefault(name, []).append(pair)
    report("letting rows in", len(counts), len(counts))
    coords: dict[Hashable, Any] = {ROWS: counts}
    values = {safe_name(x.name): list(x.labels) for x in shared}
    quantities = {}
    for name, pairs in told.items():
        value, error = (np.stack([pair[j] for pair in pairs]) for j in range(2))
        about, units = name.replace("_", " ", 1), "nats" if name == MOVED else "1"
        named: tuple[str, ...] = ()
        if name.startswith(OF):
            units, named = "probability", (name.removeprefix(OF),)
            coords[named[0]] = values[named[0]]
        inner = (f"{name}_dim_{j}" for j in range(value.ndim - 1 - len(named)))
        quantities[name] = Quantity(about, value, error, dims=(ROWS, *inner, *named), units=units)
    left = [x.name for x in shared if _left_out(x)]
    notes = [f"left out, for they have too many entries: {', '.join(left)}"] if left else []
    return labelled("algorithm_by_rows", REFERENCE, quantities, coords, notes, doubts)


def _left_out(latent: Latent) -> bool:
    return math.prod(latent.shape) > ENTRIES


def _after(
    subject: Subject, rows: int, seed: int, shared: tuple[Latent, ...], doubts: list[str]
) -> dict[str, tuple[Any, Any]]:
    """Values with their standard errors after so many rows of each task."""
    evidence = subject.evidence
    starts = np.concatenate([[0], np.cumsum(evidence.lengths)[:-1]])
    place = np.arange(evidence.n_rows) - starts[evidence.task_index]
    some = evidence.select_rows(place < rows)
    keys = jax.random.split(jax.random.key(seed))
    belief = subject.inner_loop.infer(subject.program, some, keys[0])
    doubts += [f"after {rows} of each task: {x}" for x in belief.warnings]
    flat = {n: np.asarray(x).reshape(-1, *x.shape[2:]) for n, x in belief.draws.values.items()}
    said = messages(subject.program, some, flat, keys[1])
    assert belief.log_evidence is not None  # noqa: S101 - the run's own loop, which knows it
    moved = shift(said.log_evidence.sum(1), belief.log_evidence, belief.log_evidence_error or 0.0)
    found: dict[str, tuple[Any, Any]] = {MOVED: moved[:2]}
    for latent in shared:
        x, name = flat[latent.name].astype(float), safe_name(latent.name)
        if _left_out(latent):
            continue
        if latent.labels:
            share = (x[..., None] == np.arange(len(latent.labels))).mean(0)
            found[OF + name] = share, np.sqrt(share * (1 - share) / len(x))
        else:
            sd = x.std(0, ddof=1)
            found[MEAN + name] = x.mean(0), sd / np.sqrt(len(x))
            found[SD + name] = sd, sd / np.sqrt(2 * len(x))
    return found


def plot(found: xr.Dataset, axes: Axes) -> None:
    """Probabilities of the first latent whose values have names; else how far belief moved."""
    rows = found[ROWS].values
    named = [x for x in found.data_vars.values() if x.attrs["units"] == "probability"]
    named = [x for x in named if x.ndim == 2 and not str(x.name).endswith(SE)]
    if named:
        share = named[0]
        values = [str(x) for x in share[share.dims[1]].values]
        for i in np.argsort(-share.values[-1], kind="stable"):
            axes.plot(rows, share.values[:, i], "o-", ms=3.5, label=values[i])
        axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_ylabel(f"probability of each {share.dims[1]}")
        axes.set_ylim(-0.02, 1.02)
    else:
        axes.errorbar(rows, found[MOVED].values, found[MOVED + SE].values, fmt="o-", ms=4)
        axes.set_ylabel("belief in what tasks share moved by (nats)")
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows, [str(x) for x in rows])
    axes.set_xlabel("rows of each task")
