"""One doubt, and all doubts of a run, as they are stored with it and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bayes_badger.doubts.reading import part, texts

# What a doubt can be about.
NUMBERS, TASKS, FIT, LEFT_OUT = "numbers", "tasks", "fit", "leave-one-out"
# Doubts about these say that the posterior's numbers are not to be trusted.
OF_THE_POSTERIOR = (NUMBERS, TASKS)
# What stands above the doubts about each, in the order in which they are shown.
HEADINGS = {
    NUMBERS: "Not to be trusted",
    TASKS: "Not to be trusted",
    FIT: "About the program, not about its posterior",
    LEFT_OUT: "About comparing runs, not about the posterior",
}
# What inference itself said: its sentences say how to mend it.
INFERENCE = "inference"


@dataclass(frozen=True)
class Doubt:
    """One reason to doubt a part of a run.

    Attributes:
        about: What it concerns: `numbers` (the posterior), `tasks` (the numbers of some tasks),
            `fit` (whether the program fits its data) or `leave-one-out` (comparisons of runs).
        kind: Which check found it, `chains` or `predictive check`.
        sentence: What was found.
        mend: What can be done about it; empty where the sentence says it.
    """

    about: str
    kind: str
    sentence: str
    mend: str = ""

    @property
    def text(self) -> str:
        """The sentence, and how to mend it.

        Example:
            >>> Doubt(NUMBERS, "chains", "r_hat of mu is 1.2", "warm up longer").text
            'r_hat of mu is 1.2: warm up longer'
        """
        return f"{self.sentence}: {self.mend}" if self.mend else self.sentence


@dataclass(frozen=True)
class Findings:
    """All doubts of a run.

    Attributes:
        doubts: Those about the posterior's numbers first, in the order of `HEADINGS`.
        not_looked_at: Checks that could not be made, each with the reason.
    """

    doubts: tuple[Doubt, ...] = ()
    not_looked_at: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Why the posterior's numbers are not to be trusted; empty where nothing says so."""
        return [x.text for x in self.doubts if x.about in OF_THE_POSTERIOR]

    @property
    def others(self) -> list[Doubt]:
        """Doubts that do not concern the posterior's numbers."""
        return [x for x in self.doubts if x.about not in OF_THE_POSTERIOR]

    def by_heading(self) -> list[tuple[str, list[str]]]:
        """Headings with the texts of the doubts under each; only those that have any."""
        found: dict[str, list[str]] = {}
        for doubt in self.doubts:
            found.setdefault(HEADINGS[doubt.about], []).append(doubt.text)
        return list(found.items())

    def as_table(self) -> dict[str, Any]:
        """As a run's spec holds it."""
        return {
            "warnings": self.warnings,
            "doubts": [asdict(x) for x in self.doubts],
            "not_looked_at": list(self.not_looked_at),
        }


def gathered(doubts: list[Doubt], not_looked_at: list[str]) -> Findings:
    """Doubts in the order of what they concern, each sentence once."""
    order = list(HEADINGS)
    first = {x.text: x for x in reversed(doubts)}
    kept = [first[text] for text in dict.fromkeys(x.text for x in doubts)]
    return Findings(
        tuple(sorted(kept, key=lambda x: order.index(x.about))), tuple(dict.fromkeys(not_looked_at))
    )


def told_warnings(spec: Mapping[str, Any]) -> list[str]:
    """The warnings of a spec; a stored one may be anything."""
    found = part(spec, "result").get("warnings") or []
    return texts(found if isinstance(found, list | tuple) else [found])


def stored(spec: Mapping[str, Any]) -> Findings | None:
    """What was found when the run was made; None where nobody looked.

    Warnings that are not among the stored doubts are doubts too: whatever changed the spec.
    """
    result = part(spec, "result")
    rows = result.get("doubts")
    if not isinstance(rows, list | tuple):
        return None
    doubts = [_read(row) for row in rows]
    known = {x.text for x in doubts}
    doubts += [Doubt(NUMBERS, INFERENCE, x) for x in told_warnings(spec) if x not in known]
    return gathered(doubts, texts(result.get("not_looked_at")))


def _read(row: Any) -> Doubt:
    """A stored doubt; of what cannot be read as one, the text, about the numbers."""
    if not isinstance(row, Mapping):
        return Doubt(NUMBERS, INFERENCE, str(row))
    about = str(row.get("about"))
    words = (str(row.get(name) or "") for name in ("kind", "sentence", "mend"))
    return Doubt(about if about in HEADINGS else NUMBERS, *words)
