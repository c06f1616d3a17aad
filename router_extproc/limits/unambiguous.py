"""Bodies that say a thing twice: the router would believe one of them, and the provider perhaps the other.

Rules of this file
- It is asked only where somebody has permissions or is counted: elsewhere a strange body is the provider's business.
- Parsers differ in which of two members of the same name they believe, and some take ``Model`` for ``model`` (Go's
  encoding/json compares names without regard to case, Unicode's included).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from router_extproc.dialects.json_body import walk
from router_extproc.dialects.json_edit import read_members
from router_extproc.errors import BadRequestError

# What permissions and amounts are read from.
NAMES = frozenset(
    {
        "model",
        "models",
        "fallbacks",
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
        "tools",
        "max_tool_calls",
        "web_search_options",
        "previous_response_id",
        "conversation",
        "seconds",
        "duration",
        "n_seconds",
        "n_variants",
        "background",
        "deferred",
        "plugins",
        "search_parameters",
        "enable_search",
        "extra_body",
    }
)
# An escaped letter, by which a name may be spelled otherwise.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")


def refuse_ambiguous(body: bytes) -> None:
    """Lets a body pass whose top level has each member that matters at most once, under its own name.

    Raises:
        BadRequestError: it has not, or is no JSON object.
    """
    if not body:
        return
    members = read_members(body)
    for name in members:
        if name not in NAMES and (meant := name.casefold()) in NAMES:
            raise _ambiguous(meant)
    if _is_compact(body, members) or not _may_repeat(body, members):
        return
    seen: set[str] = set()
    for member in walk(body, members):
        if member.name in NAMES and member.name in seen:
            raise _ambiguous(member.name)
        seen.add(member.name)


def _ambiguous(name: str) -> BadRequestError:
    message = f"The body must hold '{name}' once, and in this spelling: who reads it otherwise would see another request."
    return BadRequestError(message, param=name, code="ambiguous_member")


def _is_compact(body: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the body is no longer than its members take: then there is room for nothing else."""
    needed = sum(len(name.encode(errors="replace")) + len(memoryview(value)) + len('"":,') for name, value in members.items())
    return len(body) <= needed + 1


def _may_repeat(body: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Whether a name that matters may stand at the top level more than once; a walk tells."""
    if any(body.count(b'"%s"' % name.encode()) > 1 for name in members if name in NAMES):
        return True
    return _ESCAPED_LETTER.search(body) is not None
