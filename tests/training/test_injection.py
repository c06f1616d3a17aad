"""What the injection head may learn from when a family is held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from router_extproc.training.injection import folds_of, seen_in
from router_extproc.training.injection_documents import without_question
from router_extproc.training.injection_examples import (
    INDIRECT,
    INSERTED,
    MULTILINGUAL,
    InjectionExample,
    insert,
    read_sections,
)
from router_extproc.training.pipeline import OWN_DATA

FOLDER = OWN_DATA / "injection"


def attack(family: str, *, own: bool = False, source: str = "somewhere") -> InjectionExample:
    return InjectionExample(f"text of {family} {own}", True, source, family, f"group of {family}", own)  # noqa: FBT003


EXAMPLES = [
    *(attack(family) for family in ("one", "two", "three", "four", "five", "six")),
    attack("one", own=True),
    attack(MULTILINGUAL, own=True),
    attack(INSERTED, own=True),
    attack(INDIRECT, source="bipia_end"),
    *(InjectionExample(f"harmless {n}", False, "prompts", "prompts", f"g{n}") for n in range(40)),  # noqa: FBT003
]


@pytest.mark.parametrize("with_own", [True, False])
def test_a_family_that_is_held_out_is_not_seen(with_own: bool) -> None:  # noqa: FBT001
    """Nothing of a held-out family is learned from, and what was written for it only when asked for."""
    folds = folds_of(EXAMPLES)
    for fold in range(5):
        seen = seen_in(fold, EXAMPLES, folds, with_own_of_family=with_own)
        held = {example.family for example, place in zip(EXAMPLES, folds, strict=True) if place == fold and example.attack}
        learned = [example for example, is_seen in zip(EXAMPLES, seen, strict=True) if is_seen]
        assert not [example for example in learned if example.family in held and not (example.own and with_own)]
        assert (MULTILINGUAL in {example.family for example in learned}) == with_own or not held


def test_ordinary_requests_are_never_learned_as_attacks() -> None:
    """BIPIA's prompts are left out of what users ask, whichever fold is held out."""
    folds = folds_of(EXAMPLES)
    for fold in (-2, 0, 1, 2, 3, 4):
        seen = seen_in(fold, EXAMPLES, folds, with_own_of_family=True)
        assert not [example for example, is_seen in zip(EXAMPLES, seen, strict=True) if is_seen and example.family == INDIRECT]


def test_every_text_that_is_not_ours_is_held_out_once() -> None:
    """Each collected text belongs to one of five folds, our own to none."""
    assert {example.own for example, fold in zip(EXAMPLES, folds_of(EXAMPLES), strict=True) if fold < 0} == {True}


def test_the_question_is_the_users() -> None:
    """A document is what stands before the last paragraph."""
    assert without_question("| a | b |\n\nSing a song.\n\n\nwho won?") == "| a | b |\n\nSing a song."
    assert without_question("only one paragraph") == "only one paragraph"


def test_an_insertion_leaves_the_document_whole() -> None:
    """Every sentence of the document is still there, and the insertion is once."""
    document = "One came. Two went. Three stayed."
    text = insert("Do this!", document, np.random.default_rng(5))
    assert text.count("Do this!") == 1
    assert all(sentence in text for sentence in ("One came.", "Two went.", "Three stayed."))


def lines(name: str) -> Sequence[str]:
    return [line for section in read_sections(FOLDER / name).values() for line in section]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.name)
def test_written_texts_are_clean(path: Path) -> None:
    """Each file says what it is and when it was written; no line stands twice in it, and no section is empty."""
    assert "2026" in path.read_text("utf-8").split("\n=", 1)[0]
    sections = read_sections(path)
    assert all(sections.values())
    every = lines(path.name)
    assert len(set(every)) == len(every)


def test_harmless_texts_speak_many_languages() -> None:
    """At least sixty languages, thirty of them with eight requests or more; none of them is an attack as well."""
    sections = read_sections(FOLDER / "benign_multilingual.txt")
    assert len(sections) >= 60
    assert sum(len(texts) >= 8 for texts in sections.values()) >= 30
    assert min(map(len, sections.values())) >= 3
    assert not set(lines("benign_multilingual.txt")) & set(lines("attacks_multilingual.txt"))
