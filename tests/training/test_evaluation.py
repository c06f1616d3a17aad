"""The evaluation as a whole: what is written, and how targets are judged."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from router_extproc.errors import TrainingError
from router_extproc.training.build import build_artefact
from router_extproc.training.evaluation import choose, evaluate, load_targets, targets_table
from router_extproc.training.pipeline import Context
from router_extproc.training.stages import REPORTS
from tests.training.workshop import write_data, write_stage

REPORT = "example_report_of_the_tests"
CODE = """
from router_extproc.training.report import LinePlot, Section, Series, Table

def report(context, artefact):
    labels = [row["weak"] for row in context.rows("eval_mmlu")]
    count = int((artefact / "count.txt").read_text())
    table = Table("Counts", ("labels", "count"), [(",".join(labels), count)])
    plot = LinePlot("counts", "Counts", "x", "y", [Series("one", [0, 1], [0, count])])
    return Section("Counting", "By hand.", (table,), (plot,), {"routing.mmlu.apgr": 0.9})
"""


@pytest.fixture
def artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published artefact, and a report module that reads it."""
    stage = write_stage(tmp_path / "code", monkeypatch)
    (tmp_path / "code" / f"{REPORT}.py").write_text(textwrap.dedent(CODE))
    sys.modules.pop(REPORT, None)
    context = Context(data=write_data(tmp_path / "data"), work=tmp_path / "work", out=tmp_path / "work/artefact")
    build_artefact(context, tmp_path / "artefact", resume=False, stages=(stage,))
    return tmp_path / "artefact"


def test_an_evaluation_leaves_tables_plots_figures_and_an_index(artefact: Path, tmp_path: Path) -> None:
    """One folder that a reader can walk through: the index leads to each report, each report to its pictures."""
    out = tmp_path / "out"
    context = Context(data=tmp_path / "data", work=out, out=out, purpose="evaluation")
    assert evaluate(context, artefact, out, {"counting": REPORT}) == {"routing.mmlu.apgr": 0.9}
    assert {path.name for path in out.iterdir()} == {"README.md", "counting.md", "counts.png", "figures.json"}
    assert (out / "counting.md").read_text().startswith("# Counting\n\nBy hand.\n\n### Counts")
    assert "| 0 | 2 |" in (out / "counting.md").read_text()
    assert "[Counting](counting.md)" in (out / "README.md").read_text()
    assert msgspec.json.decode((out / "figures.json").read_bytes()) == {"routing.mmlu.apgr": 0.9}


def test_a_context_for_training_measures_nothing(artefact: Path, tmp_path: Path) -> None:
    """A report that got a training context would find no labels, and say so less clearly."""
    context = Context(data=tmp_path / "data", work=tmp_path, out=tmp_path)
    with pytest.raises(TrainingError, match="purpose is evaluation"):
        evaluate(context, artefact, tmp_path / "out", {"counting": REPORT})


def test_a_target_is_met_only_by_a_figure_that_exists() -> None:
    """Every target is listed; what was not measured is neither met nor missed, and says so."""
    met = {row[0]: row[4] for row in targets_table({"routing.mmlu.apgr": 0.57, "memory.process": 200.0}).rows}
    assert len(met) == len(load_targets())
    assert {what for what, is_met in met.items() if is_met == "yes"} == {"APGR, MMLU"}
    assert {what for what, is_met in met.items() if is_met == "**no**"} == {"a process that analyses, MB"}
    assert set(met.values()) == {"yes", "**no**", "not measured"}


def test_reports_can_be_chosen_by_name() -> None:
    """All, some, or an error that lists those there are."""
    assert choose(None) == choose([]) == REPORTS
    assert list(choose(["latency", "routing"])) == ["routing", "latency"]
    with pytest.raises(TrainingError, match="no report is called nonsense; there are routing"):
        choose(["nonsense"])
