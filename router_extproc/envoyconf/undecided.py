"""Requests that no worker decided: served by the default chain, or refused where that would be an open door.

The refusal is a route of its own which answers without looking at anything, so that no mistake in a script can open it.
"""

from __future__ import annotations

from router_extproc.envoyconf import names
from router_extproc.envoyconf.local_reply import error_body
from router_extproc.envoyconf.messages import Message, set_header
from router_extproc.registry.snapshot import Registry

RETRY_AFTER_SECONDS = 1
"""A worker that died is replaced in about this time."""

CODE = "router_unavailable"


def api_route(name: str, conditions: list[Message]) -> Message:
    """The start of a route for the API's paths under these conditions on metadata."""
    match: Message = {"prefix": "/v1/"}
    if conditions:
        match["dynamic_metadata"] = conditions
    return {"name": name, "match": match}


def metadata(namespace: str, key: str, value: Message) -> Message:
    """A condition on the request's dynamic metadata."""
    return {"filter": namespace, "path": [{"key": key}], "value": value}


def undecided_routes(registry: Registry, action: Message, *, keys_exist: bool) -> list[Message]:
    """The last routes below ``/v1/``: for what has no ticket. ``action`` serves it by the default chain."""
    refuses = refuses_undecided(registry, keys_exist=keys_exist)
    doors = _doors(registry, is_open=not refuses)
    if not refuses and not doors:
        return [api_route(names.UNDECIDED, []) | {"route": action}]
    # Read by undecided.lua, which may then choose the route in front.
    own = {"filter_metadata": {names.UNDECIDED: {"doors": doors, "others": not refuses}}}
    refusal = api_route(names.UNDECIDED, []) | _refusal() | {"metadata": own}
    if not doors:
        return [refusal]
    allowed = metadata(names.ATTEMPT, "undecided", {"string_match": {"exact": "allow"}})
    return [api_route("undecided-allowed", [allowed]) | {"route": action}, refusal]


def refuses_undecided(registry: Registry, *, keys_exist: bool) -> bool:
    """Whether a request that no worker decided is refused, unless its route says otherwise.

    Keys that were made at run time close the door as declared ones do, where the configuration has not said who is let in.
    """
    spending = registry.spending
    says_nothing = spending.auth.mode is None and spending.on_router_failure is None
    return spending.refuses_undecided or (keys_exist and says_nothing)


def _doors(registry: Registry, *, is_open: bool) -> dict[str, bool]:
    """Which names that clients may write let a request through, as far as they differ from the rest, where it ``is_open``.

    A name that ends in ``*`` matches by prefix, the longest first, and any other before it.
    """
    doors = {name: route.on_router_failure == "allow" for name, route in registry.routes.items() if route.on_router_failure}
    if any(name.endswith("*") for name in doors):
        doors = dict.fromkeys(registry.routes, is_open) | doors
    doors |= {alias: doors[name] for alias, name in registry.aliases.items() if name in doors}
    return doors if any(door != is_open for door in doors.values()) else {}


def _refusal() -> Message:
    message = "No worker of the router could decide this request, and nobody is served undecided. Try again in a moment."
    return {
        "direct_response": {"status": 503, "body_format": error_body(message, "server_error", CODE)},
        "response_headers_to_add": [set_header("retry-after", str(RETRY_AFTER_SECONDS))],
    }
