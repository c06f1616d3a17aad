"""What Envoy writes down: entries for the observer over gRPC, and JSON lines in a local file, by which money is settled.

The file is the record: Envoy appends to it without anybody's help, a line for each attempt and one for each request when it
is over, while the entries over gRPC are not acknowledged. The request's line usually is the last, but where the client left
it comes before that of the attempt which this ended. Lines of different requests are mixed, and a line may be written in two
pieces: only what ends with a newline is one. Values that are not known are null, never missing. Whoever reads must accept
further names, and lines without ``kind`` (older ones, of requests).

A line of an attempt::

    {"kind": "attempt",
     "time": "2026-03-01T12:00:00.120Z",    start, UTC, milliseconds
     "decision": "7f0c...",                 the request's id, as in its own line
     "attempt": "2",                        its number, a text, from "1"
     "deployment": "openai/gpt-small",
     "status": 200,                         0: no answer; 503 also where an answer was turned down
     "flags": "-",                          Envoy's short response flags, separated by commas: "UF", "UC", "UPE", "UT"
     "duration_ms": 812,
     "first_byte_ms": 204,                  until the first byte of the answer; null: none came
     "bytes_sent": 5120}                    of the answer's body, as the provider sent it

A line of a request, also of one that was refused::

    {"kind": "request",
     "time": "2026-03-01T12:00:00.100Z",
     "decision": "7f0c...",
     "method": "POST", "path": "/v1/chat/completions", "route": "auto", "reason": "auto:economy",
     "stream": true,                        null: no worker decided
     "deployment": "openai/gpt-small",      of the last attempt; null: nobody was called
     "model": "gpt-small",
     "refused_by": null,                    the budget that refused: then nobody was called
     "degraded": null, "fallback_from": "azure/gpt-small",
     "cause": "rate_limited",               why an answer was not taken, the last one; "no_answer": the first attempt got none
     "status": 200,                         what the client was told; 0: it left before anything
     "details": "via_upstream",             Envoy's response code details; "router_..." where a worker refused
     "flags": "-",                          "DC": the client left; "UC", "UPE", "SI": broken off, see ``status`` for when
     "attempts": 2,                         0: nobody was called; a text where Envoy would have made one more
     "tried": {"1": "azure/gpt-small", "2": "openai/gpt-small"},    deployment by attempt; null: nobody was called
     "answered": {"1": "answer"},           by attempt, of what was held to be judged or unpacked: the provider had sent
                                            status 200 and the headers of an "answer" or a "stream"; null: none
     "causes": {"1": "rate_limited"},       by attempt, why its answer was not taken or a failure, or "timeout"; who gave
                                            none otherwise, and who ran out of time as the last, is missing
     "incomplete": null,                    true: a stream that ended in order but without its last event
     "duration_ms": 833, "first_byte_ms": 225, "bytes_received": 310, "bytes_sent": 5120,
     "prompt_tokens": 12, "completion_tokens": 34, "cached_tokens": 0, "total_tokens": 46,
                                            as the provider reported; null: it did not. A total may have more than the others:
                                            what the model thought
     "seconds": null,                       of sound that the provider says it heard; null: it did not
     "events": 36,                          events of the stream that reached Envoy, also when it was broken off; null: none
     "billed": {"1": {"prompt_tokens": 12, "completion_tokens": 0, "cached_tokens": 0}},
                                            by attempt: what the provider reported for answers that were turned down, or null;
                                            where it reported nothing {"unreported": "stream"} or {"unreported": "answer"}
     "text_tokens": "12",                   a text: the prompt's tokens as estimated, of a chat of text alone; null: not known
     "account": "{...}",                    a text: ``account.decode_account`` reads it; null: nothing is to be settled
     "caller": {"tenant": "acme", "team": "", "user": "", "key": "k1", "tier": "premium",
                "features": ["beta"], "tags": {"app": "chat"}}}    null: nobody was asked who they are
"""

from __future__ import annotations

import json
from pathlib import Path

from router_extproc.dialects.rate_limit_headers import HEADERS
from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension

OF_ATTEMPTS = ("retry-after", *HEADERS, "x-router-cause")
"""Response headers logged with every attempt: what health and cooling are judged by."""
OF_REQUESTS = ("x-router-cause",)
"""Response headers logged with every request."""


def _metadata(namespace: str, key: str) -> str:
    return f"%DYNAMIC_METADATA({namespace}:{key})%"


