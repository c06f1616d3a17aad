"""Draws the plots of a report as PNG files.

matplotlib is loaded when the first plot is drawn: importing it looks for fonts on the disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from router_extproc.training.report import LinePlot, MatrixPlot, Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = {"line": "-", "dashed": "--", "points": "o"}
_DOTS_PER_INCH = 120
_LINE_SIZE, _MATRIX_CELL, _MATRIX_MARGIN = (6.4, 4.2), 0.5, 2.5


def draw(plot: Plot, folder: Path) -> Path:
    """Writes ``<name>.png`` into the folder; returns where."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - looks for fonts at import

    side = _MATRIX_CELL * len(plot.labels) + _MATRIX_MARGIN if isinstance(plot, MatrixPlot) else 0
    figure = Figure(figsize=_LINE_SIZE if isinstance(plot, LinePlot) else (side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(plot.title, fontsize="medium")
    if isinstance(plot, LinePlot):
        _draw_lines(plot, axes)
    else:
        _draw_matrix(plot, axes)
    path = folder / f"{plot.name}.png"
    # Without the library's version in the file, equal plots are equal files.
    figure.savefig(path, dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return path


def _draw_lines(plot: LinePlot, axes: Axes) -> None:
    for series in plot.series:
        axes.plot(series.x, series.y, _STYLES[series.style], label=series.label, linewidth=1.4, markersize=4)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    if plot.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.grid(visible=True, alpha=0.3)
    if plot.series:
        axes.legend(fontsize="small")


def _draw_matrix(plot: MatrixPlot, axes: Axes) -> None:
    shares = [[count / max(1, sum(row)) for count in row] for row in plot.counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(plot.labels))
    axes.set_xticks(places, plot.labels, rotation=60, ha="right", fontsize="small")
    axes.set_yticks(places, plot.labels, fontsize="small")
    axes.set_xlabel("taken for")
    axes.set_ylabel("true")
    dark = 0.5
    for row, counts in enumerate(plot.counts):
        for column, count in enumerate(counts):
            if count:
                colour = "white" if shares[row][column] > dark else "black"
                axes.text(column, row, str(count), ha="center", va="center", fontsize="x-small", color=colour)
