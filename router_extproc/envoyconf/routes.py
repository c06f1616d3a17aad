"""The route table, in a file of its own so that a changed route does not touch the listener.

``priority_group`` is unknown to the compiled messages that the tests check with: it stays in this file.
"""

from __future__ import annotations

from collections import defaultdict

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import names
from router_extproc.envoyconf.listener import without_filters
from router_extproc.envoyconf.local_reply import error_body
from router_extproc.envoyconf.messages import Message, duration, set_header, typed
from router_extproc.registry.snapshot import Registry

STREAM_ATTEMPT_MS = 120_000
"""How long one attempt of the default chain may take to its response headers, unless ``defaults`` says otherwise."""

_TICKET = f"%DYNAMIC_METADATA({names.TICKET}:"
_ATTEMPT = f"%DYNAMIC_METADATA({names.ATTEMPT}:"

# In this order: a later entry of the same name wins where it has a value. What an attempt reports is written by
# router.lua, so an answer for which nobody was called names no deployment.
RESPONSE_HEADERS: tuple[tuple[str, str], ...] = (
    ("x-router-decision", "%REQ(x-request-id)%"),
    ("x-router-route", f"{_TICKET}route)%"),
    ("x-router-route", f"{_ATTEMPT}route)%"),
    ("x-router-reason", f"{_TICKET}reason)%"),
    ("x-router-reason", f"{_ATTEMPT}reason)%"),
    ("x-router-model", f"{_ATTEMPT}model)%"),
    ("x-router-deployment", f"{_ATTEMPT}deployment)%"),
    ("x-router-tier", f"{_ATTEMPT}tier)%"),
    ("x-router-attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("x-router-fallback-from", f"{_ATTEMPT}fallback_from)%"),
    ("x-router-degraded", f"{_TICKET}degraded)%"),
    ("x-router-degraded", f"{_ATTEMPT}degraded)%"),
    ("x-router-cost-usd", f"%DYNAMIC_METADATA({names.REQUEST}:cost)%"),
)


def build_routes(config: RouterConfig, registry: Registry) -> Message:
    """One virtual host: ``/v1/`` goes to the chain of the ticket, anything else is no path of ours."""
    match = {"prefix": "/v1/"}
    chain = _chain(registry.default_chain)
    idle_default = config.defaults.timeouts.stream_idle
    routes = [
        {
            "name": f"idle-{idle}",
            "match": match | _ticket_route_is(route_names),
            "route": _action(config, registry, chain, idle),
        }
        for idle, route_names in _by_stream_idle(registry, idle_default).items()
    ]
    routes.append({"name": "default", "match": match, "route": _action(config, registry, chain, idle_default)})
    routes.append(_not_found())
    return {
        "name": names.ROUTES,
        "virtual_hosts": [
            {"name": "all", "domains": ["*"], "include_request_attempt_count": True, "routes": routes},
        ],
        "response_headers_to_add": [set_header(key, value) for key, value in RESPONSE_HEADERS],
        "response_headers_to_remove": [names.FINAL],
    }


def _chain(deployments: tuple[str, ...]) -> Message:
    """Attempt N goes to group N of the ticket, or of the default chain when there is no ticket."""
    clusters = deployments or (names.NO_DEFAULT_CHAIN,)
    return {
        "extension": {
            "name": "chain",
            "typed_config": typed(
                "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
                override_metadata_namespace=names.TICKET,
                priority_groups=[
                    {"name": cluster, "clusters": [{"cluster_name": cluster, "weight": 1}]} for cluster in clusters
                ],
            ),
        }
    }


def _action(config: RouterConfig, registry: Registry, chain: Message, stream_idle_ms: int) -> Message:
    attempt_ms = config.defaults.timeouts.attempt or STREAM_ATTEMPT_MS
    return {
        "inline_cluster_specifier_plugin": chain,
        # The route leg bounds each request by headers; Envoy's default of 15 s would end every long stream.
        "timeout": "0s",
        "idle_timeout": duration(stream_idle_ms),
        "retry_policy": {
            "retry_on": "5xx,reset,connect-failure,retriable-status-codes,retriable-headers",
            "retriable_status_codes": [429],
            "refresh_cluster_on_retry": True,
            "num_retries": max(len(registry.default_chain), 1) - 1,
            "per_try_timeout": duration(attempt_ms),
            # The next group is another place: there is nothing to wait for.
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
        },
    }


def _by_stream_idle(registry: Registry, default_ms: int) -> dict[int, list[str]]:
    """Names of the routes that differ from the default, by their idle timeout."""
    groups: dict[int, list[str]] = defaultdict(list)
    for name, route in registry.routes.items():
        if route.stream_idle_ms != default_ms:
            groups[route.stream_idle_ms].append(name)
    return dict(sorted(groups.items()))


def _ticket_route_is(route_names: list[str]) -> Message:
    matchers = [{"string_match": {"exact": name}} for name in route_names]
    value = matchers[0] if len(matchers) == 1 else {"or_match": {"value_matchers": matchers}}
    return {"dynamic_metadata": [{"filter": names.TICKET, "path": [{"key": "route"}], "value": value}]}


def _not_found() -> Message:
    message = "No such path: %REQ(:METHOD)% %REQ(:PATH)%. The API is below /v1/."
    return {
        "name": "not-found",
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 404,
            "body_format": error_body(message, "invalid_request_error", "path_not_found"),
        },
        "typed_per_filter_config": without_filters(),
    }
