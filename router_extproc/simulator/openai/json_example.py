"""The smallest honest value for a JSON Schema, as a model held to that schema would write."""

from __future__ import annotations

from typing import Any

Schema = Any
"""A JSON Schema comes from the client: an object, or a bare ``true``."""

# Below this many levels only what must be there is written, so that a schema which refers to itself comes to an end.
_SPARSE_DEPTH = 12
_DEEPEST = 30
_MOST_VALUES = 5000
_LONGEST = 1000

_FORMATS = {
    "date-time": "2025-01-01T00:00:00Z",
    "date": "2025-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Schema, text: str = "simulated") -> Any:
    """Return a value that the schema accepts; free strings say ``text``.

    Covers what structured outputs allow (types, objects, arrays, enum, const, anyOf, $ref, bounds, formats); ``pattern``
    and ``not`` are not obeyed.
    """
    return _Example(schema, text).value(schema, 0)


class _Example:
    """One walk through one schema."""

    def __init__(self, root: Schema, text: str) -> None:
        self._root = root
        self._text = text
        self._left = _MOST_VALUES

    def value(self, schema: Schema, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > _DEEPEST or self._left < 0:
            return None
        enumerated, alternatives = schema.get("enum"), schema.get("anyOf", schema.get("oneOf"))
        if isinstance(reference := schema.get("$ref"), str):
            found = self.value(self._resolve(reference), depth + 1)
        elif "const" in schema:
            found = schema["const"]
        elif isinstance(enumerated, list) and enumerated:
            found = enumerated[0]
        elif isinstance(alternatives, list) and alternatives:
            found = self.value(_simplest(alternatives) if depth else alternatives[0], depth + 1)
        else:
            found = self._typed(_merged(schema), depth)
        return found

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            kind = kind[0]
        if kind == "object" or (kind is None and "properties" in schema):
            return self._object(schema, depth)
        if kind == "array":
            count = _whole(schema.get("minItems"), 0 if depth > _SPARSE_DEPTH else 1)
            return [self.value(schema.get("items"), depth + 1) for _ in range(count)]
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):  # a tuple: the client's value may not be hashable
            return _number(schema)
        return True if kind == "boolean" else None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        required = schema.get("required")
        if not isinstance(properties, dict):
            properties = {}
        names = required if isinstance(required, list) and depth > _SPARSE_DEPTH else list(properties)
        return {name: self.value(properties.get(name), depth + 1) for name in names if isinstance(name, str)}

    def _string(self, schema: dict[str, Any]) -> str:
        if (known := _FORMATS.get(str(schema.get("format")))) is not None:
            return known
        shortest = _whole(schema.get("minLength"), 0)
        longest = _whole(schema.get("maxLength"), max(shortest, len(self._text)))
        return self._text.ljust(shortest, ".")[:longest]

    def _resolve(self, reference: str) -> Schema:
        found = self._root
        for name in reference.removeprefix("#").split("/")[1:]:
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return found


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the parts of its ``allOf`` laid over it."""
    parts = schema.get("allOf")
    for part in parts if isinstance(parts, list) else ():
        schema = {**schema, **part} if isinstance(part, dict) else schema
    return schema


def _number(schema: dict[str, Any]) -> float:
    bounds = {name: bound for name, bound in schema.items() if isinstance(bound, int | float)}
    start: float = 1
    if "minimum" in bounds:
        start = bounds["minimum"]
    elif "exclusiveMinimum" in bounds:
        start = bounds["exclusiveMinimum"] + 1
    elif "maximum" in bounds:
        start = min(start, bounds["maximum"])
    elif "exclusiveMaximum" in bounds:
        start = min(start, bounds["exclusiveMaximum"] - 1)
    step = bounds.get("multipleOf", 0)
    return -(-start // step) * step if step > 0 else start


def _simplest(alternatives: list[Any]) -> Any:
    """Return the alternative that is least likely to nest further."""
    simple = ("string", "integer", "number", "boolean", "null")
    return next((one for one in alternatives if isinstance(one, dict) and one.get("type") in simple), alternatives[0])


def _whole(value: Any, default: int) -> int:
    return min(value, _LONGEST) if isinstance(value, int) and value >= 0 else default
