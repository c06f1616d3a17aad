"""From ``router.yaml`` to a ``RouterConfig``, or to every problem in it with file, line and key."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from router_extproc.config.inline_keys import find_inline_keys
from router_extproc.config.messages import describe, is_called_otherwise
from router_extproc.config.references import check_references
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Source, in_file_order
from router_extproc.config.tree import Mapping, YamlError, plain, read_tree
from router_extproc.errors import ConfigurationError, Problem

# Ten thousand deployments make about a megabyte.
MAX_FILE_BYTES = 16 << 20


@dataclass(frozen=True)
class Document:
    """A configuration and where each part of it is written."""

    config: RouterConfig
    source: Source


def load_config(path: Path | str) -> RouterConfig:
    """Reads and checks a file; relative paths in it are meant from its own directory.

    Raises:
        ConfigurationError: it cannot be read or used; all problems are in it.
    """
    return load_document(path).config


def parse_config(text: str, file: str = "router.yaml") -> RouterConfig:
    """Checks a text as ``load_config`` checks a file; ``file`` is its name in messages.

    Raises:
        ConfigurationError: it cannot be used; all problems are in it.
    """
    return parse_document(text, file).config


def load_document(path: Path | str) -> Document:
    """As ``load_config``, with the places of all parts.

    Raises:
        ConfigurationError: it cannot be read or used; all problems are in it.
    """
    file = os.fspath(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refused(file, f"cannot be read: {reason}", fix="name a file that exists and is readable", code="file") from None
    if len(data) > MAX_FILE_BYTES:
        raise _refused(file, f"larger than {MAX_FILE_BYTES >> 20} MiB", code="too_large")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        message = "a byte here is not UTF-8"
        raise _refused(file, message, fix="save the file as UTF-8", code="encoding", line=line, column=column) from None
    return parse_document(text, file)


def parse_document(text: str, file: str = "router.yaml") -> Document:
    """As ``parse_config``, with the places of all parts.

    Raises:
        ConfigurationError: it cannot be used; all problems are in it.
    """
    try:
        tree, complaints = read_tree(text)
    except YamlError as error:
        raise ConfigurationError((_yaml_problem(error, file),)) from None
    if tree is None:
        raise _refused(file, "is empty", fix="begin with `providers:`", code="empty")
    if not isinstance(tree, Mapping):
        raise _refused(file, "expected keys with values at the top", fix="begin with `providers:`", code="wrong_type")
    source = Source(file, tree)
    problems = [_yaml_problem(complaint, file) for complaint in complaints]
    inline = find_inline_keys(source)
    problems += [problem for _, problem in inline]
    try:
        config = RouterConfig.model_validate(plain(tree), strict=True, context={"directory": os.path.dirname(file)})  # noqa: PTH120 - "" stays "", so that paths stay as written
    except ValidationError as error:
        flagged = {path for path, _ in inline}
        for details in error.errors(include_url=False):
            is_said = any(details["loc"][: len(path)] == path for path in flagged) or is_called_otherwise(details, source)
            if not is_said:
                problems.append(describe(details, source))
        raise ConfigurationError(in_file_order(problems)) from None
    problems += check_references(config, source)
    if problems:
        raise ConfigurationError(in_file_order(problems))
    return Document(config, source)


def _yaml_problem(error: YamlError, file: str) -> Problem:
    return Problem(file, error.mark.line, error.mark.column, error.key, error.message, error.fix, error.code)


def _refused(file: str, message: str, *, fix: str = "", code: str, line: int = 1, column: int = 1) -> ConfigurationError:
    return ConfigurationError((Problem(file, line, column, "", message, fix, code),))
