"""What a session is called, and which requests are compared within one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from router_extproc.limits.sessions import compared_by, session_of
from router_extproc.registry.spending import LoopGuard
from tests.limits.cases import request

WATCHING = LoopGuard(mode="enforce")
BODY = b'{"model": "best", "messages": [{"role": "user", "content": "Hello"}]}'
ASKED = replace(request("best"), headers={"x-router-session": "tidy-up"})


def test_a_name_is_trimmed_and_a_long_one_stays_told_apart() -> None:
    """What is too long for logs and counters is cut; two long names that differ at their end stay two."""
    assert session_of({}) == session_of({"x-router-session": "  "}) == ""
    assert session_of({"x-router-session": " tidy-up "}) == "tidy-up"
    long = [session_of({"x-router-session": "a" * 500 + end}) for end in "xy"]
    assert long[0] != long[1]
    assert all(len(name) < 128 for name in long)


def test_only_conversations_of_a_named_session_are_compared() -> None:
    """Nothing is compared where the guard is off, no session is named, or the path is no conversation."""
    assert compared_by(ASKED, BODY, WATCHING)
    assert not compared_by(ASKED, BODY, replace(WATCHING, mode="off"))
    assert not compared_by(replace(ASKED, headers={}), BODY, WATCHING)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/files"])
def test_what_is_no_conversation_is_not_compared(path: str) -> None:
    """Embedding the same text twice is nobody's loop."""
    assert not compared_by(replace(ASKED, path=path), BODY, WATCHING)
