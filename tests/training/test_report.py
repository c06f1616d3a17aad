"""Reports: what a table and a section look like in a document."""

from __future__ import annotations

from router_extproc.training.report import LinePlot, Section, Table


def test_a_table_shows_numbers_to_three_decimals_and_escapes_bars() -> None:
    """A cell never breaks the table, and a figure that does not exist is a dash."""
    table = Table("Scores", ("name", "score"), [("a|b", 0.12345), ("c", float("nan"))], note="By hand.")
    assert table.markdown().splitlines() == [
        "### Scores",
        "",
        "| name | score |",
        "|---|---|",
        "| a\\|b | 0.123 |",
        "| c | - |",
        "",
        "By hand.",
    ]


def test_a_section_shows_its_plots_as_pictures_beside_it() -> None:
    """A document links the PNG files by the plots' names."""
    section = Section("Routing", "How.", plots=(LinePlot("curve", "The curve", "x", "y", ()),))
    assert section.markdown() == "## Routing\n\nHow.\n\n![The curve](curve.png)"
