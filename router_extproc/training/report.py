"""What a report is made of: sections of tables and plots, and named figures that a program can compare.

A head's ``training/<head>_report.py`` offers ``report(context, artefact) -> Section``; drawing is ``plots.py``'s business,
so a report holds numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from router_extproc.training.pipeline import Context


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under named columns; numbers are shown with three decimals, everything else as it is written."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""

    def markdown(self) -> str:
        """The table as a document shows it."""
        lines = ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else [])])


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot, or a cloud of points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "line"  # line, dashed or points


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Lines over two axes; ``name`` becomes the file's name."""

    name: str
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class MatrixPlot:
    """How often each true name (row) was taken for each other (column)."""

    name: str
    title: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]


Plot = LinePlot | MatrixPlot


@dataclass(frozen=True, slots=True)
class Section:
    """One head's part of the report.

    ``text`` says how it was measured; ``figures`` are the values that targets are set on, by a stable name such as
    ``routing.mmlu.apgr``.
    """

    title: str
    text: str
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The section as a document shows it; the plots lie beside it as PNG files."""
        parts = [f"## {self.title}", self.text]
        parts += [table.markdown() for table in self.tables]
        parts += [f"![{plot.title}]({plot.name}.png)" for plot in self.plots]
        return "\n\n".join(part for part in parts if part)


class Report(Protocol):
    """What a head's report module offers."""

    def __call__(self, context: Context, artefact: Path) -> Section:
        """Measures the artefact in this folder; the context's purpose is evaluation."""


def shown(cell: object) -> str:
    """One cell: numbers to three decimals, a missing number as a dash, bars escaped."""
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.3f}"
    return str(cell).replace("|", "\\|").replace("\n", " ")
