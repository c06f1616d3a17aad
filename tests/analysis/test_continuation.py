"""Messages that continue, add to, or replace the task before them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router_extproc.analysis.continuation import relation

CORPUS = json.loads((Path(__file__).parent / "corpora" / "continuations.json").read_text("utf-8"))


@pytest.mark.parametrize("message", CORPUS["continues"])
def test_a_bare_continuation_continues(message: str) -> None:
    """Consent and "go on", in many languages, ask nothing new."""
    assert relation(message, "Here is the first part of the proof.") == "continues"


@pytest.mark.parametrize(("message", "answered"), CORPUS["adds"])
def test_what_refers_back_adds(message: str, answered: str) -> None:
    """A short message that refers back, or replies to a question, adds to the task."""
    assert relation(message, answered) == "adds"


@pytest.mark.parametrize(("message", "answered"), CORPUS["replaces"])
def test_what_stands_alone_replaces(message: str, answered: str) -> None:
    """A request of its own, thanks and farewells replace the task."""
    assert relation(message, answered) == "replaces"
