"""Measures an artefact: every head's report, the targets, one folder of tables and pictures.

A report that fails ends the evaluation: tables that leave something out in silence are worse than none.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import cast

import msgspec

from router_extproc.errors import TrainingError
from router_extproc.training.artefact import MANIFEST, Manifest, check_files
from router_extproc.training.data_cards import hash_of
from router_extproc.training.pipeline import Context
from router_extproc.training.plots import draw
from router_extproc.training.report import Report, Section, Table
from router_extproc.training.stages import REPORTS

INDEX, FIGURES = "README.md", "figures.json"
TARGETS_FILE = Path(__file__).parent / "data" / "targets.json"


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a figure has to reach: ``at_least`` or ``at_most``; ``aim`` is what it should reach."""

    figure: str
    meaning: str
    at_least: float | None = None
    at_most: float | None = None
    aim: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether the figure is good enough; one that does not exist is not."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def evaluate(context: Context, artefact: Path, out: Path, reports: Mapping[str, str] = REPORTS) -> dict[str, float]:
    """Writes all tables and plots into ``out``; returns every figure by name.

    Args:
        context: its purpose is evaluation.
        artefact: the published artefact.
        out: where ``README.md`` and, for each report, ``<name>.md`` and the PNG files go.
        reports: the modules, by name, in the order of the index.

    Raises:
        TrainingError: the artefact is not whole, or data is missing.
    """
    if context.purpose != "evaluation":
        raise TrainingError("an evaluation needs a context whose purpose is evaluation")
    manifest = check_files(artefact)
    out.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Section] = {}
    for name, module in reports.items():
        context.progress.note(f"measuring: {name}")
        section = cast("Report", importlib.import_module(module).report)(context, artefact)
        for plot in section.plots:
            draw(plot, out)
        (out / f"{name}.md").write_text(section.markdown().replace("## ", "# ", 1) + "\n", encoding="utf-8")
        sections[name] = section
    figures = {name: float(value) for section in sections.values() for name, value in section.figures.items()}
    (out / INDEX).write_text(_index(manifest, hash_of(artefact / MANIFEST), sections, figures), encoding="utf-8")
    (out / FIGURES).write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(figures.items()))), indent=2) + b"\n")
    return figures


def choose(names: Sequence[str] | None) -> Mapping[str, str]:
    """The reports of these names, all without any.

    Raises:
        TrainingError: there is no such report; the message lists those there are.
    """
    unknown = [name for name in names or () if name not in REPORTS]
    if unknown:
        raise TrainingError(f"no report is called {', '.join(unknown)}; there are {', '.join(REPORTS)}")
    return {name: module for name, module in REPORTS.items() if not names or name in names}


def load_targets() -> list[Target]:
    """What the classifier has to reach, in the order of the index."""
    return msgspec.json.decode(TARGETS_FILE.read_bytes(), type=list[Target])


def targets_table(figures: Mapping[str, float]) -> Table:
    """Every target beside what was measured."""
    rows = []
    for target in load_targets():
        value = figures.get(target.figure, float("nan"))
        wanted = f"≥ {target.at_least:g}" if target.at_least is not None else f"≤ {target.at_most:g}"
        aim = "" if target.aim is None else f"{target.aim:g}"
        met = "yes" if target.is_met(value) else "not measured" if isnan(value) else "**no**"
        rows.append((target.meaning, wanted, aim, value, met))
    return Table("Targets", ("what", "wanted", "aim", "measured", "met"), rows)


def _index(manifest: Manifest, digest: str, sections: Mapping[str, Section], figures: Mapping[str, float]) -> str:
    what = (
        f"Of the artefact `{manifest.name}` made {manifest.created} from revision `{manifest.revision[:12]}` with seed "
        f"{manifest.seed} (its `{MANIFEST}`: SHA-256 `{digest[:16]}`), by `router-extproc evaluate`. Intervals in brackets are "
        "95 % bootstrap intervals."
    )
    parts = [
        "# Evaluation",
        what,
        targets_table(figures).markdown().replace("### ", "## ", 1),
        "## Reports",
        "\n".join(f"- [{section.title}]({name}.md)" for name, section in sections.items()),
    ]
    return "\n\n".join(parts) + "\n"
