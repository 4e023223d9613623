"""A run in memory: what was asked, what came out, and whether it is to be trusted."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from bayes_badger.errors import did_you_mean, listed

if TYPE_CHECKING:
    from bayes_badger.doubts import Doubt, Findings

REPR_TASKS = 4
REPR_ROWS = 24


@dataclass(kw_only=True, eq=False, repr=False)
class Run:
    """One fit: its spec, posterior, evidence and parameters.

    Groups of the tree are attributes: `run.posterior`, `run.log_likelihood`, ...

    Attributes:
        spec: What was asked, with what, and how it went: plain values.
        tree: The posterior and the other groups, as ArviZ takes them.
        evidence: What it was fitted to.
        parameters: What was learned: arrays by name.
        metrics: The progress, a table for each line.
        path: Where it is stored; None where it is not.
        program: The lifted program; None where the run was read, for reading executes nothing.
    """

    spec: Mapping[str, Any]
    tree: xr.DataTree
    evidence: xr.Dataset
    parameters: Mapping[str, np.ndarray] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    path: Path | None = None
    program: Any = None

    def __getattr__(self, name: str) -> xr.Dataset:
        # Reached only for what is no attribute; by way of __dict__, for copies are made empty.
        tree = self.__dict__.get("tree")
        groups = list(tree.children) if tree is not None else []
        if name in groups:
            return self.__dict__["tree"][name].to_dataset()
        hint = did_you_mean(name, groups)
        raise AttributeError(f"a run has no '{name}'{hint}; its groups are {listed(groups, 12)}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *map(str, self.tree.children)]

    @property
    def name(self) -> str:
        """The name of its folder; where it has none, the name that it was given."""
        return self.path.name if self.path else str(self.spec.get("name") or "run")

    @property
    def task_name(self) -> str:
        """What the user calls a task: the dim of the tasks."""
        return str(self._part("evidence").get("task_name") or "task")

    @property
    def warnings(self) -> list[str]:
        """Why the posterior's numbers are not to be trusted; empty where nothing says so."""
        return self.findings.warnings

    @property
    def doubts(self) -> list[Doubt]:
        """All that speaks against the run: its numbers, the program's fit, leave-one-out.

        Those about its numbers are its `warnings`.
        """
        return list(self.findings.doubts)

    @property
    def findings(self) -> Findings:
        """What was found when the run was looked at: its doubts, and what was not looked at.

        It is stored with a run; one without is looked at once, which takes a moment.
        """
        from bayes_badger.doubts.doubt import stored

        found = stored(self.spec)
        if found is not None:
            return found
        known = self.__dict__.get("_looked")
        if known is None or known[0] is not self.spec or known[1] is not self.tree:
            from bayes_badger.doubts.checks import look

            known = self.__dict__["_looked"] = self.spec, self.tree, look(self.spec, self.tree)
        looked: Findings = known[2]
        return looked

    def summary(self, tasks: int = 16) -> pd.DataFrame:
        """The table of the posterior, lifetime latents first, with 89 % equal-tailed intervals.

        Args:
            tasks: How many tasks to show; `attrs["tasks_left_out"]` counts the rest.
        """
        from bayes_badger.runs.summary import posterior_table

        latents = self._part("program").get("latents") or []
        rows = [latent for latent in latents if isinstance(latent, Mapping)]
        return posterior_table(self.tree, self.task_name, tasks=tasks, latents=rows)

    def save(self, parent: str | Path) -> Path:
        """Writes the run into a new folder of `parent`, and returns that folder.

        Raises:
            BadgerError: Where something cannot be stored, or the disk is full.
        """
        from bayes_badger.runs.store import write_run

        self.path = write_run(
            parent,
            str(self.spec.get("name") or "run"),
            spec=self.spec,
            tree=self.tree,
            evidence=self.evidence,
            parameters=self.parameters,
            metrics=self.metrics,
        )
        return self.path

    def __repr__(self) -> str:
        lines = [f"Run {_plain(self.name)}"]
        lines += [f"  {label:<9} {_plain(value)}" for label, value in self._facts()]
        table, note = self._table()
        if table is not None:
            lines += ["", *(f"  {_plain(line)}" for line in table.to_string().split("\n"))]
        lines += [f"  {_plain(note)}"] if note else []
        for heading, texts in self.findings.by_heading():
            lines += ["", f"  {heading}:"]
            lines += [f"  - {_plain(text)}" for text in texts]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
            for label, value in self._facts()
        )
        table, note = self._table()
        parts = [f"<b>Run {html.escape(self.name)}</b>", f"<table>{rows}</table>"]
        if table is not None:
            parts.append(table.to_html(escape=True))
        if note:
            parts.append(f"<p>{html.escape(note)}</p>")
        for heading, texts in self.findings.by_heading():
            items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
            parts.append(f"<p><b>{heading}:</b></p><ul>{items}</ul>")
        return f"<div>{''.join(parts)}</div>"

    def _facts(self) -> list[tuple[str, str]]:
        evidence, sizes = self._part("evidence"), {}
        if "posterior" in self.tree.children:
            sizes = dict(self.tree["posterior"].sizes)
        facts = {
            "program": self._part("program").get("name"),
            "recipe": self._part("recipe").get("name"),
            "evidence": _sizes(evidence, self.task_name),
            "posterior": self._drawn(sizes) if {"chain", "draw"} <= set(sizes) else None,
            "seed": self.spec.get("seed"),
            "stored": self.path or "not stored: run.save(folder)",
        }
        return [(label, str(value)) for label, value in facts.items() if value is not None]

    def _drawn(self, sizes: Mapping[Any, int]) -> str:
        if self._part("result").get("independent") is True:
            return f"{sizes['chain'] * sizes['draw']} independent draws"
        return f"{sizes['chain']} chains of {sizes['draw']} draws"

    def _table(self) -> tuple[pd.DataFrame | None, str]:
        """A short table and what it leaves out. Showing a run must never fail."""
        try:
            table = self.summary(tasks=REPR_TASKS)
        except Exception as error:
            return None, f"(no table: {type(error).__name__}: {str(error).partition(chr(10))[0]})"
        notes = ["89% equal-tailed intervals"]
        if table.attrs["tasks_left_out"]:
            notes.append(
                f"{table.attrs['tasks_left_out']} more of {self.task_name}: run.summary(tasks=...)"
            )
        if table.attrs["variables_left_out"]:
            notes.append(f"too long to show: {listed(table.attrs['variables_left_out'])}")
        if len(table) > REPR_ROWS:
            notes.append(f"{len(table) - REPR_ROWS} more rows: run.summary()")
            table = table.iloc[:REPR_ROWS]
        return (table, "; ".join(notes)) if len(table) else (None, "(no latents)")

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.spec.get(name)
        return part if isinstance(part, Mapping) else {}


def _sizes(evidence: Mapping[str, Any], task_name: str) -> str | None:
    if "tasks" not in evidence:
        return None
    unit = "" if task_name == "task" else f" ({task_name})"
    return f"{evidence['tasks']} tasks{unit}, {evidence.get('rows', '?')} rows"


def _plain(value: object) -> str:
    """Text without what would move the cursor or colour a terminal."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in str(value)
    )
