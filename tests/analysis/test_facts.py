"""Facts about requests: prompts are counted, payloads are not mistaken for text."""

from __future__ import annotations

import base64
import json
import time

import pytest

from router_extproc.analysis.analyser import Analyser
from router_extproc.facts import Facts, facts_of

PICTURE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 4_000).decode()


def facts(**members: object) -> Facts:
    return facts_of(Analyser().analyse(json.dumps({"model": "m"} | members).encode()))


def said(*contents: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": content} for content in contents]


def test_a_data_url_is_a_picture_and_not_a_text() -> None:
    """A picture of a megabyte costs what a picture costs, by the detail asked for."""
    costs = {}
    for detail in ("low", "auto", "high"):
        image = {"type": "image_url", "image_url": {"url": PICTURE, "detail": detail}}
        found = facts(messages=said([{"type": "text", "text": "hi"}, image]))
        assert (found.images, found.characters) == (1, 2)
        costs[detail] = found.prompt_tokens
    assert costs["low"] < 100 < costs["auto"] < costs["high"] < 1_200


def test_pictures_of_the_responses_api_count_too() -> None:
    """Its parts have other names and its picture is the address itself."""
    parts = [{"type": "input_text", "text": "what?"}, {"type": "input_image", "image_url": PICTURE}]
    found = facts(input=[{"role": "user", "content": parts}])
    assert found.images == 1
    assert found.prompt_tokens < 1_000


@pytest.mark.parametrize(
    "output",
    [
        [{"type": "input_text", "text": "here"}, {"type": "input_image", "image_url": PICTURE}],
        {"type": "computer_screenshot", "image_url": PICTURE},
    ],
)
def test_a_picture_that_a_tool_answered_is_one(output: object) -> None:
    """What tools answer is read like what people write, whatever its shape."""
    found = facts(input=[{"type": "function_call_output", "call_id": "c", "output": output}])
    assert found.images == 1
    assert 700 < found.prompt_tokens < 1_000


def test_a_message_of_unknown_shape_counts_without_its_data_url() -> None:
    """What cannot be read in full is estimated by its bytes, data URLs apart."""
    found = facts(messages=[{"role": "user", "content": {"text": "word " * 100, "picture": PICTURE}}])
    assert 100 < found.prompt_tokens < 400


@pytest.mark.parametrize(
    ("members", "lowest", "highest"),
    [
        ({"messages": said("What is the capital of France?")}, 10, 20),
        ({"messages": said("word " * 1_000)}, 900, 1_500),
        ({"messages": said("word " * 100_000)}, 90_000, 150_000),
        ({"messages": said(["word " * 500, {"type": "text", "text": "word " * 500}])}, 900, 1_500),
        ({"prompt": ["word " * 500, "word " * 500]}, 900, 1_500),
        ({"input": "word " * 1_000}, 900, 1_500),
        ({"input": "hello", "instructions": "word " * 1_000}, 900, 1_500),
        ({"messages": said("hi"), "tools": [{"type": "function", "description": "word " * 1_000}]}, 900, 1_500),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "word " * 1_000}}]}]}, 900, 1_500),
        ({"input": [{"type": "function_call", "arguments": "word " * 1_000}]}, 900, 1_500),
        ({"input": [{"type": "function_call_output", "output": "word " * 1_000}]}, 900, 1_500),
        ({}, 0, 5),
    ],
)
def test_prompts_are_counted_wherever_they_stand(members: dict[str, object], lowest: int, highest: int) -> None:
    """Messages, parts, prompts, inputs, instructions, tools and their calls all count."""
    assert lowest <= facts(**members).prompt_tokens <= highest


def test_recordings_and_files_have_a_price_of_their_own() -> None:
    """Sound is counted by its length, a file at a flat rate, neither as text."""
    minute = base64.b64encode(b"\0" * 48_000 * 60).decode()
    sound = facts(messages=said([{"type": "input_audio", "input_audio": {"data": minute, "format": "wav"}}]))
    assert 500 < sound.prompt_tokens < 700
    file = facts(messages=said([{"type": "file", "file": {"file_data": "x" * 10**6}}]))
    assert 1_000 < file.prompt_tokens < 3_000


def test_tools_are_seen_only_when_there_are_some() -> None:
    """An empty list of tools is none."""
    assert facts(messages=said("hi"), tools=[{"type": "function"}]).has_tools
    assert facts(messages=said("hi"), functions=[{"name": "f"}]).has_tools
    assert not facts(messages=said("hi"), tools=[]).has_tools
    assert not facts(messages=said("hi"), tools=None).has_tools


def test_code_counts_where_the_work_is_asked_for() -> None:
    """Code in a system prompt is an example; in the conversation it is the work."""
    code = "```python\nprint(1)\n```"
    assert facts(messages=said(code)).has_code
    assert not facts(messages=[{"role": "system", "content": code}, {"role": "user", "content": "hello"}]).has_code


def test_the_work_is_bounded_for_a_long_text() -> None:
    """A text of 16 MiB is estimated from its windows."""
    body = json.dumps({"model": "m", "messages": said("some words (1) " * 2**20)}).encode()
    started = time.process_time()
    found = facts_of(Analyser().analyse(body))
    assert time.process_time() - started < 0.2
    assert found.characters == 15 * 2**20
