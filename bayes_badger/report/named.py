"""Discrete latents whose values have names: how probable each is, of the lifetime and by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bayes_badger.named_values import chances, names_of
from bayes_badger.report.contents import SAMPLE, evenly, group, in_order, posterior, task_labels
from bayes_badger.report.figure import INK, OBSERVED, POSTERIOR, PRIOR, picture
from bayes_badger.report.section import Block, Bullets, Figures, Section, Table
from bayes_badger.report.text import label, percent, short
from bayes_badger.runs.run import Run

title = "Which one is it?"

MOST_VALUES, MOST_TASKS, MOST_LATENTS = 24, 16, 4


@dataclass(frozen=True, eq=False)
class Named:
    """A latent whose values have names.

    Attributes:
        name: Of the latent, with its place where it has several.
        values: What they are called.
        share: Posterior probabilities, `[value]` or `[task, value]`.
        prior: The same before any evidence, `[value]`; None where the run has no prior.
        truth: Which it was, `[]` or `[task]`, -1 where that is not known.
    """

    name: str
    values: tuple[str, ...]
    share: np.ndarray
    prior: np.ndarray | None
    truth: np.ndarray


def build(run: Run) -> Section | None:
    """None where no values have names."""
    found = named(run)
    if not found:
        return None
    blocks: list[Block] = []
    for latent in found[:MOST_LATENTS]:
        blocks += _of_lifetime(latent) if latent.share.ndim == 1 else _of_tasks(run, latent)
    if len(found) > MOST_LATENTS:
        rest = ", ".join(x.name for x in found[MOST_LATENTS:])
        blocks.append(Bullets(sentences=[f"Not shown: {rest}."]))
    return Section(title=title, lead=_lead(run, found[0]), blocks=blocks)


def named(run: Run) -> list[Named]:
    """Those of the posterior, in the program's order."""
    everything, before, true = posterior(run), group(run, "prior"), group(run, "truth")
    found = []
    for name in in_order(run, everything):
        variable = everything[name]
        values = names_of(variable)
        if not values:
            continue
        lead = [run.task_name] if run.task_name in variable.dims else []
        inner = [dim for dim in variable.dims if dim not in (*SAMPLE, *lead)]
        dims = (*lead, *inner)
        share = _share(variable, values, dims)
        prior = None
        if name in before and set(before[name].dims) == set(variable.dims):
            prior = _share(before[name], values, dims)
            prior = prior.mean(0) if lead else prior
        truth = np.full(share.shape[:-1], -1)
        if name in true and set(true[name].dims) == set(dims):
            truth = np.asarray(true[name].transpose(*dims).values, int)
        for place in np.ndindex(*share.shape[len(lead) : -1]):
            at = (*([slice(None)] * len(lead)), *place)
            index = f"[{', '.join(map(str, place))}]" if place else ""
            found.append(
                Named(
                    label(name) + index,
                    tuple(label(x) for x in values),
                    share[at],
                    None if prior is None else prior[place],
                    np.asarray(truth[at]),
                )
            )
    return found


def _share(variable: xr.DataArray, values: tuple[str, ...], dims: tuple[Any, ...]) -> np.ndarray:
    """Probabilities `[*dims, value]`."""
    averaged = chances(variable, values).mean(SAMPLE)
    return np.asarray(averaged.transpose(*dims, ...).values, float)


def _lead(run: Run, latent: Named) -> str:
    names = latent.values
    if latent.share.ndim == 1:
        best = int(latent.share.argmax())
        share = float(latent.share[best])
        sure = f"with a probability of {percent(share)}" if share < 1 else "in all draws"
        return f"{latent.name} is {names[best]} {sure}."
    best_of = latent.share.argmax(1)
    counts = np.bincount(best_of, minlength=len(names))
    best = int(counts.argmax())
    return (
        f"{names[best]} is the most probable {latent.name} of {counts[best]:,} of "
        f"{len(best_of):,} tasks; the mean probability of what is most probable is "
        f"{percent(float(latent.share.max(1).mean()))}."
    )


def _of_lifetime(latent: Named) -> list[Block]:
    order = np.argsort(-latent.share, kind="stable")[:MOST_VALUES]
    rows = []
    for i in order:
        cells = [latent.values[i], f"{latent.share[i]:.3f}"]
        cells += [f"{latent.prior[i]:.3f}"] if latent.prior is not None else []
        cells += ["true"] if latent.truth == i else [""] if latent.truth >= 0 else []
        rows.append(cells)
    columns = [latent.name, "probability", *(["before"] if latent.prior is not None else [])]
    columns += ["at work"] if latent.truth >= 0 else []
    left = len(latent.values) - len(order)
    caption = f"Probability of each {latent.name}, before and after the evidence"
    caption += f"; {left:,} less probable ones are left out" if left else ""
    shown = order[::-1]

    def draw(axes: Axes) -> None:
        height = np.arange(len(shown))
        colours = [OBSERVED if latent.truth == i else POSTERIOR for i in shown]
        axes.barh(height, latent.share[shown], 0.6, color=colours, alpha=0.55)
        if latent.prior is not None:
            axes.plot(latent.prior[shown], height, "|", color=PRIOR, markersize=11, mew=1.6)
        axes.set_yticks(height, [short(latent.values[i]) for i in shown])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"probability of {short(latent.name)}")

    told = f"Probability of each {latent.name}"
    legend = [("posterior", "posterior"), ("prior", "prior")]
    legend += [("observed", "what was at work")] if latent.truth >= 0 else []
    return [
        Table(caption=caption, columns=columns, rows=rows),
        Figures(
            pictures=[picture(draw, told, height=0.8 + 0.24 * len(shown))],
            caption=told,
            legend=legend,
        ),
    ]


def _of_tasks(run: Run, latent: Named) -> list[Block]:
    labels = task_labels(run)
    shown = evenly(len(labels), MOST_TASKS)
    values = np.argsort(-latent.share.mean(0), kind="stable")[:MOST_VALUES]
    simulated = bool((latent.truth >= 0).any())
    rows = [
        [
            labels[i],
            *(f"{latent.share[i, v]:.2f}" for v in values),
            *([latent.values[latent.truth[i]]] if simulated else []),
        ]
        for i in shown
    ]
    mean = latent.share.mean(0)
    rows.append(["all tasks", *(f"{mean[v]:.2f}" for v in values), *([""] if simulated else [])])
    columns = ["task", *(latent.values[v] for v in values), *(["true"] if simulated else [])]
    left = len(labels) - len(shown)
    caption = f"Probability of each {latent.name}, by task"
    caption += f"; {left:,} of {len(labels):,} tasks are left out" if left else ""
    return [Table(caption=caption, columns=columns, rows=rows)]
