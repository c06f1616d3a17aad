"""Plots: each kind becomes a picture, and equal numbers become equal files."""

from __future__ import annotations

from pathlib import Path

import pytest

from router_extproc.training.plots import draw
from router_extproc.training.report import LinePlot, MatrixPlot, Plot, Series

LINES = LinePlot("curve", "A curve", "x", "y", [Series("ours", [0, 1], [0, 1]), Series("random", [0, 1], [0, 1], "dashed")])
LOGARITHMIC = LinePlot("times", "Times", "tokens", "ms", [Series("p50", [30, 300], [0.2, 0.9], "points")], logarithmic=True)
MATRIX = MatrixPlot("confusion", "Taken for", ["a", "b"], [[9, 1], [0, 0]])


@pytest.mark.parametrize("plot", [LINES, LOGARITHMIC, MATRIX], ids=lambda plot: plot.name)
def test_a_plot_becomes_a_picture_and_always_the_same(plot: Plot, tmp_path: Path) -> None:
    """A PNG under the plot's name; drawn twice, not a byte differs, so that a repository shows real changes alone."""
    first = draw(plot, tmp_path)
    assert first == tmp_path / f"{plot.name}.png"
    picture = first.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert draw(plot, tmp_path).read_bytes() == picture
