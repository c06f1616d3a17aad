"""What Envoy writes down: entries for the observer over gRPC, and one JSON line for each request in a local file."""

from __future__ import annotations

from pathlib import Path

from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension

RESPONSE_HEADERS = ("retry-after", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens", "x-router-cause")
"""Logged with every attempt and request: what health and cooling are judged by."""

_LINE = {
    "time": "%START_TIME%",
    "decision": "%REQ(x-request-id)%",
    "method": "%REQ(:method)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "route": "%DYNAMIC_METADATA(router:route)%",
    "reason": "%DYNAMIC_METADATA(router:reason)%",
    "deployment": "%DYNAMIC_METADATA(router.attempt:deployment)%",
    "model": "%DYNAMIC_METADATA(router.attempt:model)%",
    "degraded": "%DYNAMIC_METADATA(router.attempt:degraded)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "first_byte_ms": "%RESPONSE_DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "prompt_tokens": "%DYNAMIC_METADATA(router.usage:prompt_tokens)%",
    "completion_tokens": "%DYNAMIC_METADATA(router.usage:completion_tokens)%",
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
