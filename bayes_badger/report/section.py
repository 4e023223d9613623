"""What a section of the page is made of: a sentence, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from markupsafe import Markup

from bayes_badger.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under titles.

    Attributes:
        caption: What it shows.
        columns: The title of each column; the first column names the row.
        rows: The cells.
        words: How many columns hold words; the others hold numbers, aligned on the right.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    kind: str = "table"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names with what is to be said of each, one line or several."""

    caption: str
    rows: Sequence[tuple[str, Sequence[str]]]
    kind: str = "facts"


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """Sentences that each stand alone."""

    sentences: Sequence[str]
    kind: str = "bullets"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A part of a section, with the sentence that leads it."""

    title: str
    lead: str
    kind: str = "heading"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Pictures side by side, as many as there is room for, with one caption and one legend.

    Attributes:
        pictures: SVG.
        caption: What they show.
        legend: Classes of the style sheet's swatches, each with its meaning.
        small: Whether they stay readable at half the width.
        tall: Whether the first is as high as two others.
    """

    pictures: Sequence[Markup]
    caption: str
    legend: Sequence[tuple[str, str]] = ()
    small: bool = False
    tall: bool = False
    kind: str = "figures"


Block = Table | Facts | Bullets | Heading | Figures


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading.
        lead: One plain sentence about this very run.
        blocks: What bears the sentence out.
        alarming: Whether the sentence says that numbers are not to be trusted.
        wary: Whether it names a doubt about something else.
    """

    title: str
    lead: str
    blocks: Sequence[Block] = ()
    alarming: bool = False
    wary: bool = False

    @property
    def tone(self) -> str:
        """The class of the style sheet for its sentence; empty where nothing is wrong."""
        return "bad" if self.alarming else "fair" if self.wary else ""

    @property
    def anchor(self) -> str:
        """Where a link in the page leads."""
        return re.sub(r"[^a-z]+", "-", self.title.lower()).strip("-")


@runtime_checkable
class SectionMaker(Protocol):
    """A file that makes a section."""

    @property
    def title(self) -> str:
        """The heading, known before anything is made of the run."""

    def build(self, run: Run) -> Section | None:
        """The section, or None where it does not apply to a run of this kind."""
