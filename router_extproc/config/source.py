"""Where each part of a configuration stands in its file, so that every problem can name line and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from router_extproc.config.redaction import shown
from router_extproc.config.tree import Mapping, Mark, Node, Scalar, Sequence
from router_extproc.errors import Problem

# From the top of the file down: keys of mappings and positions in lists, as pydantic's ``loc``.
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A file's name and its tree; ``tree`` is None when the configuration was not read from YAML."""

    file: str
    tree: Node | None = None

    def find(self, path: Path) -> Node | None:
        """The node at the path, or None when the file does not have it."""
        node = self.tree
        for part in path:
            node = _child(node, part)
            if node is None:
                return None
        return node

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Where the path's value (or key) is written; of what is missing, where its nearest parent's key is written."""
        node, place = self.tree, Mark(1, 1)
        for depth, part in enumerate(path):
            child = _child(node, part)
            if child is None:
                return place
            wants_key = key or depth < len(path) - 1 or not isinstance(child, Scalar)
            place = node.keys[str(part)] if isinstance(node, Mapping) and wants_key else child.mark
            node = child
        return place

    def problem(
        self, path: Path, message: str, *, fix: str = "", code: str = "invalid", severity: str = "error", key: bool = False
    ) -> Problem:
        """A problem at the path; ``key`` points at the key instead of its value."""
        mark = self.mark(path, key=key)
        return Problem(self.file, mark.line, mark.column, dotted(path), message, fix, code, severity)


def _child(node: Node | None, part: str | int) -> Node | None:
    if isinstance(node, Mapping):
        return node.entries.get(str(part))
    if isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def dotted(path: Path) -> str:
    """The path as people write it: ``rules[0].then``; a part that looks like a credential is hidden."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown(part)}" if text else shown(part)
    return text


def in_file_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """As a reader meets them, each once."""
    return tuple(
        sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column, problem.key, problem.message))
    )
