"""Splicing JSON as bytes: whatever is not the value stays as the client wrote it."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.dialects.json_body import splice_value
from router_extproc.dialects.openai import splice_model
from router_extproc.errors import BadRequestError

# Text that looks like what is searched for, and text that does not.
_LOOKALIKES = ["model", '"model"', '"model":', "\\", '\\"model\\": "x"', "é", "😀", "\u2028", "", "{", "]", "auto"]
_TEXTS = st.sampled_from(_LOOKALIKES) | st.text(max_size=8)
_KEYS = st.sampled_from(["model", "messages", "Model", "mode", "metadata", "model ", ""]) | st.text(max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)
_SPACES = st.sampled_from(["", "", "", " ", "\n\t", " \r\n "])
_BIG = 20 << 20


class Written(NamedTuple):
    """A member as it stands in a body: what precedes its value, its name, its value."""

    before: str
    name: str
    value: str


@st.composite
def spellings(draw: st.DrawFn, text: str) -> str:
    """A JSON string in one of its many spellings."""
    spelled = []
    for character in text:
        if ord(character) < 0x10000 and draw(st.integers(0, 9)) == 0:
            spelled.append(f"\\u{ord(character):04x}")
        else:
            spelled.append(json.dumps(character, ensure_ascii=draw(st.booleans()))[1:-1])
    return '"' + "".join(spelled) + '"'


@st.composite
def written_objects(draw: st.DrawFn) -> tuple[list[Written], str]:
    """An object's members in writing and what follows the last; spellings, white space and duplicates at random."""
    members = []
    comma = draw(_SPACES) + "{"
    for name in draw(st.lists(_KEYS, max_size=6)):
        value = draw(_VALUES)
        written = draw(spellings(value)) if isinstance(value, str) else json.dumps(value, indent=draw(st.none() | st.just(1)))
        before = comma + draw(_SPACES) + draw(spellings(name)) + draw(_SPACES) + ":" + draw(_SPACES)
        members.append(Written(before, name, written))
        comma = draw(_SPACES) + ","
    opening = "" if members else comma
    return members, opening + draw(_SPACES) + "}" + draw(_SPACES)


def body_of(members: list[Written], ending: str, model: str | None = None) -> bytes:
    """The whole body; with ``model``, as it should be once that has taken the place of every top-level model."""
    values = (model if model is not None and one.name == "model" else one.value for one in members)
    return ("".join(one.before + value for one, value in zip(members, values, strict=True)) + ending).encode()


@settings(max_examples=500)
@given(written_objects(), st.sampled_from(["gpt-4o", 'quo"te', "ünï", "", "a\\b"]))
def test_only_the_value_changes(case: tuple[list[Written], str], new: str) -> None:
    """Every top-level model is replaced, so that every reader sees the new one, and every other byte is what it was."""
    body = body_of(*case)
    spliced = splice_model(body, new)
    assert spliced == body_of(*case, json.dumps(new, ensure_ascii=False))
    read = json.loads(body)
    assert json.loads(spliced) == (read | {"model": new} if "model" in read else read)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"a"}', b'{"model":"X"}'),
        (b'{ "model" :\n"a" , "n":1.0e0}', b'{ "model" :\n"X" , "n":1.0e0}'),
        (b'{"mod\\u0065l":"a","x":"model"}', b'{"mod\\u0065l":"X","x":"model"}'),
        (b'{"tools":[{"model":"in"}],"model":"a"}', b'{"tools":[{"model":"in"}],"model":"X"}'),
        (b'{"metadata":{"model":"in"},"model":"a","z":["model"]}', b'{"metadata":{"model":"in"},"model":"X","z":["model"]}'),
        (b'{"model":"a","model":"b"}', b'{"model":"X","model":"X"}'),
        (b'{"a":1,"model":"a","a":12,"model":{"model":1}}', b'{"a":1,"model":"X","a":12,"model":"X"}'),
        (b'{"a":[1,{"b":"]}"}],"model":"a","a":[]}', b'{"a":[1,{"b":"]}"}],"model":"X","a":[]}'),
        (b'{"model":null}', b'{"model":"X"}'),
        (b'{"m":"\\"model\\":","model":"a"}', b'{"m":"\\"model\\":","model":"X"}'),
        (b'{"m":{"model":"in"}}', b'{"m":{"model":"in"}}'),
        (b"{}", b"{}"),
        # A surrogate without its partner: some SDKs cut a string in the middle of an emoji.
        (b'{"m":"\\ud83d","model":"a"}', b'{"m":"\\ud83d","model":"X"}'),
        (b'{"m":"\\ud83d","model":"a","model":"b"}', b'{"m":"\\ud83d","model":"X","model":"X"}'),
        (b'{"\\ud83d":"\\\\ud83d","mod\\u0065l":"a"}', b'{"\\ud83d":"\\\\ud83d","mod\\u0065l":"X"}'),
    ],
)
def test_known_traps(before: bytes, after: bytes) -> None:
    """Spellings, nesting, duplicates and look-alikes do not lead astray."""
    assert splice_value(before, "model", "X") == after


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "it is empty"),
        (b"  ", "it is empty"),
        (b'{"model":"a"', "ends too early, at byte 12"),
        (b'{"model":"a",}', "trailing comma in object"),
        (b'{"model":"a"} x', "trailing characters"),
        (b'{"a":NaN,"model":"a"}', "invalid character"),
        (b'["model"]', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'\xef\xbb\xbf{"model":"a"}', "byte order mark"),
        (b'{"model":"a","x":"\xff"}', "not valid UTF-8"),
        ("é".encode()[:1], "not valid UTF-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    """Malformed bodies are a 400 that says what is wrong and, where it is known, at which byte."""
    with pytest.raises(BadRequestError, match=message):
        splice_model(body, "X")


def _big_bodies() -> dict[str, bytes]:
    filler = b'{"role":"user","content":"' + b"word \\u0022model\\u0022 " * 40 + b'"}'
    messages = b"[" + b",".join([filler] * (_BIG // len(filler))) + b"]"
    return {
        "one text": b'{"messages":"' + b"x" * _BIG + b'","model":"a"}',
        "many nested models": b'{"x":[' + b'{"model":"in"},' * (_BIG // 15) + b'1],"model":"a"}',
        "escapes and a spelled key": b'{"messages":' + messages + b',"mod\\u0065l":"a"}',
        "beyond ASCII": b'{"messages":"' + "é".encode() * (_BIG // 2) + b'","x":["model"],"model":"a"}',
    }


@pytest.mark.parametrize("kind", ["one text", "many nested models", "escapes and a spelled key", "beyond ASCII"])
def test_twenty_mebibytes_are_spliced_without_walking_them(kind: str) -> None:
    """A 20 MiB body takes a fraction of what Python's own reader takes for the same bytes."""
    body = _big_bodies()[kind]
    started = time.process_time()
    spliced = splice_model(body, "XY")
    took = time.process_time() - started
    assert len(spliced) == len(body) + 1
    assert spliced[-20:] == body[-20:].replace(b'"a"', b'"XY"')[-20:]
    assert took < 1.0
