"""What of a configuration file may be repeated in a message: never a credential.

A key written where a name belongs must be reported without being printed, because messages end in logs and tickets.
"""

from __future__ import annotations

import re

# Forms in which the providers of 2026 issue keys, and what else is never a name: tokens, private keys, UUIDs.
_ISSUED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|pk|rk|xai|pplx|nvapi|csk|glpat)-|(?:gsk|hf|r8|fw|tgp|ghp)_|eyJ|ya29\.|AIza)[-_.A-Za-z0-9]{8,}"
    r"|(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}"
    r"|-----BEGIN [A-Z ]+-----"
    r"|\b[Bb]earer\s+\S{8,}"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
)
# Long runs without a separator that mix letters and digits: keys of providers without a prefix of their own.
_RANDOM = re.compile(r"[A-Za-z0-9+=]{28,}")
_LONGEST_SHOWN = 60


def looks_like_credential(text: str) -> bool:
    """Whether the text has the form of a key, so that it must not be repeated."""
    return _ISSUED.search(text) is not None or any(_mixes(match[0]) for match in _RANDOM.finditer(text))


def _mixes(run: str) -> bool:
    return any(character.isdigit() for character in run) and any(character.isalpha() for character in run)


def shown(text: str) -> str:
    """The text as a message may show it: one line, shortened, and never a key."""
    if looks_like_credential(text):
        return "[hidden]"
    one_line = "".join(character if character.isprintable() else "?" for character in text)
    return one_line if len(one_line) <= _LONGEST_SHOWN else one_line[: _LONGEST_SHOWN - 1] + "…"


def shown_path(path: str) -> str:
    """A file's path as a message may show it: whole, but for parts that look like a key."""
    return "/".join(shown(part) for part in path.split("/"))
