"""What the router changes in a request: the limit of an answer, the wish for usage, the last word to a loop."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.openai_edits import Edits, ask_for_no_usage, ask_for_usage, edit_request, is_silent

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
LINE = "Sum up what you know."


def edited(body: Any, edits: Edits, path: str = CHAT) -> Any:
    return json.loads(edit_request(path, json.dumps(body).encode(), edits).body)


@pytest.mark.parametrize(
    ("path", "body", "prefers", "expected"),
    [
        (CHAT, {}, False, {"max_tokens": 100}),
        (CHAT, {}, True, {"max_completion_tokens": 100}),
        (CHAT, {"max_tokens": None}, False, {"max_tokens": 100}),
        (CHAT, {"max_tokens": 99}, True, {"max_tokens": 99}),
        (CHAT, {"max_tokens": 101}, True, {"max_tokens": 100}),
        (CHAT, {"max_completion_tokens": 500}, False, {"max_completion_tokens": 100}),
        (CHAT, {"max_tokens": 500, "max_completion_tokens": 7}, False, {"max_tokens": 100, "max_completion_tokens": 7}),
        (CHAT, {"max_tokens": "many"}, False, {"max_tokens": 100}),
        (CHAT, {"max_tokens": 0}, False, {"max_tokens": 100}),
        (CHAT, {"max_tokens": -1}, False, {"max_tokens": 100}),
        (CHAT, {"max_tokens": 1e9}, False, {"max_tokens": 100}),
        (COMPLETIONS, {"max_tokens": 500}, True, {"max_tokens": 100}),
        (RESPONSES, {}, False, {"max_output_tokens": 100}),
        (RESPONSES, {"max_output_tokens": 30}, False, {"max_output_tokens": 30}),
        ("/v1/embeddings", {"input": "x"}, False, {"input": "x"}),
    ],
)
def test_an_answers_limit_is_lowered_and_never_raised(path: str, body: Any, expected: Any, *, prefers: bool) -> None:
    """By the name that the client used; where it named none, by the one that its provider knows."""
    assert edited(body, Edits(max_output_tokens=100, prefers_completion_tokens=prefers), path) == expected


def test_no_spelling_of_a_repeated_limit_gets_through() -> None:
    """Readers differ in which of two equal names they believe: both are the lowest."""
    body = b'{"max_tokens":90000,"max_\\u0074okens":50}'
    assert edit_request(CHAT, body, Edits(max_output_tokens=100)).body == b'{"max_tokens":50,"max_\\u0074okens":50}'


@pytest.mark.parametrize(
    ("options", "expected", "injected"),
    [
        (None, {"include_usage": True}, True),
        ({"include_usage": True}, {"include_usage": True}, False),
        ({"include_usage": False, "x": 1}, {"include_usage": True, "x": 1}, True),
        ({"x": 1}, {"x": 1, "include_usage": True}, True),
        ({}, {"include_usage": True}, True),
        (7, {"include_usage": True}, True),
    ],
)
def test_a_stream_is_asked_for_its_usage(options: Any, expected: Any, *, injected: bool) -> None:
    """And it is remembered whether the client would not have got it."""
    body = {"stream": True} | ({} if options is None else {"stream_options": options})
    result = edit_request(CHAT, json.dumps(body).encode(), Edits(include_usage=True))
    assert json.loads(result.body)["stream_options"] == expected
    assert result.usage_injected == injected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('{"include_usage":true}', None),
        ('{ "include_usage" : true }', None),
        ('{"include_usage":false}', None),
        ('{"include_usage":true, "x":1.50}', '{"x":1.50}'),
        ('{"x":1.50,"include_usage":true}', '{"x":1.50}'),
        ('{"x":1}', '{"x":1}'),
        ("{}", "{}"),
        ("null", "null"),
        ("7", "7"),
    ],
)
def test_the_wish_for_usage_is_taken_out(options: str, expected: str | None) -> None:
    """And what it alone was in; everything else stays as it was written."""
    body = f'{{"stream":true,"stream_options":{options},"n": 1}}'.encode()
    rest = "" if expected is None else f',"stream_options":{expected}'
    assert ask_for_no_usage(body) == f'{{"stream":true{rest},"n": 1}}'.encode()


@given(st.dictionaries(st.text(), st.integers()).map(lambda others: {**others, "stream": True}))
def test_a_wish_that_was_put_in_can_be_taken_out_again(body: dict[str, Any]) -> None:
    """A body that wished nothing is itself again, however often attempts change their minds."""
    written = json.dumps({name: value for name, value in body.items() if name != "stream_options"}).encode()
    asking = ask_for_usage(written)
    assert json.loads(asking)["stream_options"] == {"include_usage": True}
    assert ask_for_usage(asking) is asking
    assert ask_for_no_usage(asking) == written
    assert ask_for_no_usage(written) is written


@pytest.mark.parametrize(
    ("path", "body", "silent"),
    [
        (CHAT, b'{"stream":true}', True),
        (COMPLETIONS, b'{"stream":true,"stream_options":{"include_usage":false}}', True),
        (CHAT, b'{"stream":true,"stream_options":{"include_usage":true}}', False),
        (RESPONSES, b'{"stream":true}', False),
    ],
)
def test_what_would_not_tell_its_usage(path: str, body: bytes, *, silent: bool) -> None:
    """Streams that can be asked to, and were not."""
    assert is_silent(path, body) is silent


def test_responses_tell_their_usage_anyway() -> None:
    """Nothing is asked for where the option does not exist."""
    body = b'{"stream":true}'
    result = edit_request(RESPONSES, body, Edits(include_usage=True))
    assert (result.body, result.usage_injected) == (body, False)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            CHAT,
            {"messages": [{"role": "user", "content": "hi"}], "tools": [{}], "tool_choice": "auto", "n": 1},
            {"messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": LINE}], "n": 1},
        ),
        (CHAT, {"functions": [], "function_call": "auto"}, {}),
        (CHAT, {"messages": "odd"}, {"messages": [{"role": "user", "content": "odd"}, {"role": "system", "content": LINE}]}),
        (CHAT, {"messages": 5}, {"messages": 5}),
        (
            RESPONSES,
            {"input": "hi", "tools": []},
            {"input": [{"role": "user", "content": "hi"}, {"role": "system", "content": LINE}]},
        ),
        (COMPLETIONS, {"prompt": "hi"}, {"prompt": "hi"}),
    ],
)
def test_the_last_word_to_a_loop_takes_the_tools_away(path: str, body: Any, expected: Any) -> None:
    """The line stands after everything else that was said."""
    assert edited(body, Edits(system_line=LINE), path) == expected


def test_the_model_is_renamed_in_the_same_go() -> None:
    """One pass over the body does everything."""
    body = {"model": "auto", "stream": True, "max_tokens": 9}
    edits = Edits(model="gpt-2026", max_output_tokens=5, include_usage=True)
    assert edited(body, edits) == {
        "model": "gpt-2026",
        "stream": True,
        "max_tokens": 5,
        "stream_options": {"include_usage": True},
    }


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5)), st.sampled_from([None, 1]))
def test_what_needs_no_change_comes_back_as_it_is(body: dict[str, Any], indent: Any) -> None:
    """Byte for byte, white space and all."""
    text = json.dumps(body | {"model": "m", "max_tokens": 3}, indent=indent).encode()
    assert edit_request(CHAT, text, Edits(model="m", max_output_tokens=5)).body is text
