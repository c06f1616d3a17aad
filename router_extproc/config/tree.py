"""YAML text to a tree whose every node knows its line and column.

Rules of this file
- It reads the event stream of PyYAML's C parser and never constructs objects from tags: nothing in a file can run.
- Scalars mean what YAML 1.2 says: ``on``, ``yes`` and ``no`` are text, ``1:30`` is text, so a key or a model's name is
  never silently turned into a truth value or a number.
- What PyYAML accepts in silence is refused here: a key written twice, a second document, aliases that contain
  themselves or multiply beyond ``MAX_NODES``, nesting beyond ``MAX_DEPTH``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import yaml

from router_extproc.config.redaction import shown

# A configuration of ten thousand deployments has about 100,000 nodes; an alias bomb has billions.
MAX_NODES = 500_000
MAX_DEPTH = 40

PathPart: TypeAlias = "str | int"

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Longer digit strings are no limits or ports; Python refuses to read very long ones at all.
_MAX_DIGITS = 30


@dataclass(frozen=True)
class Mark:
    """A place in the file, counted from 1."""

    line: int
    column: int


class WrittenNumber(float):
    """A number with a fraction, and how the file writes it: amounts of money are read from the ``text``, exactly."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Reads the number as Python does."""
        number = super().__new__(cls, text)
        number.text = text
        return number


@dataclass
class Scalar:
    """``text`` is what the file says, ``value`` what it means."""

    mark: Mark
    text: str
    value: object


@dataclass
class Sequence:
    """A list."""

    mark: Mark
    items: list[Node] = field(default_factory=list)


@dataclass
class Mapping:
    """Keys with values; ``keys`` holds where each key is written."""

    mark: Mark
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)


Node: TypeAlias = Scalar | Sequence | Mapping


class YamlError(Exception):
    """The text is not one YAML document that can be read. ``mark`` is where, ``fix`` what would be right."""

    def __init__(self, mark: Mark, message: str, *, fix: str = "", key: str = "", code: str = "yaml") -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message
        self.fix = fix
        self.key = key
        self.code = code


def read_tree(text: str) -> tuple[Node | None, list[YamlError]]:
    """Reads one document; None stands for an empty file. Problems that leave the tree readable come in the list.

    Raises:
        YamlError: the text cannot be read at all.
    """
    try:
        reader = _Reader(text)
        node = reader.document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.reader.ReaderError as error:
        raise _forbidden_character(error.position, text) from None
    except UnicodeEncodeError as error:
        raise _forbidden_character(error.start, text) from None
    return node, reader.problems


