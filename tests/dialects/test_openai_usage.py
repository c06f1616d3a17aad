"""Tokens as an answer tells them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.openai_usage import Usage, read_stream_usage, read_usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"choices": [], "usage": USAGE}, Usage(7, 3)),
        ({"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": USAGE | {"prompt_tokens_details": None}}, Usage(7, 3)),
        ({"usage": {"prompt_tokens": 7}}, Usage(7, 0)),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": "many"}}, None),
        ({"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 9}}}, None),
        ({"usage": USAGE | {"completion_tokens": -1}}, None),
        ({}, None),
        ([], None),
    ],
)
def test_usage_of_a_plain_answer(answer: Any, expected: Usage | None) -> None:
    """What is missing or makes no sense is no usage."""
    assert read_usage(json.dumps(answer).encode()) == expected


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_usage_of_a_stream_is_the_last_that_it_told(newline: bytes) -> None:
    """Some providers tell it with every event; the last one counts."""
    events = [{"choices": [], "usage": None}, {"usage": USAGE | {"completion_tokens": 1}}, {"choices": [], "usage": USAGE}]
    seen = b"".join(b"data: " + json.dumps(event).encode() + newline * 2 for event in events) + b"data: [DONE]" + newline * 2
    assert read_stream_usage(seen) == Usage(7, 3)
    assert read_stream_usage(seen[: seen.rindex(b'"prompt')]) == Usage(7, 1)
    assert read_stream_usage(b"data: [DONE]\n\n") is None


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reading(body: bytes) -> None:
    """Whatever a provider sends, there is a usage or none."""
    assert read_usage(body) is None or isinstance(read_usage(body), Usage)
    assert read_stream_usage(body) is None or isinstance(read_stream_usage(body), Usage)
