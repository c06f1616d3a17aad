"""The route table, in a file of its own so that a changed route does not touch the listener.

``priority_group`` is unknown to the compiled messages that the tests check with: it stays in this file.
"""

from __future__ import annotations

from collections import defaultdict

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf import names
from router_extproc.envoyconf.listener import buffer_bytes, without_filters
from router_extproc.envoyconf.local_reply import error_body
from router_extproc.envoyconf.messages import Message, duration, set_header, typed
from router_extproc.envoyconf.undecided import api_route, metadata, undecided_routes
from router_extproc.policy.timing import attempt_timeout
from router_extproc.registry.snapshot import Registry, Route

UNDECIDED_ATTEMPT_MS = 120_000
"""How long one attempt of the default chain may take to its response headers, unless ``defaults`` says otherwise."""

REPLY_MARGIN_MS = 30_000
"""By how much the backstop outlasts the deadlines, so that a deadline is always answered as one."""

FIRST_BYTE_MARGIN_MS = 5_000
"""By how much a stream's backstop outlasts all its attempts, so that their end is answered and not the backstop's."""

_TICKET = f"%DYNAMIC_METADATA({names.TICKET}:"
_REQUEST = f"%DYNAMIC_METADATA({names.REQUEST}:"
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
    ("x-router-attempts", f"{_ATTEMPT}attempts)%"),
    ("x-router-fallback-from", f"{_ATTEMPT}fallback_from)%"),
    ("x-router-fallback-cause", f"{_ATTEMPT}fallback_cause)%"),
    ("x-router-degraded", f"{_TICKET}degraded)%"),
    ("x-router-degraded", f"{_REQUEST}degraded)%"),
    ("x-router-degraded", f"{_ATTEMPT}degraded)%"),
    ("x-router-cost-usd", f"{_REQUEST}cost)%"),
    ("x-router-budget-remaining", f"{_REQUEST}budget_remaining)%"),
    # In place of the provider's, which are about our key with it.
    *((header, f"{_REQUEST}{header})%") for header in names.RATE_LIMITS),
)


def build_routes(config: RouterConfig, registry: Registry, *, keys_exist: bool = False) -> Message:
    """One virtual host: ``/v1/`` goes to the chain of the ticket, anything else is no path of ours.

    What has no ticket goes to the default chain, or is refused where somebody is to be asked who they are or what they may
    spend; ``keys_exist`` says that keys were made at run time.

    The route is looked up again once the ticket is set, which is how a request gets its own idle timeout: between two
    pieces of a stream, while a plain answer may be silent as long as its deadline allows.
    """
    default_idle = config.defaults.timeouts.stream_idle
    default = _silences(_default_route(config))
    longest = longest_request(config, registry)
    streams = [
        api_route(
            f"stream-idle-{idle}-{whole}",
            [metadata(names.TICKET, "stream", {"bool_match": True}), metadata(names.TICKET, "route", _one_of(route_names))],
        )
        | {"route": _action(registry, idle_ms=idle, request_idle_ms=whole)}
        for (idle, whole), route_names in _by_silences(registry, default).items()
    ]
    stream = api_route("stream", [metadata(names.TICKET, "stream", {"bool_match": True})])
    plain = api_route("plain", [metadata(names.TICKET, "stream", {"bool_match": False})])
    undecided = _action(registry, idle_ms=default_idle, request_idle_ms=default_idle)
    undecided["retry_policy"]["per_try_timeout"] = duration(config.defaults.timeouts.attempt or UNDECIDED_ATTEMPT_MS)
    routes = [
        *streams,
        stream | {"route": _action(registry, idle_ms=default[0], request_idle_ms=default[1])},
        plain | {"route": _action(registry, idle_ms=None, request_idle_ms=longest)},
        *undecided_routes(registry, undecided, keys_exist=keys_exist),
        _not_found(),
    ]
    return {
        "name": names.ROUTES,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "include_request_attempt_count": True,
                # Despite its name it bounds answers too, which the buffer filter had set to the size of request bodies.
                "request_body_buffer_limit": buffer_bytes(config),
                "routes": routes,
            },
        ],
        "response_headers_to_add": [set_header(key, value) for key, value in RESPONSE_HEADERS],
        "response_headers_to_remove": [names.FINAL],
    }