class _Reader:
    """One pass over the events, with the anchors and the counts that bound it."""

    def __init__(self, text: str) -> None:
        self.problems: list[YamlError] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._open_anchors: set[str] = set()
        self._nodes = 0
        self._depth = 0

    def document(self) -> Node | None:
        """The only document of the stream."""
        node: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    mark = _mark(event)
                    raise YamlError(mark, "a second document starts here", fix="keep one document and no second `---`")
                node = self._node(next(self._events), ())
        if isinstance(node, Scalar) and node.value is None and node.text == "":
            return None
        return node

    def _node(self, event: yaml.Event, path: tuple[PathPart, ...]) -> Node:
        mark = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, mark)
        before = self._nodes
        self._count(1, mark)
        assert isinstance(event, yaml.NodeEvent)  # noqa: S101 - the grammar: every other event ends something
        anchor = event.anchor
        if anchor is not None:
            self._open_anchors.add(anchor)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, mark)
        else:
            assert isinstance(event, yaml.CollectionStartEvent)  # noqa: S101 - the last of the grammar's four nodes
            self._refuse_tag(event, mark)
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise YamlError(mark, f"nested deeper than {MAX_DEPTH} levels", code="too_deep")
            node = self._sequence(mark, path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(mark, path)
            self._depth -= 1
        if anchor is not None:
            self._open_anchors.discard(anchor)
            self._anchors[anchor] = (node, self._nodes - before)
        return node

    def _alias(self, event: yaml.AliasEvent, mark: Mark) -> Node:
        name = event.anchor or ""
        if name in self._open_anchors:
            raise YamlError(mark, f"the alias *{shown(name)} stands inside its own anchor", code="alias")
        if name not in self._anchors:
            raise YamlError(mark, f"the alias *{shown(name)} has no anchor &{shown(name)} above it", code="alias")
        node, size = self._anchors[name]
        self._count(size, mark)
        return node

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise YamlError(mark, f"more than {MAX_NODES} values, aliases written out", code="too_large")

    def _sequence(self, mark: Mark, path: tuple[PathPart, ...]) -> Sequence:
        sequence = Sequence(mark)
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            sequence.items.append(self._node(event, (*path, len(sequence.items))))
        return sequence

    def _mapping(self, mark: Mark, path: tuple[PathPart, ...]) -> Mapping:
        mapping = Mapping(mark)
        merged: list[Mapping] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key_mark = _mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise YamlError(key_mark, "a key must be a plain word", fix="quote it if it starts with * & { or [")
            key = event.value
            if key == "<<" and event.implicit[0]:
                merged.extend(self._merged(next(self._events), key_mark))
                continue
            first = mapping.keys.get(key)
            node = self._node(next(self._events), (*path, key))
            if first is not None:
                dotted = ".".join(shown(str(part)) for part in (*path, key))
                message = f"written twice: first on line {first.line}"
                self.problems.append(YamlError(key_mark, message, fix="keep one of them", key=dotted, code="duplicate_key"))
                continue
            mapping.keys[key] = key_mark
            mapping.entries[key] = node
        for source in merged:
            for key, node in source.entries.items():
                if key not in mapping.entries:
                    mapping.entries[key] = node
                    mapping.keys[key] = source.keys[key]
        return mapping

    def _merged(self, event: yaml.Event, mark: Mark) -> list[Mapping]:
        """The mappings behind a merge key ``<<``: one alias or a list of them, the first wins."""
        node = self._node(event, ())
        sources = node.items if isinstance(node, Sequence) else [node]
        if not all(isinstance(source, Mapping) for source in sources):
            raise YamlError(mark, "`<<` merges mappings only", fix="write `<<: *anchor` of a mapping", code="alias")
        return [source for source in sources if isinstance(source, Mapping)]

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark) -> Scalar:
        text = event.value
        if event.tag == "tag:yaml.org,2002:str" or not event.implicit[0]:
            if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
                self._refuse_tag(event, mark)
            return Scalar(mark, text, text)
        return Scalar(mark, text, _meaning(text))

    @staticmethod
    def _refuse_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent, mark: Mark) -> None:
        if event.tag is not None and event.tag != "!":
            raise YamlError(
                mark, f"the tag {shown(event.tag)} is not supported", fix="write the value without a tag", code="tag"
            )


def _meaning(text: str) -> object:
    """What a plain, unquoted scalar stands for (YAML 1.2 core schema, without octal, hexadecimal and infinities)."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _MAX_DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return WrittenNumber(text)
    return text


def plain(node: Node | None) -> object:
    """The tree as dicts, tuples and scalars."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return tuple(plain(item) for item in node.items)
    return None if node is None else node.value


def _mark(event: yaml.Event) -> Mark:
    mark = event.start_mark
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    """The parser's complaint in words that name the usual cause."""
    place = error.problem_mark or error.context_mark
    mark = Mark(place.line + 1, place.column + 1) if place is not None else Mark(1, 1)
    problem = error.problem or "cannot be read as YAML"
    lines = text.splitlines()
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    here = line[mark.column - 1 : mark.column]
    fix = ""
    if "\t" in line[: len(line) - len(line.lstrip())] or here == "\t":
        problem, fix = "a tab is used for indentation", "indent with spaces"
    elif problem.startswith("found character that cannot start any token"):
        problem, fix = f"a value cannot start with {here}", "put the value in quotes"
    elif problem.startswith("mapping values are not allowed"):
        problem, fix = "a second `:` on one line", "put a value that holds `: ` in quotes, or check the indentation"
    elif problem.startswith("found unexpected end of stream"):
        started = error.context_mark
        mark = Mark(started.line + 1, started.column + 1) if started is not None else mark
        problem, fix = "a quote is opened here and never closed", "close the quote"
    elif error.context_mark is not None and problem.startswith("did not find expected"):
        started = error.context_mark
        if "flow" in (error.context or ""):
            mark, line_number = Mark(started.line + 1, started.column + 1), mark.line
            problem, fix = (
                f"this bracket is not closed rightly: line {line_number} does not continue it",
                "close it, or add a comma",
            )
        else:
            problem = f"this line does not continue what begins on line {started.line + 1}"
            fix = "line up what belongs together in one column"
    else:
        problem = shown(problem)
    return YamlError(mark, problem, fix=fix, code="yaml")


def _forbidden_character(position: object, text: str) -> YamlError:
    """A control character or half of a surrogate pair: YAML allows neither."""
    before = text[:position] if isinstance(position, int) else ""
    mark = Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    return YamlError(mark, "a control character stands here", fix="delete it", code="yaml")
