"""How Envoy talks to the deciders: the ext_proc filters of both legs and the clusters of workers and observer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from router_extproc.envoyconf import names
from router_extproc.envoyconf.matchers import when_large_and_undecided
from router_extproc.envoyconf.messages import HTTP_PROTOCOL_OPTIONS, Message, duration, extension, pipe_address, typed
from router_extproc.store.lives import METADATA

MESSAGE_TIMEOUT_MS = 10_000
"""How long Envoy waits for a worker's answer; its own default of 200 ms turns every busy moment into an undecided request."""

MAX_MESSAGE_TIMEOUT_MS = 300_000
"""How long a worker may ask Envoy to wait, as it does when too many large bodies are under way."""

NEXT_TRY_MS = 100
"""How long a large request waits before it is shown to another worker."""

UNLIMITED = 1_000_000
"""For circuit breakers that must never close: each stream in flight holds one gRPC stream, and the default of 1,024
would let request 1,025 pass undecided."""

# With STREAMED and a whole, buffered body both request messages leave at once: one round trip.
_ROUTE_MODE = {
    "request_header_mode": "SEND",
    "request_body_mode": "STREAMED",
    "response_header_mode": "SKIP",
    "response_body_mode": "NONE",
}
# Two filters, because a mode cannot be overridden where the body is sent without waiting: what only renames must not
# stand in the way of the answer.
_RENAME_MODE = {
    "request_header_mode": "SEND",
    "request_body_mode": "BUFFERED",
    "response_header_mode": "SKIP",
    "response_body_mode": "NONE",
}
_UNPACK_MODE = {
    "request_header_mode": "SKIP",
    "request_body_mode": "NONE",
    "response_header_mode": "SEND",
    "response_body_mode": "STREAMED",
}
_JUDGE_MODE = {
    "request_header_mode": "SEND",
    "request_body_mode": "NONE",
    "response_header_mode": "SEND",
    "response_body_mode": "STREAMED",
}


def route_leg() -> Message:
    """The listener's filter: one exchange for each request, which leaves the ticket. It falls open when no worker answers."""
    return _ext_proc(names.ROUTE_LEG, _ROUTE_MODE, message_timeout=duration(MESSAGE_TIMEOUT_MS), failure_mode_allow=True)


def route_leg_again() -> list[Message]:
    """Once more for a large request whose worker died, after the moment in which Envoy learns of that death.

    Envoy starts an exchange again at another worker by itself, but only while what it sent fits into its 64 KiB.
    """
    pause = {"fixed_delay": duration(NEXT_TRY_MS), "percentage": {"numerator": 100}}
    return [
        when_large_and_undecided(extension("pause", "extensions.filters.http.fault.v3.HTTPFault", delay=pause), names.PAUSE),
        when_large_and_undecided(route_leg(), names.ROUTE_LEG_AGAIN),
    ]


def rename_leg() -> Message:
    """The upstream filter that names the model as this attempt's provider knows it, and asks for a stream's usage where it may.

    Its failure is a 503.
    """
    return _ext_proc(
        names.RENAME_LEG,
        _RENAME_MODE,
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        request_attributes=["xds.cluster_name"],
        status_on_error={"code": "ServiceUnavailable"},
    )


def judge_leg(judgement_ms: int) -> Message:
    """The upstream filter that holds an answer for at most ``judgement_ms`` until it was judged.

    When its worker dies the answer passes as it is: not judged, but not cut either.
    """
    return _ext_proc(
        names.JUDGE_LEG,
        _JUDGE_MODE,
        message_timeout=duration(MESSAGE_TIMEOUT_MS + judgement_ms),
        failure_mode_allow=True,
    )


def unpack_leg() -> Message:
    """The upstream filter that makes a compressed answer plain. Its failure is a 503, or breaks the answer off."""
    return _ext_proc(
        names.UNPACK_LEG,
        _UNPACK_MODE,
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        status_on_error={"code": "ServiceUnavailable"},
    )


def _ext_proc(leg: str, mode: Message, **more: Any) -> Message:
    # Who decides is told whose request it is.
    life = [{"key": METADATA, "value": names.LIFE}] if leg == names.ROUTE_LEG else []
    # An exchange whose worker dies before it answered starts again at another worker.
    retry = {
        "retry_on": "connect-failure,reset,unavailable",
        "num_retries": 3,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.005s"},
        "retry_host_predicate": [extension("previous", "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")],
        "host_selection_retry_max_attempts": 5,
    }
    return extension(
        f"ext_proc.{leg}",
        "extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={
            "envoy_grpc": {"cluster_name": names.WORKERS},
            "initial_metadata": [{"key": names.LEG, "value": leg}, *life],
            "retry_policy": retry,
        },
        processing_mode=mode,
        max_message_timeout=duration(MAX_MESSAGE_TIMEOUT_MS),
        send_body_without_waiting_for_header_response=True,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options={
            "receiving_namespaces": {"untyped": [names.TICKET, names.REQUEST, names.CALLER, names.BILLED]},
            "forwarding_namespaces": {"untyped": [names.TICKET]},
        },
        **more,
    )


def worker_cluster(sockets: tuple[Path, ...], buffer_bytes: int) -> Message:
    """All workers behind one name. A worker that stops serving is left out within a second.

    ``buffer_bytes`` bounds what may wait on one connection: more than the largest body, or it would be cut into pieces
    that wait for one another.
    """
    health_check = {
        # A worker that reads a body of many MiB on a busy machine is not ill.
        "timeout": "5s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        # A local socket costs nothing to ask, and a worker that came back is needed at once.
        "unhealthy_interval": "0.100s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }
    return {
        **_grpc_cluster(names.WORKERS, sockets, buffer_bytes),
        "lb_policy": "LEAST_REQUEST",
        "health_checks": [health_check],
        # The first broken connection takes a dead worker out, before the next health check does.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "interval": "0.100s",
            "base_ejection_time": "0.200s",
            "max_ejection_time": "0.200s",
            "max_ejection_percent": 100,
        },
        # Never fall back to workers known to be dead: the listener's default chain is the better answer.
        # Nor learn of a worker's health up to a second late, as Envoy does by default.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    }


def observer_cluster(socket: Path, buffer_bytes: int) -> Message:
    """The receiver of the access logs. Health checks tell it that this Envoy lives; logs are sent whatever they say."""
    health_check = {
        "timeout": "1s",
        "interval": "0.500s",
        "no_traffic_interval": "0.500s",
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {"initial_metadata": [{"header": {"key": METADATA, "value": names.LIFE}}]},
    }
    return {**_grpc_cluster(names.OBSERVER, (socket,), buffer_bytes), "health_checks": [health_check]}


def _grpc_cluster(name: str, sockets: tuple[Path, ...], buffer_bytes: int) -> Message:
    options = typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http2_protocol_options": {"max_concurrent_streams": UNLIMITED}},
    )
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": buffer_bytes,
        "circuit_breakers": circuit_breakers(UNLIMITED, UNLIMITED),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": pipe_address(socket)}} for socket in sockets]}],
        },
        "typed_extension_protocol_options": {HTTP_PROTOCOL_OPTIONS: options},
    }


def circuit_breakers(connections: int, requests: int) -> Message:
    """Bounds for one cluster, the same for both priorities."""
    bounds = {
        "max_connections": connections,
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": requests,
    }
    return {"thresholds": [{"priority": priority, **bounds} for priority in ("DEFAULT", "HIGH")]}
