"""Credentials written into the file itself: refused by name, whatever else is wrong, and never repeated.

A key in ``router.yaml`` ends in version control, in backups and in every copy of a ConfigMap. So a provider reads its
keys from files or environment variables, and what looks like a key anywhere in its section is refused. The same holds for
passwords, tokens and secret addresses of other sections; of virtual keys the file holds salted hashes only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from router_extproc.config.redaction import looks_like_credential
from router_extproc.config.source import Path, Source
from router_extproc.config.tree import Mapping, Node, Scalar, Sequence
from router_extproc.config.values import DIGEST
from router_extproc.errors import Problem

_KEY_NAMES = frozenset({
    "access_key", "api-key", "api_key", "api_token", "apikey", "auth", "authorization", "auth_token", "bearer", "key", "keys",
    "api_keys", "password", "secret", "secret_key", "token", "value",
})  # fmt: skip
# Parts of a provider that are public by nature and may look random: host names, fine-tuned models, mounted paths.
_PUBLIC = frozenset({"base_url", "models", "paths", "certificate_authority", "region", "name", "file"})
_REFERENCE = re.compile(r"(?:\$\{?|os\.environ/|env[:.])([A-Za-z_][A-Za-z0-9_]*)\}?")
# Sections that are to name where a secret lies, with what is written there instead of the secret.
_SECRETS = {
    ("admin",): "write token: {env: NAME_OF_A_VARIABLE} or token: {file: /path/to/token}",
    ("alerts",): "write webhook: {env: NAME_OF_A_VARIABLE} or webhook: {file: /path/to/address}",
    ("store",): "write username: NAME and password: {env: NAME_OF_A_VARIABLE} or password: {file: /path/to/password}",
}
_SECRET_NAMES = frozenset({"password", "secret", "token"})
# What may look random and is no secret: people, teams and labels are often named by UUIDs.
_LABELS = frozenset({"budgets", "features", "permissions", "tags", "team", "tenant", "tier", "user"})
_USER_INFO = re.compile(r"^[a-z+]+://[^/\s]*@")
# Whoever has such an address can post to it.
_SECRET_ADDRESS = re.compile(
    r"^https?://(hooks\.slack\.com/|[^/]*discord(app)?\.com/api/webhooks/|[^/]*\.webhook\.office\.com/)"
)
_DIGEST = re.compile(DIGEST)


def find_inline_keys(source: Source) -> list[tuple[Path, Problem]]:
    """Every place where a credential seems to be written, with its problem."""
    providers = source.find(("providers",))
    found: list[tuple[Path, Problem]] = []
    if isinstance(providers, Mapping):
        for name, provider in providers.entries.items():
            found.extend((path, _problem(path, node, source)) for path, node in _suspects(provider, ("providers", name)))
    for section, fix in _SECRETS.items():
        node = source.find(section)
        if node is not None:
            message = "a secret is never written in this file"
            found.extend((path, _refused(source, path, message, fix)) for path in _secrets(node, section))
    keys = source.find(("keys",))
    if keys is not None:
        message = "a key is never written in this file, only its salted hash"
        fix = "write digest: sha256:SALT:HASH, and take this key out of use"
        found.extend((path, _refused(source, path, message, fix)) for path in _virtual_keys(keys, ("keys",)))
    return found


def _secrets(node: Node, path: Path) -> Iterator[Path]:
    """Places of passwords, tokens, and addresses that hold one."""
    if isinstance(node, Mapping):
        for key, value in node.entries.items():
            if key in _SECRET_NAMES and isinstance(value, Scalar) and value.value is not None:
                yield (*path, key)
            else:
                yield from _secrets(value, (*path, key))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _secrets(item, (*path, index))
    elif _is_secret(node.text, is_reference=path[-1] in ("env", "file")):
        yield path


def _is_secret(text: str, *, is_reference: bool) -> bool:
    if is_reference:
        return "/" not in text and looks_like_credential(text)
    return _USER_INFO.match(text) is not None or _SECRET_ADDRESS.match(text) is not None


def _virtual_keys(node: Node, path: Path) -> Iterator[Path]:
    """Places of keys, as ids, digests or anything else."""
    if isinstance(node, Mapping):
        for key, value in node.entries.items():
            if key.startswith("sk-"):
                yield (*path, key)
            else:
                yield from _virtual_keys(value, (*path, key))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _virtual_keys(item, (*path, index))
    elif _is_virtual_key(node.text, is_label=not _LABELS.isdisjoint(path[2:])):
        yield path


def _is_virtual_key(text: str, *, is_label: bool) -> bool:
    if is_label or _DIGEST.match(text) is not None:
        return text.startswith("sk-")
    return looks_like_credential(text)


def _refused(source: Source, path: Path, message: str, fix: str) -> Problem:
    return source.problem(path, message, fix=fix, code="inline_credential", key=True)


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
