"""The JSON Schema of ``router.yaml``: editors complete and check the file with it."""

from __future__ import annotations

import json

from router_extproc.config.schema import RouterConfig
from router_extproc.config.values import DURATION_SCHEMA, SIZE_SCHEMA, as_duration, as_size


def json_schema() -> dict[str, object]:
    """The schema of what a user may write, which is not always what the program holds: durations are text there."""
    document = RouterConfig.model_json_schema(mode="validation")
    _complete(document)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "router.yaml"}


def json_schema_text() -> str:
    """As it is checked in and printed by ``router-extproc schema``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _complete(node: object) -> None:
    """Says defaults in the units of the file, leaves out those of whole sections, and refuses names of a wrong form."""
    if isinstance(node, list):
        for item in node:
            _complete(item)
    elif isinstance(node, dict):
        default = node.get("default")
        if isinstance(default, dict):
            del node["default"]
        elif isinstance(default, int) and node.get("anyOf") == DURATION_SCHEMA["anyOf"]:
            node["default"] = as_duration(default)
        elif isinstance(default, int) and node.get("anyOf") == SIZE_SCHEMA["anyOf"]:
            node["default"] = as_size(default)
        if "patternProperties" in node:
            node.setdefault("additionalProperties", False)
        for value in node.values():
            _complete(value)
