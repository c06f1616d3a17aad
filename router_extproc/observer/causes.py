"""Why an attempt failed, in one word each, and what the word means for a deployment's health.

Rules of this file
- The words are published: they stand in the decision log and as metric labels, so they may be added to, not renamed.
- A fault of the caller, of the client's connection or of this router never counts against a provider.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

NONE = "none"

# Faults of the provider or of the way to it.
CONNECT_FAILURE = "connect_failure"
TIMEOUT = "timeout"
RESET = "reset"
INCOMPLETE_STREAM = "incomplete_stream"
RATE_LIMITED = "rate_limited"
SERVER_ERROR = "server_error"
UNAUTHORIZED = "unauthorized"
FORBIDDEN = "forbidden"
FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a cause of failure, not a credential
EMPTY_ANSWER = "empty_answer"
MALFORMED_ANSWER = "malformed_answer"

# Nobody's fault, or the caller's.
CONTEXT_LENGTH = "context_length"
CLIENT_ERROR = "client_error"
CLIENT_DISCONNECTED = "client_disconnected"

# The attempt was refused by this router before it was sent: no time was left, or no connection was free.
NOT_SENT = "not_sent"
# The attempt's own entry does not say; the request's entry may.
UNDETERMINED = "undetermined"

PROVIDER_FAULTS = frozenset(
    {
        CONNECT_FAILURE,
        TIMEOUT,
        RESET,
        INCOMPLETE_STREAM,
        RATE_LIMITED,
        SERVER_ERROR,
        UNAUTHORIZED,
        FORBIDDEN,
        FIRST_TOKEN_TIMEOUT,
        EMPTY_ANSWER,
        MALFORMED_ANSWER,
    }
)
# An attempt that ended so is judged when its request's entry is here: that one tells who broke off, and whether a stream
# that looks complete was.
UNSETTLED = frozenset({NONE, UNDETERMINED})
CAUSES = PROVIDER_FAULTS | {NONE, CONTEXT_LENGTH, CLIENT_ERROR, CLIENT_DISCONNECTED, NOT_SENT, UNDETERMINED}

# What Envoy's response flags mean here; the first group that has a flag in common with the entry decides.
_FLAG_CAUSES: tuple[tuple[str, frozenset[str]], ...] = (
    (CLIENT_DISCONNECTED, frozenset({"downstream_connection_termination", "downstream_remote_reset"})),
    (CONNECT_FAILURE, frozenset({"upstream_connection_failure", "dns_resolution_failure"})),
    (
        TIMEOUT,
        frozenset(
            {"upstream_request_timeout", "stream_idle_timeout", "duration_timeout", "upstream_max_stream_duration_reached"}
        ),
    ),
    (RESET, frozenset({"upstream_remote_reset", "upstream_connection_termination", "upstream_protocol_error"})),
    (NOT_SENT, frozenset({"upstream_overflow", "no_healthy_upstream", "no_cluster_found", "overload_manager"})),
)

# HTTP (RFC 9110) statuses that mean something else than "the caller's request is wrong".
_STATUS_CAUSES = {401: UNAUTHORIZED, 402: UNAUTHORIZED, 403: FORBIDDEN, 408: TIMEOUT, 429: RATE_LIMITED}
_FIRST_STATUS = 100
_FIRST_CLIENT_ERROR = 400
_FIRST_SERVER_ERROR = 500


def cause_of(status: int, flags: AbstractSet[str], marker: str | None = None) -> str:
    """The cause in one word.

    ``flags`` are field names of Envoy's ``ResponseFlags``, ``status`` is 0 when no answer came, ``marker`` is the
    ``x-router-cause`` header by which the attempt leg and the Lua filter say why they turned an answer down.
    """
    for cause, group in _FLAG_CAUSES:
        if not group.isdisjoint(flags):
            return cause
    if marker in CAUSES:
        return str(marker)
    if status < _FIRST_STATUS:
        return UNDETERMINED
    if status < _FIRST_CLIENT_ERROR:
        return NONE
    if status < _FIRST_SERVER_ERROR:
        return _STATUS_CAUSES.get(status, CLIENT_ERROR)
    return SERVER_ERROR
