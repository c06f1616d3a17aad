"""Tokens as an answer tells them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.openai_usage import Usage, answer_tokens, read_stream_usage, read_usage

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"choices": [], "usage": USAGE}, Usage(7, 3)),
        ({"usage": USAGE | {"prompt_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": USAGE | {"prompt_tokens_details": None}}, Usage(7, 3)),
        ({"usage": USAGE | {"cached_tokens": 5}}, Usage(7, 3, 5)),
        ({"usage": USAGE | {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 3}}, Usage(7, 3, 4)),
        ({"usage": USAGE | {"prompt_cache_hit_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": USAGE | {"cached_tokens": 9}}, None),
        ({"usage": {"prompt_tokens": 7}}, Usage(7, 0)),
        ({"usage": USAGE | {"total_tokens": 90}}, Usage(7, 83)),
        ({"usage": {"prompt_tokens": 7, "total_tokens": 7}}, Usage(7, 0)),
        ({"usage": USAGE | {"total_tokens": 3}}, Usage(7, 3)),
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


def test_what_was_thought_is_among_the_answer_however_it_is_counted() -> None:
    """The example of xAI's documentation: 94 of 135 tokens are in the total alone; OpenAI has them in the completion."""
    assert answer_tokens(32, 9, 135) == answer_tokens(32, 103, 135) == answer_tokens(32, None, 135) == 103


@given(st.none() | st.integers(0), st.none() | st.integers(0), st.none() | st.integers(0))
def test_a_total_never_makes_an_answer_shorter(prompt: int | None, completion: int | None, total: int | None) -> None:
    """It only adds, and nothing that a total says of an unknown prompt is believed."""
    answer = answer_tokens(prompt, completion, total)
    assert answer >= (completion or 0)
    assert prompt is not None or answer == (completion or 0)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_usage_of_a_stream_is_the_last_that_it_told(newline: bytes) -> None:
    """Some providers tell it with every event; the last one counts."""
    events = [
        {"choices": [], "usage": None},
        {"usage": USAGE | {"completion_tokens": 1, "total_tokens": 8}},
        {"choices": [], "usage": USAGE},
    ]
    seen = b"".join(b"data: " + json.dumps(event).encode() + newline * 2 for event in events) + b"data: [DONE]" + newline * 2
    assert read_stream_usage(seen) == Usage(7, 3)
    assert read_stream_usage(seen[: seen.rindex(b'"prompt')]) == Usage(7, 1)
    assert read_stream_usage(b"data: [DONE]\n\n") is None


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reading(body: bytes) -> None:
    """Whatever a provider sends, there is a usage or none."""
    assert read_usage(body) is None or isinstance(read_usage(body), Usage)
    assert read_stream_usage(body) is None or isinstance(read_stream_usage(body), Usage)
