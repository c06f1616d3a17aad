"""Retrieved documents are told from what the user wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.retrieval import separate_documents

DOCUMENT = "Basalt forms when lava cools quickly at the surface; granite cools slowly below it."
OTHER = "Granite holds more silica than basalt does, and its crystals are larger."

WITH_DOCUMENTS = {
    "tags": f"<context>\n{DOCUMENT}\n</context>\n\nHow does basalt form?",
    "several tags": f'<document id="1">{DOCUMENT}</document><document id="2">{OTHER}</document> How does basalt form?',
    "headings": f"Context:\n{DOCUMENT}\n\nQuestion: How does basalt form?",
    "markdown": f"Answer briefly.\n\n### Context:\n{DOCUMENT}\n\n### Question:\nHow does basalt form?",
    "question first": f"How does basalt form?\n\nContext: {DOCUMENT}",
    "quoted question first": f'Question: "How does basalt form?"\n\nContext: "{DOCUMENT}"\n\nAnswer:\n',
    "lead": f'Given the following passage\n\n"{DOCUMENT}"\n\nQuestion: How does basalt form?',
    "lead with an adjective": f"Based on the following retrieved documents:\n{DOCUMENT}\n{OTHER}\n\nHow does basalt form?",
    "numbered": f"[1] {DOCUMENT}\n[2] {OTHER}\n\nHow does basalt form?",
    "sources": f"Source 1: {DOCUMENT}\nSource 2: {OTHER}\n\nQuestion: How does basalt form?",
    "below": f"Context information is below.\n---\n{DOCUMENT}\n---\nQuery: How does basalt form?\nAnswer:",
    "german": f"Kontext:\n{DOCUMENT}\n\nFrage: How does basalt form?",
    "chinese": f"资料：{DOCUMENT}\n\n问题：How does basalt form?",  # noqa: RUF001 - colons as Chinese writes them
    "last paragraph": f"Passages:\n{DOCUMENT}\n{OTHER}\n\nGiven these, how does basalt form? How does basalt form?",
}
WITHOUT = {
    "question": "How does basalt form?",
    "text to work on": f"Summarize the following text:\n\n{DOCUMENT}",
    "text to read": f"Read the following article and shorten it to one line:\n\n{DOCUMENT}",
    "translation": f"Translate to French: {DOCUMENT} {OTHER}",
    "list": "Write these steps out: \n1. cook rice\n2. fry onions\n3. mix both and serve them hot to the guests",
    "html": f"<div><p>{DOCUMENT}</p></div> Why is this page not valid?",
    "empty tag": "What does <context></context> mean in this XML? I saw it in a file at work the other day.",
    "unclosed tag": f"<context> {DOCUMENT}",
    "no question": f"Context: {DOCUMENT}",
}


@pytest.mark.parametrize("kind", WITH_DOCUMENTS)
def test_documents_are_found(kind: str) -> None:
    """The documents come out, the question stays."""
    separated = separate_documents(WITH_DOCUMENTS[kind])
    assert DOCUMENT in "\n".join(separated.documents)
    assert DOCUMENT not in separated.rest
    assert "ow does basalt form?" in separated.rest


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_is_worked_on_stays(kind: str) -> None:
    """Without documents the prompt comes back as it is."""
    assert separate_documents(WITHOUT[kind]) == (WITHOUT[kind], ())


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["<context>", "</context>", "Context:\n", "Question: ", "[1] ", "\n", "?", DOCUMENT]), max_size=12)
)
def test_nothing_is_lost_but_marks(parts: list[str]) -> None:
    """Whatever is written in whichever order, every document's words are still somewhere."""
    text = "".join(parts)
    separated = separate_documents(text)
    assert (separated.rest + "".join(separated.documents)).count("Basalt") == text.count("Basalt")
