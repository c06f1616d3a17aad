"""Whether the files and variables that a configuration names can be had. Their content is never repeated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from router_extproc.config.redaction import shown_path

# No key or certificate chain comes near; a device or a log given by mistake might.
_MAX_BYTES = 1 << 20
_PEM_LABELS = {"a certificate": b"CERTIFICATE-----", "a private key": b"PRIVATE KEY-----"}

# Message and fix.
Finding = tuple[str, str]


def check_variable(name: str, environ: Mapping[str, str], what: str = "the provider's key") -> Finding | None:
    """What is wrong with the environment variable that holds ``what``; None when nothing is."""
    value = environ.get(name)
    if value is None:
        return f"the environment variable {name} is not set", f"export {name} before the router starts"
    if not value.strip():
        return f"the environment variable {name} is empty", f"export {name} with {what}"
    return None


def check_file(name: str, what: str) -> Finding | None:
    """What is wrong with a file that should hold ``what``; ``a certificate`` and ``a private key`` must be in PEM form."""
    path = Path(name)
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "does not exist"
            return f"{shown_path(name)} {problem}", f"name a file with {what}"
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no usable path"
        return f"{shown_path(name)} cannot be read: {reason}", "make it readable for the router's user"
    if not content.strip():
        return f"{shown_path(name)} is empty", f"write {what} into it"
    label = _PEM_LABELS.get(what)
    if label is not None and label not in content:
        return f"{shown_path(name)} holds no {what.removeprefix('a ')} in PEM form", f"name a file with {what}"
    return None
