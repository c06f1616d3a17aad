"""What a body asks for at the most: nothing that a provider might act on is overlooked."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.errors import RequestError
from router_extproc.facts import Facts
from router_extproc.limits.asked import MOST_ANSWERS, read_asked
from router_extproc.limits.bound import measure
from router_extproc.request import CHAT_COMPLETIONS, Request
from router_extproc.router import Router, read_request
from router_extproc.simulator.openai.chat_request import ChatRequest, prompt_tokens
from tests.limits.cases import registry
from tests.limits.patience import patient


def asked(path: str, **body: Any) -> Request:
    return read_request("POST", path, {"content-type": "application/json"}, json.dumps({"model": "large"} | body).encode())


def chat(**more: Any) -> Request:
    return asked(CHAT_COMPLETIONS, **{"messages": [{"role": "user", "content": "hi"}]} | more)


def bound(request: Request) -> int:
    found = registry()
    decision = Router(found).decide(Request(CHAT_COMPLETIONS, "large"))
    return measure(request, decision, found).places[0].prompt_tokens


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": "3"}, 3),
        ({"n": 2.5}, 3),
        ({"n": True}, 1),
        ({"n": -7}, 1),
        ({"n": None}, 1),
        ({"n": "many"}, 1),
        ({"n": 1e300}, MOST_ANSWERS),
        ({"n": 10**30}, MOST_ANSWERS),
        ({"n": 2, "best_of": 5}, 5),
        ({"prompt": ["a", "b", "c"], "n": 2}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
        ({"prompt": {"a": 1}}, 1),
    ],
)
def test_every_answer_that_may_be_written_is_counted(body: dict[str, Any], answers: int) -> None:
    """Several choices, best-of searches and lists of prompts multiply what is paid for, however they are written."""
    assert read_asked(asked("/v1/completions", **{"prompt": "x"} | body)).answers == answers


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 4_000, "max_completion_tokens": 1}, 4_000),
        ({"max_tokens": 1, "max_output_tokens": 9}, 9),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": True}, None),
        ({"max_tokens": 5.0}, None),
        ({"max_tokens": 1, "max_completion_tokens": "4000"}, None),
        ({"max_tokens": 1, "max_completion_tokens": 4e3}, None),
        ({"max_tokens": 1, "max_completion_tokens": None}, 1),
    ],
)
def test_of_several_limits_the_highest_is_the_wish(body: dict[str, Any], wish: int | None) -> None:
    """A provider that does not know one of the limits goes by another; what is no whole number limits nothing."""
    assert read_asked(chat(**body)).wish == wish


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/v1/completions", {"prompt": list(range(9))}, 9),
        ("/v1/completions", {"prompt": [[1, 2, 3], [4]]}, 4),
        ("/v1/embeddings", {"input": [7] * 1_000}, 1_000),
        ("/v1/embeddings", {"input": [[1, 2], [3]]}, 3),
        ("/v1/completions", {"prompt": "text"}, 0),
    ],
)
def test_prompts_written_as_token_ids_are_counted_one_by_one(path: str, body: dict[str, Any], tokens: int) -> None:
    """A prompt may be a list of numbers; each is a token."""
    request = asked(path, **body)
    assert read_asked(request).token_ids == tokens
    assert bound(request) >= tokens


@pytest.mark.parametrize(
    "hidden",
    [
        {"prediction": {"type": "content", "content": "hello " * 1_000}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": "hello " * 1_000}}}},
        {"messages": [{"role": "assistant", "content": "hi", "reasoning_content": "hello " * 1_000}]},
        {"messages": [{"role": "user", "content": [{"type": "unheard-of", "words": "hello " * 1_000}]}]},
    ],
)
def test_text_in_members_that_nobody_reads_is_counted(hidden: dict[str, Any]) -> None:
    """Wherever six thousand characters stand in a body, they are at least fifteen hundred tokens."""
    assert bound(chat(**hidden)) >= 1_500


@pytest.mark.parametrize("unseen", [{"previous_response_id": "r"}, {"conversation": {"id": "c"}}, {"prompt": {"id": "p"}}])
def test_a_conversation_that_the_provider_keeps_may_be_as_long_as_its_window(unseen: dict[str, Any]) -> None:
    """What goes on from something that nobody here has seen is bounded by the model's window, and limited as ever."""
    request = asked("/v1/responses", input="go on", **unseen)
    assert bound(request) == 128_000
    assert bound(asked("/v1/responses", input="go on")) < 100
    found = registry()
    decision = Router(found).decide(Request(CHAT_COMPLETIONS, "large"))
    assert measure(request, decision, found).writable(500) == 500


def test_a_picture_is_not_counted_as_text() -> None:
    """The payload of a data URL weighs nothing; what stands around it does."""
    url = "data:image/png;base64," + base64.b64encode(bytes(60_000)).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    request = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "what"}, part, part]}])
    assert read_asked(request).text_bytes < 400


def test_without_a_body_the_analysis_is_believed() -> None:
    """A program that asks for itself says in its facts what it asks for."""
    request = Request(CHAT_COMPLETIONS, "large", analysis=Facts(choices=3, max_output_tokens=7))
    assert read_asked(request) == (0, 0, 3, 7, False)


texts = st.text(max_size=60) | st.sampled_from(["x" * 500, " " * 300, "中文" * 80, "a b " * 90, "\n\t" * 50])
parts = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=3)
called = st.fixed_dictionaries(
    {"id": st.just("c"), "type": st.just("function"), "function": st.fixed_dictionaries({"name": texts, "arguments": texts})}
)
functions = st.fixed_dictionaries({"name": texts, "description": texts, "parameters": st.dictionaries(texts, texts)})
bodies = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "system"]), "content": texts | parts},
                optional={"tool_calls": st.lists(called, max_size=2)},
            ),
            min_size=1,
            max_size=6,
        )
    },
    optional={
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": functions}), max_size=2),
        "response_format": st.fixed_dictionaries(
            {"type": st.just("json_schema"), "json_schema": st.dictionaries(texts, texts)}
        ),
    },
)


@patient
@given(bodies)
def test_no_prompt_is_billed_above_its_bound(body: dict[str, Any]) -> None:
    """Another count of tokens, by characters, as the simulated providers bill it, stays within the bound of every prompt."""
    try:
        request = chat(**body)
        within = bound(request)
    except RequestError:
        return
    assert prompt_tokens(msgspec.json.decode(request.body, type=ChatRequest)) <= within


@patient
@given(st.dictionaries(st.sampled_from(["n", "best_of", "max_tokens", "prompt", "input"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)))  # fmt: skip
def test_no_body_breaks_the_reading(body: dict[str, Any]) -> None:
    """Whatever stands in these members, there are between one answer and the most, and amounts that a store can hold."""
    found = read_asked(Request("/v1/completions", "large", body=json.dumps(body).encode()))
    assert 1 <= found.answers <= MOST_ANSWERS
    assert found.token_ids >= 0
    assert found.wish is None or found.wish > 0
