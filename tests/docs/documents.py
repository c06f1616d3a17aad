"""The documents as the tests read them: sections, tables, code blocks, links. Only as much of Markdown as we write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "envoy/README.md", "router_extproc/simulator/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_ROW = re.compile(r"^\|(.+)\|$")
_RULE = re.compile(r"[-: |]+")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is where its text begins, from 1."""

    document: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Section:
    """What stands below one heading up to the next; ``rows`` are those of its tables, headings of columns left out."""

    title: str
    rows: tuple[tuple[str, ...], ...]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(*languages: str, documents: tuple[str, ...] = DOCUMENTS) -> list[Block]:
    return [
        Block(document, text.count("\n", 0, match.start(2)) + 1, match[1], match[2])
        for document in documents
        for text in (read(document),)
        for match in _FENCE.finditer(text)
        if match[1] in languages
    ]


def prose(document: str) -> str:
    """The document without its fenced blocks, where a `#` is a comment and not a heading."""
    return _FENCE.sub("", read(document))


def sections(document: str) -> dict[str, Section]:
    """By heading, back-ticks left out."""
    text = prose(document)
    starts = list(_HEADING.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    found = {}
    for start, end in zip(starts, ends, strict=True):
        title = start[2].replace("`", "")
        found[title] = Section(title, tuple(_rows(text[start.end() : end])))
    return found


def anchors(document: str) -> set[str]:
    """What a link may name after its `#`, made as GitHub makes it."""
    return {re.sub(r"[^\w\- ]", "", heading[2].lower()).replace(" ", "-") for heading in _HEADING.finditer(prose(document))}


def links(document: str) -> list[str]:
    return _LINK.findall(prose(document))


def names(cell: str) -> list[str]:
    """What a table's cell writes in back-ticks."""
    return re.findall(r"`([^`]+)`", cell)


def _rows(text: str) -> list[tuple[str, ...]]:
    rows, is_body = [], False
    for line in text.splitlines():
        match = _ROW.match(line)
        if match is None:
            is_body = False
        elif _RULE.fullmatch(match[1]):
            is_body = True
        elif is_body:
            rows.append(tuple(cell.strip() for cell in match[1].split("|")))
    return rows
