"""Credentials written into the file itself: refused by name, whatever else is wrong, and never repeated.

A key in ``router.yaml`` ends in version control, in backups and in every copy of a ConfigMap. So a provider reads its
keys from files or environment variables, and what looks like a key anywhere in its section is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from router_extproc.config.redaction import looks_like_credential
from router_extproc.config.source import Path, Source
from router_extproc.config.tree import Mapping, Node, Scalar, Sequence
from router_extproc.errors import Problem

_KEY_NAMES = frozenset({
    "access_key", "api-key", "api_key", "api_token", "apikey", "auth", "authorization", "auth_token", "bearer", "key", "keys",
    "api_keys", "password", "secret", "secret_key", "token", "value",
})  # fmt: skip
# Parts of a provider that are public by nature and may look random: host names, fine-tuned models, mounted paths.
_PUBLIC = frozenset({"base_url", "models", "paths", "certificate_authority", "region", "name", "file"})
_REFERENCE = re.compile(r"(?:\$\{?|os\.environ/|env[:.])([A-Za-z_][A-Za-z0-9_]*)\}?")


def find_inline_keys(source: Source) -> list[tuple[Path, Problem]]:
    """Every place where a credential seems to be written, with its problem."""
    providers = source.find(("providers",))
    found: list[tuple[Path, Problem]] = []
    if isinstance(providers, Mapping):
        for name, provider in providers.entries.items():
            found.extend((path, _problem(path, node, source)) for path, node in _suspects(provider, ("providers", name)))
    return found


def _suspects(node: Node, path: Path) -> Iterator[tuple[Path, Node]]:
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and looks_like_credential(node.text):
            yield path, node
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _suspects(item, (*path, index))
    else:
        for key, value in node.entries.items():
            if key.lower() in _KEY_NAMES or looks_like_credential(key):
                yield (*path, key), value
            elif key not in _PUBLIC or (key == "file" and _holds_key(value)):
                yield from _suspects(value, (*path, key))


def _holds_key(node: Node) -> bool:
    """Whether ``file`` was given a key instead of a path."""
    return isinstance(node, Scalar) and "/" not in node.text


def _problem(path: Path, node: Node, source: Source) -> Problem:
    variable = _REFERENCE.fullmatch(node.text) if isinstance(node, Scalar) else None
    name = variable[1] if variable else "NAME_OF_A_VARIABLE"
    return source.problem(
        path,
        "a credential is never written in this file",
        fix=f"write credentials: [{{env: {name}}}] or credentials: [{{file: /path/to/key}}]",
        code="inline_credential",
        key=True,
    )
