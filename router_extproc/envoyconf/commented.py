"""Rendered messages as YAML with a comment above what a reader would ask about. Envoy reads it like the JSON form."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from router_extproc.envoyconf.messages import Message

Comments = Mapping[tuple[str, ...], str]
"""What to say above the first place whose path ends in these labels: a key, or the name of a list's item."""

_WIDTH = 100
_SPECIAL = frozenset("#:{}[],&*!|>'\"%@`")


def to_yaml(message: Message, comments: Comments, heading: str) -> str:
    """The document: ``heading`` first, then the message in its own order, each comment once."""
    lines = [*_comment(heading, 0), "", *_mapping(message, (), 0, dict(comments))]
    return "\n".join(lines) + "\n"


def _mapping(message: Message, path: tuple[str, ...], depth: int, comments: dict[tuple[str, ...], str]) -> Iterator[str]:
    for key, value in message.items():
        here = (*path, key)
        yield from _comment(_take(comments, here), depth)
        yield from _entry(f"{_scalar(key)}:", value, here, depth, comments)


def _sequence(items: list[Any], path: tuple[str, ...], depth: int, comments: dict[tuple[str, ...], str]) -> Iterator[str]:
    for item in items:
        here = (*path, str(item["name"])) if isinstance(item, dict) and "name" in item else path
        if here != path:
            yield from _comment(_take(comments, here), depth)
        if isinstance(item, dict) and item:
            yield from _item("  " * depth, list(_mapping(item, here, depth + 1, comments)))
        else:
            yield from _entry("-", item, here, depth, comments)


def _item(indent: str, lines: list[str]) -> Iterator[str]:
    """The first key shares the dash's line, the others stand below it; a comment on the first key goes above the dash."""
    start = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
    yield from (indent + line.lstrip() for line in lines[:start])
    yield f"{indent}- {lines[start].lstrip()}"
    yield from lines[start + 1 :]


def _entry(start: str, value: Any, path: tuple[str, ...], depth: int, comments: dict[tuple[str, ...], str]) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        yield indent + start
        yield from _mapping(value, path, depth + 1, comments)
    elif isinstance(value, list) and value:
        yield indent + start
        yield from _sequence(value, path, depth + 1, comments)
    else:
        yield f"{indent}{start} {_scalar(value)}"


def _take(comments: dict[tuple[str, ...], str], path: tuple[str, ...]) -> str:
    """The longest comment for this place; said once, it is not said again."""
    ends = (path[-length:] for length in range(len(path), 0, -1))
    return next((comments.pop(end) for end in ends if end in comments), "")


def _comment(text: str, depth: int) -> list[str]:
    indent = "  " * depth
    paragraphs = text.splitlines()
    return [f"{indent}# {line}".rstrip() for paragraph in paragraphs for line in (textwrap.wrap(paragraph, _WIDTH) or [""])]


def _scalar(value: Any) -> str:
    """Plain where YAML reads the same text back, else quoted."""
    if not isinstance(value, str):
        return str(yaml.safe_dump(value)).splitlines()[0]
    if value.isprintable() and value == value.strip() and not set(value) & _SPECIAL:
        try:
            if value and yaml.safe_load(value) == value:
                return value
        except yaml.YAMLError:
            pass
    return str(yaml.safe_dump(value, default_style='"', width=math.inf)).rstrip("\n")
