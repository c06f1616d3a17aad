"""Whom a request is for: the user that was proved, else the end user that the calling application names in the body.

Rules of this file
- The name in a body is the application's own claim, checked by nobody. It says which budgets count the request and stands in
  the account; permissions, features and the caller that others are told of never come from it.
- A proved user is never replaced.
"""

from __future__ import annotations

from typing import Any

import msgspec

from router_extproc.limits.bounded_names import bounded
from router_extproc.request import Request

# It travels through metadata, counters and the ledger.
_LONGEST = 128
_NAMES = (b'"user"', b'"safety_identifier"')
_BLANKS = b" \t\r\n"
_AHEAD = 16
# A body in which the name stands more often is read at once: looking on would take longer.
_LOOKED_AT = 64


class _Body(msgspec.Struct):
    """OpenAI's two names for whom an application asks for, whatever stands in them."""

    user: Any = None
    safety_identifier: Any = None


_body = msgspec.json.Decoder(_Body)


def user_of(request: Request) -> str:
    """The proved user, else the body's ``user``, else its ``safety_identifier``; empty where there is none of them.

    What is longer than 128 characters or holds some that cannot be printed is cut, and told apart by its hash.
    """
    return request.caller.user or _claimed(request.body)


def _claimed(body: bytes) -> str:
    if not any(_is_member(body, name) for name in _NAMES):
        return ""
    try:
        read = _body.decode(body)
    except (msgspec.DecodeError, ValueError):
        return ""
    return _name(read.user) or _name(read.safety_identifier)


def _is_member(body: bytes, name: bytes) -> bool:
    """Whether the name may be a member's: ``"user"`` stands in most bodies, as the role of messages."""
    end = 0
    for _ in range(_LOOKED_AT):
        start = body.find(name, end)
        if start < 0:
            return False
        end = start + len(name)
        ahead = body[end : end + _AHEAD].lstrip(_BLANKS)
        if not ahead or ahead.startswith(b":"):
            return True
    return True


def _name(value: Any) -> str:
    """The name as it is counted by; numbers are names as well."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return bounded(str(value), _LONGEST)
