"""What Envoy writes down: entries for the observer over gRPC, and one JSON line for each request in a local file."""

from __future__ import annotations

import json
from pathlib import Path

from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension

RESPONSE_HEADERS = (
    "retry-after",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-router-cause",
)
"""Logged with every attempt and request: what health and cooling are judged by."""


def _metadata(namespace: str, key: str) -> str:
    return f"%DYNAMIC_METADATA({namespace}:{key})%"


def _first_of(*commands: tuple[str, str]) -> str:
    """The first that has a value."""
    operators = [{"command": command, "param": param} for command, param in commands]
    return f"%COALESCE({json.dumps({'operators': operators})})%"


_LINE = {
    "time": "%START_TIME%",
    "decision": "%REQ(x-request-id)%",
    "method": "%REQ(:method)%",
    # The request's own path may by then have become the provider's. Never the query: some clients carry keys there.
    "path": _first_of(("DYNAMIC_METADATA", f"{names.STATE}:path"), ("PATH", "NQ")),
    "route": _first_of(("DYNAMIC_METADATA", f"{names.TICKET}:route"), ("DYNAMIC_METADATA", f"{names.ATTEMPT}:route")),
    "reason": _first_of(("DYNAMIC_METADATA", f"{names.TICKET}:reason"), ("DYNAMIC_METADATA", f"{names.ATTEMPT}:reason")),
    "deployment": _metadata(names.ATTEMPT, "deployment"),
    "model": _metadata(names.ATTEMPT, "model"),
    "degraded": _first_of(("DYNAMIC_METADATA", f"{names.TICKET}:degraded"), ("DYNAMIC_METADATA", f"{names.ATTEMPT}:degraded")),
    "fallback_from": _metadata(names.ATTEMPT, "fallback_from"),
    "cause": _metadata(names.ATTEMPT, "cause"),
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "prompt_tokens": _metadata(names.USAGE, "prompt_tokens"),
    "completion_tokens": _metadata(names.USAGE, "completion_tokens"),
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
        additional_response_headers_to_log=list(RESPONSE_HEADERS),
    )


def to_file(path: Path) -> Message:
    """One JSON line for each request, also when no worker and no observer runs; ``degraded`` then says so.

    Envoy keeps the file open and only appends; rotating it is the user's business (rename it, then send Envoy SIGUSR1).
    """
    return extension(
        "log.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": dict(_LINE)},
    )
