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
_NAMES = frozenset(name.encode() for name in NAMES)
# What may be a member with such a name, in whichever case.
_MEMBER = re.compile(rb'"([A-Za-z_]{1,%d})"\s*:' % max(map(len, NAMES)))
# Letters that may stand in a name written otherwise: escaped ones, the Kelvin sign and the long s.
_ESCAPED = re.compile(rb"\\u(?:00[4-7]|212[aA]|017[fF])")
_KELVIN, _LONG_S = "\u212a".encode(), "\u017f".encode()


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
    """Whether the body may hold such a member, at any depth; a walk tells. Bodies are large: each is gone through once."""
    names = [name for name in _MEMBER.findall(body) if name.lower() in _NAMES]
    if len({name.lower() for name in names}) < len(names) or not _NAMES.issuperset(names):
        return True
    if _ESCAPED.search(body) is not None:
        return True
    return not body.isascii() and (_KELVIN in body or _LONG_S in body)
