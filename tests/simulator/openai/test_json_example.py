from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.simulator.openai.json_example import example

NODE = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["next"]}
TREE = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "name": {"type": "string"}},
    "required": ["children", "name"],
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False},
        {"type": ["string", "null"]},
        {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 3},
        {"const": {"a": 1}},
        {"type": "string", "format": "date-time"},
        {"type": "string", "minLength": 40},
        {"type": "string", "maxLength": 2},
        {"type": "number", "exclusiveMinimum": 3, "multipleOf": 2.5},
        {"type": "integer", "maximum": -7},
        {"type": "boolean"},
        {"type": "null"},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "null"}]},
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"required": ["a"]}]},
        {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
        TREE,
        {},
    ],
)
def test_the_example_fits_its_schema(schema: dict[str, Any]) -> None:
    """A real validator accepts it."""
    jsonschema.validate(example(schema), schema, format_checker=jsonschema.FormatChecker())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["object", "array", "#", "#/$defs/a", "string", "number"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "anyOf", "allOf", "$ref", "required", "enum", "minItems", "minimum"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_schema_is_too_strange(schema: Any) -> None:
    """Whatever a client sends as a schema gets some value, in bounded time."""
    example(schema)
