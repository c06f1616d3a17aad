"""The shipped injection head on texts that nothing was trained on: a floor, not the measurement (`evaluate` measures)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from router_extproc.analysis.conversation import Conversation, Piece, conversation_of
from router_extproc.analysis.injection import FILE, InjectionHead
from router_extproc.analysis.location import artefact_folder

CASES: dict[str, list[str]] = json.loads((Path(__file__).parent / "data" / "injection_cases.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def head() -> InjectionHead:
    folder = artefact_folder({})
    if not (folder / FILE).is_file():
        pytest.skip(f"NO ARTEFACT: {folder / FILE} is missing; `router-extproc train` makes it")
    return InjectionHead.load(folder)


def from_tool(text: str) -> Conversation:
    return Conversation(
        pieces=(Piece(text, "tool"),), task="", last="", continues=False, turn=1, step="tool_result", has_context=False
    )


def found(scores: Sequence[float]) -> float:
    return sum(score >= 0.5 for score in scores) / len(scores)


def test_everyday_requests_in_thirty_languages_raise_no_alarm(head: InjectionHead) -> None:
    """At most one in fifty everyday requests looks like an attack."""
    scores = [head.score(conversation_of(text)).probability for text in CASES["harmless"]]
    assert found(scores) <= 0.02


def test_plain_attacks_are_found(head: InjectionHead) -> None:
    """At least four in five attacks of the plainest kinds are found, in English and beyond."""
    assert found([head.score(conversation_of(text)).probability for text in CASES["attacks"]]) >= 0.8


def test_an_attack_is_found_in_the_middle_of_a_long_text(head: InjectionHead) -> None:
    """Two thousand words around it do not hide most of the attacks that are found by themselves; one short order may pass."""
    prose = "In spring the meadows are full of flowers, and the farmers mend their fences before the cows come out. "
    bare = [text for text in CASES["attacks"] if head.score(conversation_of(text)).probability >= 0.9]
    hidden = [head.score(conversation_of(f"{prose * 50}{text} {prose * 50}")).probability for text in bare]
    assert len(bare) >= 5
    assert found(hidden) >= 0.6


def test_harmless_words_after_an_attack_do_not_hide_it(head: InjectionHead) -> None:
    """Nine polite everyday words undo no detection of a plain attack."""
    words = "please thanks hello recipe weather garden music book table"
    bare = [text for text in CASES["attacks"] if head.score(conversation_of(text)).probability >= 0.5]
    assert found([head.score(conversation_of(f"{text} {words}")).probability for text in bare]) >= 0.9


def test_documents_are_told_from_attacked_documents(head: InjectionHead) -> None:
    """A tool's result is no attack; with orders to the model in it, it is."""
    assert found([head.score(from_tool(text)).probability for text in CASES["documents"]]) == 0
    assert found([head.score(from_tool(text)).probability for text in CASES["attacked_documents"]]) == 1
