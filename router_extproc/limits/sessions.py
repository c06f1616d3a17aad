"""Sessions: what a client calls one conversation of many requests, and what these are compared by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from router_extproc.dialects.openai_edits import COMPLETIONS, RESPONSES
from router_extproc.limits.loop_guard import fingerprint
from router_extproc.registry.spending import LoopGuard
from router_extproc.request import CHAT_COMPLETIONS, Request

SESSION_HEADER = "x-router-session"

# A session's name travels through metadata, counters and logs: what is longer is cut, and told apart by its hash.
_LONGEST_NAME = 128
_CONVERSATIONS = frozenset({CHAT_COMPLETIONS, COMPLETIONS, RESPONSES})


def session_of(headers: Mapping[str, str]) -> str:
    """What the client calls its conversation; empty where it calls it nothing."""
    name = headers.get(SESSION_HEADER, "").strip()
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 2]}~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:32]}"


def compared_by(request: Request, body: bytes, guard: LoopGuard) -> str:
    """What the request is compared by with others of its session; nothing where nobody compares.

    Raises:
        BadRequestError: the body is no JSON object.
    """
    is_looked_at = guard.mode != "off" and request.path in _CONVERSATIONS and request.headers.get(SESSION_HEADER)
    return fingerprint(body) if is_looked_at and request.model else ""
