"""Retrieved documents within a prompt: what stands between tags, below a heading such as "Context:", or as numbered sources.

Rules of this file
- Without a question beside them they are no retrieved documents but the text that is worked on.
- Long texts are searched near their beginning and end only; what lies between is found by its closing mark.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import NamedTuple

from router_extproc.analysis.continuation import WORDS_FILE

# Characters at either end in which marks are looked for.
_SEARCHED = 6_000
# A sentence that introduces them stands first.
_LEAD_WITHIN = 400
# A shorter text holds no documents.
_SHORTEST = 80
# Characters of what is found: less is a remark, not a document.
_SHORTEST_DOCUMENT = 40
_MOST_DOCUMENTS = 64
# Characters of a closing paragraph that is taken for the question.
_LONGEST_QUESTION = 600
_NUMBERED_AT_LEAST = 2

# Every mark holds one of these; most prompts have none.
_LEAD_HINTS = ("following", "below")
_HINTS = (*_LEAD_HINTS, "<", ":\n", ": ", "：", "[1]", "below.\n", "following", "below")  # noqa: RUF001 - the colon of Chinese and Japanese


class Separated(NamedTuple):
    """A prompt without its documents, and the documents."""

    rest: str
    documents: tuple[str, ...]


class _Marks(NamedTuple):
    tag: re.Pattern[str]
    heading: re.Pattern[str]
    lead: re.Pattern[str]
    answer: re.Pattern[str]
    question: re.Pattern[str]
    numbered: re.Pattern[str]


@cache
def _marks() -> _Marks:
    words = json.loads(WORDS_FILE.read_text("utf-8"))
    tags = "|".join(map(re.escape, words["context_tags"].split()))
    headings, questions = ("|".join(map(re.escape, words[name])) for name in ("context_headings", "question_headings"))
    before, after = r"^[ \t>#*_=-]{0,8}", r"[ \t*_]{0,4}"
    return _Marks(
        tag=re.compile(rf"<({tags})(?:\s[^<>]{{0,200}})?>", re.IGNORECASE),
        heading=re.compile(rf"{before}(?:{headings}){after}(?:[:：]|is below\.){after}", re.IGNORECASE | re.MULTILINE),  # noqa: RUF001
        lead=re.compile(
            r"\b(?:given|read|use|using|based on|consult)(?: the| this| these)? (?:following|below)(?: \w{1,20})? "
            rf"(?:{words['leads']})\b[^\n:.]{{0,80}}[:\n]",
            re.IGNORECASE,
        ),
        answer=re.compile(rf"{before}(?:{words['answers']}){after}[:：]\s*\Z", re.IGNORECASE | re.MULTILINE),  # noqa: RUF001
        question=re.compile(rf"{before}(?:{questions}){after}[:：]{after}", re.IGNORECASE | re.MULTILINE),  # noqa: RUF001
        numbered=re.compile(
            r"^[ \t>#*]{0,4}(?:\[\d{1,3}\]|"
            r"(?:document|doc|source|passage|excerpt|chunk|result)s?[ \t#]{1,2}\[?\d{1,3}\]?[ \t]?[:).\]])",
            re.IGNORECASE | re.MULTILINE,
        ),
    )


def separate_documents(text: str) -> Separated:
    """Takes retrieved documents out of a prompt; without any the prompt comes back as it is."""
    if len(text) < _SHORTEST or not any(hint in text for hint in _HINTS):
        return Separated(text, ())
    marks = _marks()
    tagged = _tagged(text, marks.tag)
    if tagged.documents:
        return tagged
    return _headed(text, marks)


def _tagged(text: str, tag: re.Pattern[str]) -> Separated:
    rest: list[str] = []
    documents: list[str] = []
    position = 0
    while len(documents) < _MOST_DOCUMENTS:
        opening = tag.search(text, position, max(position, 0) + _SEARCHED)
        if opening is None:
            break
        closing = text.find(f"</{opening[1]}", opening.end())
        if closing < 0:
            break
        document = text[opening.end() : closing].strip()
        if len(document) < _SHORTEST_DOCUMENT:
            rest.append(text[position : opening.end()])
            position = opening.end()
            continue
        rest.append(text[position : opening.start()])
        documents.append(document)
        end = text.find(">", closing)
        position = len(text) if end < 0 else end + 1
    rest.append(text[position:])
    remaining = "".join(rest).strip()
    return Separated(remaining, tuple(documents)) if documents and remaining else Separated(text, ())


def _headed(text: str, marks: _Marks) -> Separated:
    heading = marks.heading.search(text, 0, _SEARCHED)
    if heading is None and any(hint in text for hint in _LEAD_HINTS):
        heading = marks.lead.search(text, 0, _LEAD_WITHIN)
    if heading is None:
        found = [match.start() for match in marks.numbered.finditer(text, 0, _SEARCHED)]
        if len(found) < _NUMBERED_AT_LEAST:
            return Separated(text, ())
        start = first = found[0]
    else:
        start, first = heading.start(), heading.end()
    question = _question(text, first, marks.question)
    before = text[:start].strip()
    if question < 0:
        # A question before the documents: "Who wrote this? Context: ...".
        if not before.rstrip(" \n#*-\"'”").endswith(("?", "？")):  # noqa: RUF001 - as Chinese and Japanese write it
            return Separated(text, ())
        answer = marks.answer.search(text, first)
        question = len(text) if answer is None else answer.start()
    document = text[first:question].strip()
    if len(document) < _SHORTEST_DOCUMENT:
        return Separated(text, ())
    rest = "\n\n".join(part for part in (before, text[question:].strip()) if part)
    return Separated(rest, (document,))


def _question(text: str, start: int, headed: re.Pattern[str]) -> int:
    """Where the question after the documents begins: below its own heading, or a last paragraph that ends with "?"."""
    last = -1
    for match in headed.finditer(text, max(start, len(text) - _SEARCHED)):
        last = match.start()
        break
    if last >= 0:
        return last
    end = text.rstrip()
    if not end.endswith(("?", "？")):  # noqa: RUF001 - as Chinese and Japanese write it
        return -1
    paragraph = end.rfind("\n\n", start)
    return paragraph if paragraph >= 0 and len(end) - paragraph <= _LONGEST_QUESTION else -1
