"""Each way in which an attempt can end has one word, and only a provider's own faults count against it."""

from __future__ import annotations

import pytest

from router_extproc.observer import causes


@pytest.mark.parametrize(
    ("status", "flags", "marker", "cause"),
    [
        (200, set(), None, "none"),
        (304, set(), None, "none"),
        (400, set(), None, "client_error"),
        (404, set(), None, "client_error"),
        (413, set(), None, "client_error"),
        (422, set(), None, "client_error"),
        (401, set(), None, "unauthorized"),
        (402, set(), None, "unauthorized"),
        (403, set(), None, "forbidden"),
        (408, set(), None, "timeout"),
        (429, set(), None, "rate_limited"),
        (500, set(), None, "server_error"),
        (529, set(), None, "server_error"),
        (0, set(), None, "undetermined"),
        (0, {"upstream_connection_failure"}, None, "connect_failure"),
        (0, {"upstream_request_timeout"}, None, "timeout"),
        (200, {"stream_idle_timeout"}, None, "timeout"),
        (200, {"upstream_protocol_error"}, None, "reset"),
        (0, {"upstream_remote_reset"}, None, "reset"),
        (200, {"downstream_connection_termination"}, None, "client_disconnected"),
        (0, {"downstream_connection_termination", "upstream_remote_reset"}, None, "client_disconnected"),
        (503, {"upstream_overflow"}, None, "not_sent"),
        (503, {"upstream_retry_limit_exceeded"}, None, "server_error"),
        (503, set(), "context_length", "context_length"),
        (503, set(), "first_token_timeout", "first_token_timeout"),
        (503, set(), "empty_answer", "empty_answer"),
        (503, set(), "something a provider made up", "server_error"),
    ],
)
def test_every_end_has_its_word(status: int, flags: set[str], marker: str | None, cause: str) -> None:
    """Flags come before what an answer's header says, and that before the status."""
    assert causes.cause_of(status, flags, marker) == cause


def test_the_callers_faults_and_ours_are_no_providers_faults() -> None:
    """What a caller, its connection or this router caused is never counted."""
    innocent = {"none", "context_length", "client_error", "client_disconnected", "not_sent", "undetermined"}
    assert innocent == causes.CAUSES - causes.PROVIDER_FAULTS
