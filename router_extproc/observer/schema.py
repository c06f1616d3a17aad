"""The published JSON Schema of a decision record, made from the type that is written.

``python -m router_extproc.observer.schema`` writes the checked-in file anew.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.observer.records import SCHEMA_VERSION, DecisionRecord

SCHEMA_PATH = Path(__file__).parent / "data" / "decision.schema.json"


def decision_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) that every line of the decision log is valid against."""
    schema = msgspec.json.schema(DecisionRecord)
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition["description"])
        definition["additionalProperties"] = False
        definition["required"] = list(definition["properties"])
    schema["$defs"]["DecisionRecord"]["properties"]["version"] = {"const": SCHEMA_VERSION}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Decision record", **schema}


def encode_schema() -> bytes:
    """The checked-in file's content."""
    return msgspec.json.format(msgspec.json.encode(decision_schema()), indent=2) + b"\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_bytes(encode_schema())
