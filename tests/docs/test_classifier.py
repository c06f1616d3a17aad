"""The documents about the classifier are about the one that is shipped."""

from __future__ import annotations

import re

from router_extproc.training.artefact import MANIFEST, MODEL_CARD, check_files
from router_extproc.training.data_cards import hash_of
from router_extproc.training.evaluation import load_targets
from router_extproc.training.stages import REPORTS
from tests.docs.documents import ROOT, read, sections

ARTEFACT = ROOT / "router_extproc" / "analysis" / "artefact"
EVALUATION = "docs/evaluation/README.md"


def test_the_shipped_artefact_is_whole() -> None:
    """Every file is the one that the manifest names, and the model card is about this one."""
    manifest = check_files(ARTEFACT)
    card = (ARTEFACT / MODEL_CARD).read_text(encoding="utf-8")
    assert manifest.created in card
    assert all(f"`{name}`" in card for name in (*manifest.files,))
    assert all(used.licence in card and used.source in card for used in manifest.data.values())


def test_the_tables_are_of_the_shipped_artefact() -> None:
    """Figures of another artefact would be a lie, however small the difference."""
    assert hash_of(ARTEFACT / MANIFEST)[:16] in read(EVALUATION)


def test_every_report_and_every_target_is_told() -> None:
    """Nothing that was measured is left out, and no target that was missed."""
    assert {link.removesuffix(".md") for link in re.findall(r"\]\((\w+\.md)\)", read(EVALUATION))} == set(REPORTS)
    told = [row[0] for row in sections(EVALUATION)["Targets"].rows]
    assert told == [target.meaning for target in load_targets()]