def _first_of(*commands: tuple[str, str]) -> str:
    """The first that has a value."""
    operators = [{"command": command, "param": param} for command, param in commands]
    return f"%COALESCE({json.dumps({'operators': operators})})%"


_ATTEMPT_LINE = {
    "kind": "attempt",
    "time": "%START_TIME%",
    "decision": "%REQ(x-request-id)%",
    "attempt": "%REQ(x-envoy-attempt-count)%",
    "deployment": "%UPSTREAM_CLUSTER_RAW%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    # Seen from Envoy's side of the provider: what it received is the answer.
    "bytes_sent": "%BYTES_RECEIVED%",
}

_REQUEST_LINE = {
    "kind": "request",
    "time": "%START_TIME%",
    "decision": "%REQ(x-request-id)%",
    "method": "%REQ(:method)%",
    # The request's own path may by then have become the provider's. Never the query: some clients carry keys there.
    "path": _first_of(("DYNAMIC_METADATA", f"{names.STATE}:path"), ("PATH", "NQ")),
    "route": _first_of(("DYNAMIC_METADATA", f"{names.TICKET}:route"), ("DYNAMIC_METADATA", f"{names.ATTEMPT}:route")),
    "reason": _first_of(("DYNAMIC_METADATA", f"{names.TICKET}:reason"), ("DYNAMIC_METADATA", f"{names.ATTEMPT}:reason")),
    "refused_by": _metadata(names.TICKET, "refused_by"),
    "stream": _metadata(names.TICKET, "stream"),
    "deployment": _metadata(names.ATTEMPT, "deployment"),
    "model": _metadata(names.ATTEMPT, "model"),
    "degraded": _first_of(
        *(("DYNAMIC_METADATA", f"{space}:degraded") for space in (names.REQUEST, names.TICKET, names.ATTEMPT))
    ),
    "fallback_from": _metadata(names.ATTEMPT, "fallback_from"),
    "cause": _metadata(names.ATTEMPT, "cause"),
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": _first_of(("DYNAMIC_METADATA", f"{names.ATTEMPT}:attempts"), ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "")),
    "tried": _metadata(names.ATTEMPT, "tried"),
    "answered": _metadata(names.ATTEMPT, "answered"),
    "causes": _metadata(names.ATTEMPT, "causes"),
    "incomplete": _metadata(names.ATTEMPT, "incomplete"),
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "prompt_tokens": _metadata(names.USAGE, "prompt_tokens"),
    "completion_tokens": _metadata(names.USAGE, "completion_tokens"),
    "cached_tokens": _metadata(names.USAGE, "cached_tokens"),
    "total_tokens": _metadata(names.USAGE, "total_tokens"),
    "seconds": _metadata(names.USAGE, "seconds"),
    "events": _metadata(names.USAGE, "events"),
    "billed": f"%DYNAMIC_METADATA({names.BILLED})%",
    "text_tokens": _metadata(names.REQUEST, "text_tokens"),
    "account": _metadata(names.REQUEST, "account"),
    "caller": f"%DYNAMIC_METADATA({names.CALLER})%",
}


def to_observer(log_name: str) -> Message:
    """Entries over gRPC. They are not acknowledged: what the observer misses while it restarts is in the file only."""
    return extension(
        f"log.{log_name}",
        "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": log_name,
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.100s",
            "grpc_service": {"envoy_grpc": {"cluster_name": names.OBSERVER}},
        },
        additional_request_headers_to_log=["x-request-id", "x-envoy-attempt-count"],
        additional_response_headers_to_log=list(OF_ATTEMPTS if log_name == names.ATTEMPT_LOG else OF_REQUESTS),
    )


def requests_to_file(path: Path) -> Message:
    """One JSON line for each request, also when no worker and no observer runs; ``degraded`` then says so.

    Envoy keeps the file open and only appends. Who rotates it renames it and then has Envoy open it again: by POST
    ``/reopen_logs`` to Envoy's admin interface, or SIGUSR1.
    """
    return _to_file(path, _REQUEST_LINE)


def attempts_to_file(path: Path) -> Message:
    """One JSON line for each attempt, in the same file."""
    return _to_file(path, _ATTEMPT_LINE)


def _to_file(path: Path, line: dict[str, str]) -> Message:
    return extension(
        "log.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": dict(line)},
    )
