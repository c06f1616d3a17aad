"""Sessions: what a client calls one conversation of many requests, and what these are compared by."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.dialects.openai_edits import COMPLETIONS, RESPONSES
from router_extproc.limits.bounded_names import bounded
from router_extproc.limits.loop_guard import fingerprint
from router_extproc.registry.spending import LoopGuard
from router_extproc.request import CHAT_COMPLETIONS, Request

SESSION_HEADER = "x-router-session"

# A session's name travels through metadata, counters and logs.
_LONGEST_NAME = 128
_CONVERSATIONS = frozenset({CHAT_COMPLETIONS, COMPLETIONS, RESPONSES})


def session_of(headers: Mapping[str, str]) -> str:
    """What the client calls its conversation; empty where it calls it nothing."""
    return bounded(headers.get(SESSION_HEADER, ""), _LONGEST_NAME)


def compared_by(request: Request, body: bytes, guard: LoopGuard) -> str:
    """What the request is compared by with others of its session; nothing where nobody compares.

    Raises:
        BadRequestError: the body is no JSON object.
    """
    is_looked_at = guard.mode != "off" and request.path in _CONVERSATIONS and request.headers.get(SESSION_HEADER)
    return fingerprint(body) if is_looked_at and request.model else ""
