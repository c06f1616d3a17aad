"""Envoy's own schema for rendered messages, and one static file of all of them for ``envoy --mode validate``."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import ParseDict

# Newer than the compiled messages; the real Envoy checks them.
UNKNOWN_TYPES = {
    "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
    "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
    "envoy.extensions.content_parsers.json.v3.JsonContentParser",
}
UNKNOWN_FIELDS = {"refresh_cluster_on_retry"}
_PREFIX = "type.googleapis.com/"


def types_in(message: Any) -> Iterator[str]:
    """The types named anywhere in a message."""
    if isinstance(message, dict):
        if "@type" in message:
            yield message["@type"].removeprefix(_PREFIX)
        for value in message.values():
            yield from types_in(value)
    elif isinstance(message, list):
        for value in message:
            yield from types_in(value)


def static_bootstrap(documents: dict[str, Any]) -> dict[str, Any]:
    """The bootstrap with everything in it that is otherwise read from the other files."""
    result = copy.deepcopy(documents["bootstrap"])
    del result["dynamic_resources"]
    listeners = copy.deepcopy(documents["lds"]["resources"])
    (routes,) = copy.deepcopy(documents["rds"]["resources"])
    # As for routes read from a file, clusters need not exist.
    routes["validate_clusters"] = False
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["rds"]
        manager["route_config"] = routes
    result["static_resources"]["listeners"] = listeners
    result["static_resources"]["clusters"] += copy.deepcopy(documents["cds"]["resources"])
    for resource in (routes, *listeners, *result["static_resources"]["clusters"]):
        resource.pop("@type", None)
    return result


def parse(bootstrap: dict[str, Any]) -> Bootstrap:
    """The bootstrap as Envoy's message; fails on a field or type that does not exist."""
    for name in set(types_in(bootstrap)) - UNKNOWN_TYPES:
        _load(name)
    return ParseDict(_without_unknown(bootstrap), Bootstrap())


def _load(type_name: str) -> None:
    package = importlib.import_module(type_name.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if module.name.endswith("_pb2"):
            importlib.import_module(module.name)


def _without_unknown(message: Any) -> Any:
    if isinstance(message, list):
        return [_without_unknown(value) for value in message]
    if not isinstance(message, dict):
        return message
    if message.get("@type", "").removeprefix(_PREFIX) in UNKNOWN_TYPES:
        return {"@type": _PREFIX + "google.protobuf.Empty"}
    return {key: _without_unknown(value) for key, value in message.items() if key not in UNKNOWN_FIELDS}
