"""Members are changed one by one; all else is the client's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.json_edit import append_item, edit_members, read_members
from router_extproc.errors import BadRequestError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
NAMES = st.sampled_from(["a", "max_tokens", "stream", "é", 'quo"te', "{", ",", ""])
OBJECTS = st.dictionaries(NAMES, VALUES)
CHANGES = st.dictionaries(NAMES, st.none() | VALUES.map(lambda value: json.dumps(value).encode()))


@pytest.mark.parametrize(
    ("body", "changes", "expected"),
    [
        (b'{"a":1,"b":2}', {"a": b"3"}, b'{"a":3,"b":2}'),
        (b'{ "a" : 1 , "b" : 2 }', {"b": b"[]"}, b'{ "a" : 1 , "b" : [] }'),
        (b'{"a":1}', {"c": b"true"}, b'{"a":1,"c":true}'),
        (b"{}", {"c": b"true"}, b'{"c":true}'),
        (b"{ }\n", {"c": b"true", "d": b"0"}, b'{"c":true,"d":0 }\n'),
        (b'{"a":1,"b":2,"c":3}', {"a": None}, b'{"b":2,"c":3}'),
        (b'{"a":1,"b":2,"c":3}', {"b": None}, b'{"a":1,"c":3}'),
        (b'{"a":1, "b":2}', {"b": None}, b'{"a":1}'),
        (b'{"a":1}', {"a": None}, b"{}"),
        (b'{"a":1}', {"a": None, "b": b"2"}, b'{"b":2}'),
        (b'{"a":1,"a":2,"b":3}', {"a": b"0"}, b'{"a":0,"a":0,"b":3}'),
        (b'{"a":1,"b":3,"a":2}', {"a": None}, b'{"b":3}'),
        (b'{"\\u0061":1}', {"a": b"2"}, b'{"\\u0061":2}'),
        (b'{"x":1.50e2,"a":{"a":7}}', {"a": b"2"}, b'{"x":1.50e2,"a":2}'),
        (b'{"a":1}', {"z": None}, b'{"a":1}'),
    ],
)
def test_only_the_named_members_change(body: bytes, changes: dict[str, bytes | None], expected: bytes) -> None:
    """White space, order, number formats and spelling of all else stay."""
    assert edit_members(body, changes) == expected


@given(OBJECTS, CHANGES, st.sampled_from([None, 2]))
def test_the_result_is_the_object_with_those_changes(
    value: dict[str, Any], changes: dict[str, bytes | None], indent: Any
) -> None:
    """Whatever the object and its layout, a JSON reader sees the changes and nothing else."""
    body = json.dumps(value, indent=indent).encode()
    expected = {name: old for name, old in value.items() if changes.get(name, b"") is not None}
    expected |= {name: json.loads(text) for name, text in changes.items() if text is not None}
    assert json.loads(edit_members(body, changes)) == expected


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused_or_kept(body: bytes) -> None:
    """What is no JSON object is the client's error; what is one comes back as it was when nothing is to be changed."""
    try:
        members = read_members(body)
    except BadRequestError:
        return
    assert edit_members(body, {}) == body
    assert isinstance(members, dict)


@pytest.mark.parametrize(
    ("array", "expected"), [(b"[]", b"[1]"), (b"[ ]", b"[1]"), (b"[0]", b"[0,1]"), (b'["]"]\n', b'["]",1]')]
)
def test_an_item_is_appended_to_an_array(array: bytes, expected: bytes) -> None:
    """With a comma where there was an item already."""
    assert append_item(array, b"1") == expected


def test_nothing_is_appended_to_what_is_no_array() -> None:
    """An object or a text is left to its caller."""
    with pytest.raises(ValueError, match="not an array"):
        append_item(b'{"a":1}', b"1")