def longest_request(config: RouterConfig, registry: Registry) -> int:
    """How long a request may rightly be silent towards its client, in milliseconds: while all its attempts run."""
    timeouts = config.defaults.timeouts
    waits = [max(route.deadline_ms, route.stream_idle_ms) for route in registry.routes.values()]
    return max([timeouts.deadline, timeouts.stream_idle, *waits]) + REPLY_MARGIN_MS


def _action(registry: Registry, *, idle_ms: int | None, request_idle_ms: int) -> Message:
    """Attempt N goes to group N of the ticket, or of the default chain when there is no ticket."""
    deployments = registry.default_chain or (names.NO_DEFAULT_CHAIN,)
    chain = typed(
        "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        override_metadata_namespace=names.TICKET,
        priority_groups=[{"name": name, "clusters": [{"cluster_name": name, "weight": 1}]} for name in deployments],
    )
    retry: Message = {
        "retry_on": "5xx,reset,connect-failure,retriable-status-codes,retriable-headers",
        "retriable_status_codes": [429],
        "refresh_cluster_on_retry": True,
        "num_retries": len(deployments) - 1,
        # The next group is another place: there is nothing to wait for.
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    }
    if idle_ms is not None:
        retry["per_try_idle_timeout"] = duration(idle_ms)
    return {
        "inline_cluster_specifier_plugin": {"extension": {"name": "chain", "typed_config": chain}},
        # The route leg bounds each request by headers; Envoy's default of 15 s would end every long stream.
        "timeout": "0s",
        # Runs over all attempts until the first byte goes to the client, then between two pieces: a backstop.
        "idle_timeout": duration(request_idle_ms),
        "retry_policy": retry,
    }


def _silences(route: Route) -> tuple[int, int]:
    """How long an attempt of a stream may be silent, and how long its client may hear nothing, in milliseconds.

    Envoy drops the first of the two once an attempt's time to its first byte is over, even when that byte has come. So a
    stream that has run for longer is ended by the second one, which is therefore kept as short as all attempts allow.
    """
    counts = range(1, route.max_attempts + 1)
    attempts = max(n * (attempt_timeout(route, stream=True, attempts=n) or route.deadline_ms) for n in counts)
    return route.stream_idle_ms, max(route.stream_idle_ms, min(attempts, route.deadline_ms) + FIRST_BYTE_MARGIN_MS)


def _default_route(config: RouterConfig) -> Route:
    timeouts = config.defaults.timeouts
    return Route(
        name="",
        deadline_ms=timeouts.deadline,
        attempt_timeout_ms=timeouts.attempt,
        stream_idle_ms=timeouts.stream_idle,
        max_attempts=config.defaults.retry.max_attempts,
    )


def _by_silences(registry: Registry, default: tuple[int, int]) -> dict[tuple[int, int], list[str]]:
    """Names of the routes whose streams may be silent for other times than the default."""
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, route in registry.routes.items():
        if (silences := _silences(route)) != default:
            groups[silences].append(name)
    return dict(sorted(groups.items()))


def _one_of(values: list[str]) -> Message:
    matchers: list[Message] = [{"string_match": {"exact": value}} for value in values]
    return matchers[0] if len(matchers) == 1 else {"or_match": {"value_matchers": matchers}}


def _not_found() -> Message:
    message = "No such path: %REQ(:METHOD)% %PATH(NQ)%. The API is below /v1/."
    return {
        "name": "not-found",
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 404,
            "body_format": error_body(message, "invalid_request_error", "path_not_found"),
        },
        "typed_per_filter_config": without_filters(),
    }
