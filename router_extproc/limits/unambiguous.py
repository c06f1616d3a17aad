"""Bodies that say a thing twice: the router would believe one of them, and the provider perhaps the other.

Rules of this file
- It is asked only where somebody has permissions or is counted: elsewhere a strange body is the provider's business.
- Parsers differ in which of two members of the same name they believe, and some take ``Model`` for ``model`` (Go's
  encoding/json compares names without regard to case, Unicode's included).
"""

from __future__ import annotations

import re

from router_extproc.dialects.json_body import walk
from router_extproc.dialects.json_edit import read_members
from router_extproc.errors import BadRequestError

# What permissions and amounts are read from.
NAMES = (
    "model",
    "stream",
    "stream_options",
    "messages",
    "input",
    "prompt",
    "n",
    "best_of",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
)
_QUOTED = tuple(f'"{name}"'.encode() for name in NAMES)
# Letters that may stand in a name written otherwise: escaped ones, the Kelvin sign and the long s.
_OTHER_LETTERS = re.compile(rb"\\u(?:00[4-7]|212[aA]|017[fF])|\xe2\x84\xaa|\xc5\xbf")


def refuse_ambiguous(body: bytes) -> None:
    """Lets a body pass whose top level has each member that matters at most once, under its own name.

    Raises:
        BadRequestError: it has not, or is no JSON object.
    """
    if not body or not _is_suspicious(body):
        return
    seen: set[str] = set()
    for member in walk(body, read_members(body)):
        name = member.name.casefold()
        if name not in NAMES:
            continue
        if member.name != name or name in seen:
            message = (
                f"The body must hold '{name}' once, and in this spelling: who reads it otherwise would see another request."
            )
            raise BadRequestError(message, param=name, code="ambiguous_member")
        seen.add(name)


def _is_suspicious(body: bytes) -> bool:
    """Whether the body may hold such a member, at any depth; a walk tells."""
    small = body.lower()
    if any((found := small.count(name)) > 1 or found != body.count(name) for name in _QUOTED):
        return True
    return _OTHER_LETTERS.search(body) is not None
