"""Access log entries as Envoy 1.40 writes them (taken from its real messages), and a registry that they fit."""

from __future__ import annotations

from typing import Any

from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    HTTPAccessLogEntry,
    HTTPRequestProperties,
    HTTPResponseProperties,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from router_extproc.registry.snapshot import Deployment, Model, Prices, Registry, Route, Tier

STARTED_AT = 1_790_000_000.25

REGISTRY = Registry(
    revision="r1",
    models={
        "gpt-4o": Model(
            name="gpt-4o",
            tier=Tier.PREMIUM,
            quality=0.9,
            deployments=(
                Deployment("openai/gpt-4o", "gpt-4o", "openai", "gpt-4o-2024-11-20"),
                Deployment("azure/gpt-4o", "gpt-4o", "azure", "gpt4o"),
            ),
            prices=Prices(input=2.5, output=10.0, cached_input=1.25),
        ),
        "local/*": Model(
            name="local/*", tier=Tier.ECONOMY, quality=0.3, deployments=(Deployment("vllm/any", "local/*", "vllm", "*"),)
        ),
    },
    routes={"auto": Route("auto"), "gpt-4o": Route("gpt-4o", named_model="gpt-4o")},
)


def attempt_entry(
    decision: str,
    deployment: str,
    *,
    status: int = 200,
    number: int = 1,
    flags: tuple[str, ...] = (),
    started_at: float = STARTED_AT,
    first_byte_ms: float | None = 120.0,
    total_ms: float = 800.0,
    headers: dict[str, str] | None = None,
    complete: bool = True,
) -> HTTPAccessLogEntry:
    """One entry of the log ``attempts``. ``complete`` False is an answer whose last byte never came."""
    common = AccessLogCommon(upstream_cluster=deployment, duration=milliseconds(total_ms))
    common.start_time.FromMicroseconds(round(started_at * 1e6))
    if first_byte_ms is not None:
        common.time_to_first_upstream_rx_byte.CopyFrom(milliseconds(first_byte_ms))
    if complete and status:
        common.time_to_last_upstream_rx_byte.CopyFrom(milliseconds(total_ms))
    for flag in flags:
        setattr(common.response_flags, flag, True)
    response = HTTPResponseProperties(response_headers=headers or {})
    if status:
        response.response_code.value = status
    request = HTTPRequestProperties(request_id=decision, request_headers={"x-envoy-attempt-count": str(number)})
    return HTTPAccessLogEntry(common_properties=common, request=request, response=response)


def request_entry(
    decision: str,
    deployment: str = "openai/gpt-4o",
    *,
    status: int = 200,
    attempts: int = 1,
    flags: tuple[str, ...] = (),
    details: str = "via_upstream",
    started_at: float = STARTED_AT,
    first_token_ms: float | None = 130.0,
    total_ms: float = 810.0,
    metadata: dict[str, dict[str, Any]] | None = None,
    path: str = "/v1/chat/completions",
) -> HTTPAccessLogEntry:
    """One entry of the log ``requests``."""
    common = AccessLogCommon(
        upstream_cluster=deployment, duration=milliseconds(total_ms), upstream_request_attempt_count=attempts
    )
    common.start_time.FromMicroseconds(round(started_at * 1e6))
    if first_token_ms is not None:
        common.time_to_first_downstream_tx_byte.CopyFrom(milliseconds(first_token_ms))
    for flag in flags:
        setattr(common.response_flags, flag, True)
    if metadata is None:
        metadata = TICKET | {"router.attempt": {"deployment": deployment, "model": "gpt-4o", "tier": "premium"}}
    for namespace, values in metadata.items():
        fields = Struct()
        fields.update(values)
        common.metadata.filter_metadata[namespace].CopyFrom(fields)
    response = HTTPResponseProperties(response_code_details=details)
    if status:
        response.response_code.value = status
    request = HTTPRequestProperties(request_id=decision, path=path, request_method="POST")
    return HTTPAccessLogEntry(common_properties=common, request=request, response=response)


TICKET: dict[str, dict[str, Any]] = {
    "router": {"route": "auto", "reason": "rule:code", "stream": True, "max_attempts": 4},
    "router.state": {"path": "/v1/chat/completions"},
    "router.request": {"cost": "0.00250000", "signals": '{"risk":["none",0.21],"adequacy":[[0.2,0.6,0.9],0.34]}'},
    "router.usage": {"prompt_tokens": 1000, "completion_tokens": 200, "cached_tokens": 400},
}


def milliseconds(value: float) -> Duration:
    """A protobuf duration."""
    duration = Duration()
    duration.FromNanoseconds(round(value * 1e6))
    return duration
