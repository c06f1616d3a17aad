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
from router_extproc.limits.unseen import PICTURE_TOKENS, most_of_a_picture
from router_extproc.request import CHAT_COMPLETIONS, Request
from router_extproc.router import Router, read_request
from router_extproc.simulator.openai.chat_request import ChatRequest, prompt_tokens
from tests.limits.cases import registry


def asked(path: str, **body: Any) -> Request:
    return read_request("POST", path, {"content-type": "application/json"}, json.dumps({"model": "large"} | body).encode())


def chat(**more: Any) -> Request:
    return asked(CHAT_COMPLETIONS, **{"messages": [{"role": "user", "content": "hi"}]} | more)


def bound(request: Request) -> int:
    found = registry()
    decision = Router(found).decide(Request(CHAT_COMPLETIONS, "large"))
    return measure(request, decision, found, bounds=True).places[0].most_prompt_tokens


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


@pytest.mark.parametrize(
    ("path", "unseen"),
    [
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "x"}]}),
        ("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}),
        ("/v1/responses", {"input": "x", "tools": ["strange"]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x/y.pdf"}]}]}),
        (CHAT_COMPLETIONS, {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]}]}),
        (CHAT_COMPLETIONS, {"messages": [{"role": "user", "content": "x"}], "web_search_options": {}}),
        (CHAT_COMPLETIONS, {"messages": [], "plugins": [{"id": "web"}]}),
        (CHAT_COMPLETIONS, {"messages": [], "search_parameters": {"mode": "on"}}),
        (CHAT_COMPLETIONS, {"messages": [], "enable_search": True}),
        (CHAT_COMPLETIONS, {"messages": [], "extra_body": {"google": {"cached_content": "cachedContents/1"}}}),
        (CHAT_COMPLETIONS, {"messages": [], "extra_body": {"google": {"cachedContent": "cachedContents/1"}}}),
    ],
)
def test_what_a_provider_adds_to_a_prompt_may_fill_the_window(path: str, unseen: dict[str, Any]) -> None:
    """Files that it keeps or fetches, items by reference, and what its own tools find are bounded by the window alone."""
    assert bound(asked(path, **unseen)) == 128_000


@pytest.mark.parametrize(
    "more",
    [
        {"enable_search": False, "plugins": None},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 100}}}},
        {"search_parameters": None, "web_search_options": None, "extra_body": None},
    ],
)
def test_what_is_switched_off_adds_nothing(more: dict[str, Any]) -> None:
    """Who searches for nothing is not taken for somebody who does; nor is a wish for thinking."""
    assert bound(chat(**more)) < 300


def test_an_escape_hides_no_reference() -> None:
    """However the name of a file's id is spelled, nobody here has seen the file."""
    body = b'{"model":"large","input":[{"role":"user","content":[{"type":"input_file","file\\u005fid":"x"}]}]}'
    assert bound(read_request("POST", "/v1/responses", {}, body)) == 128_000


def test_tools_of_the_client_add_nothing() -> None:
    """What the client runs itself is sent as text, and counted then."""
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "name": "g"}, {"name": "h"}]
    assert bound(chat(tools=tools)) < 200


def test_a_file_in_the_body_is_at_most_a_token_a_byte() -> None:
    """A file of text is read whole; no window is larger than itself."""

    def sent(size: int) -> int:
        file = {"filename": "a.txt", "file_data": "data:text/plain;base64," + base64.b64encode(bytes(size)).decode()}
        return bound(chat(messages=[{"role": "user", "content": [{"type": "file", "file": file}]}]))

    assert 9_000 <= sent(9_000) < 40_000
    assert sent(1_000_000) == 128_000


@pytest.mark.parametrize(
    "hidden",
    [
        {"role": "user", "name": "lorem ipsum " * 5_000, "content": "x"},
        {"role": "user", "name": ";base64," + "lorem ipsum " * 5_000, "content": "x"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "lorem ipsum " * 5_000}]},
    ],
)
@pytest.mark.parametrize("beside", [[], [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]])
def test_no_sound_or_mark_of_a_payload_hides_text(hidden: dict[str, Any], beside: list[dict[str, Any]]) -> None:
    """Sixty thousand characters are counted wherever they stand, also beside a sound or behind what looks like a data URL."""
    request = chat(messages=[hidden, {"role": "user", "content": [{"type": "text", "text": "x"}, *beside]}])
    assert bound(request) >= 15_000


def test_paths_that_lead_on_are_paid_for() -> None:
    """What makes an answer below a known path costs what it costs there."""
    found = registry()
    decision = Router(found).decide(Request(CHAT_COMPLETIONS, "large"))
    assert measure(asked("/v1/responses/compact", input="x " * 1_000), decision, found).most("usd", None) > 0
    assert measure(asked("/v1/responses-elsewhere", input="x"), decision, found).most("usd", None) == 0
    for method, path in (("GET", "/v1/responses/r"), ("DELETE", "/v1/responses/r"), ("POST", "/v1/responses/r/cancel")):
        assert measure(Request(path, "", method), decision, found).most("usd", None) == 0


def test_a_picture_is_not_counted_as_text() -> None:
    """The payload of a data URL weighs nothing; what stands around it does."""
    url = "data:image/png;base64," + base64.b64encode(bytes(60_000)).decode()
    part = {"type": "image_url", "image_url": {"url": url}}
    request = chat(messages=[{"role": "user", "content": [{"type": "text", "text": "what"}, part, part]}])
    assert read_asked(request).text_bytes < 400


def test_every_picture_is_counted_whatever_holds_it() -> None:
    """Of many pictures each counts, also in a message whose shape only its provider understands."""
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    for message in ({"role": "user", "content": [picture] * 20}, {"role": "user", "content": [*[picture] * 20, 5]}):
        assert 20 * PICTURE_TOKENS <= bound(chat(messages=[message])) <= 128_000
    assert bound(chat(messages=[{"role": "user", "content": [picture] * 500}])) >= 128_000


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("gpt-4o-mini", 48_169),
        ("gpt-4o-mini-2024-07-18", 48_169),
        ("gpt-4o", 1_445),
        ("gpt-4.1-nano", 3_779),
        ("o4-mini", 2_642),
        ("ft:gpt-5-nano:acme", 3_779),
        ("gpt-5.5", 12_000),
        ("anthropic/claude-opus-4-8", 4_784),
        ("gemini-3-pro", 2_240),
        ("google/gemini-2.5-pro", 4_128),
        ("Qwen/Qwen3-VL-8B", 16_384),
        ("grok-4", 1_792),
        ("azure-name", 12_000),
    ],
)
def test_a_picture_is_bounded_by_what_its_model_makes_of_the_largest(model: str, most: int) -> None:
    """As documented or measured; what is not known is taken for the dearest that is usual."""
    assert most <= most_of_a_picture(model) <= max(48_169, 2 * most)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://example.com/x.mp4"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": "input_video", "input_video": {"data": "AAAA"}},
        {"type": "video", "video": ["data:image/png;base64,AAAA"]},
    ],
)
def test_a_video_may_fill_the_window(part: dict[str, Any]) -> None:
    """Nobody here knows how long it is, whatever spells its type; nor how long an answer in sound was that a provider keeps."""
    assert bound(chat(messages=[{"role": "user", "content": [part]}])) == 128_000
    escaped = json.dumps({"messages": [{"role": "user", "content": [part]}], "model": "large"}).replace(
        '"video', '"vide\\u006f'
    )
    assert bound(read_request("POST", CHAT_COMPLETIONS, {}, escaped.encode())) == 128_000
    kept = {"role": "assistant", "audio": {"id": "audio_1"}}
    assert bound(chat(messages=[kept, {"role": "user", "content": "go on"}])) == 128_000
    assert bound(chat(messages=[{"role": "user", "content": 'a "video" of \u00e9t\u00e9, "type": "video"'}])) < 200


def test_sound_is_bounded_by_its_size() -> None:
    """A minute at speech's lowest rate is a minute at the provider that makes most tokens of it."""
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(bytes(60_000)).decode(), "format": "mp3"}}
    assert 60 * 32 <= bound(chat(messages=[{"role": "user", "content": [sound]}])) < 10_000


@pytest.mark.parametrize(
    ("path", "body", "calls", "readings"),
    [
        ("/v1/responses", {"tools": [{"type": "web_search"}], "max_tool_calls": 3}, 3, 4),
        ("/v1/responses", {"tools": [{"type": "web_search"}], "max_tool_calls": 0}, 0, 1),
        ("/v1/responses", {"tools": [{"type": "web_search"}]}, None, 1),
        ("/v1/responses", {"tools": [{"type": "web_search"}], "max_tool_calls": "3"}, None, 1),
        ("/v1/responses", {"tools": [{"type": "web_search"}], "max_tool_calls": True}, None, 1),
        ("/v1/responses", {"tools": [{"type": "web_search"}], "max_tool_calls": -1}, None, 1),
        ("/v1/responses", {"tools": [{"type": "mcp"}, {"type": "web_search"}], "max_tool_calls": 3}, None, 1),
        ("/v1/responses", {"tools": ["strange"], "max_tool_calls": 3}, None, 1),
        ("/v1/responses", {"tools": [{"type": "function", "name": "f"}, {"type": "local_shell"}]}, 0, 1),
        ("/v1/responses", {"prompt": {"id": "p"}}, None, 1),
        ("/v1/responses", {"prompt": {"id": "p"}, "max_tool_calls": 2}, 2, 3),
        ("/v1/responses", {"search_parameters": {"mode": "on"}, "max_tool_calls": 2}, None, 1),
        (CHAT_COMPLETIONS, {"web_search_options": {}}, 1, 1),
        (CHAT_COMPLETIONS, {"tools": [{"type": "web_search"}], "max_tool_calls": 2}, None, 1),
        (CHAT_COMPLETIONS, {"enable_search": True}, None, 1),
        (CHAT_COMPLETIONS, {"plugins": [{"id": "web"}]}, None, 1),
        (CHAT_COMPLETIONS, {"tools": [{"type": "function", "function": {"name": "f"}}]}, 0, 1),
    ],
)
def test_how_often_a_provider_may_run_its_own_tools(path: str, body: dict[str, Any], calls: int | None, readings: int) -> None:
    """As often as the caller limits it in words that hold; each use may have the whole window read again."""
    found = read_asked(asked(path, **body))
    assert (found.tool_calls, found.readings) == (calls, readings)


def test_without_a_body_the_analysis_is_believed() -> None:
    """A program that asks for itself says in its facts what it asks for."""
    request = Request(CHAT_COMPLETIONS, "large", analysis=Facts(choices=3, max_output_tokens=7))
    assert read_asked(request) == (0, 0, 3, 7, False, 0, False, 0, 0, 1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, False),
        ({"background": None}, False),
        ({"background": False}, False),
        ({"background": True}, True),
        ({"background": "yes"}, True),
        ({"background": 1}, True),
        ({"deferred": True}, True),
        ({"deferred": False}, False),
    ],
)
def test_answers_in_the_background_are_known(body: dict[str, Any], *, expected: bool) -> None:
    """Whatever a provider may take for a yes is one."""
    assert read_asked(asked("/v1/responses", input="hi", **body)).is_detached is expected


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


@given(bodies)
def test_no_prompt_is_billed_above_its_bound(body: dict[str, Any]) -> None:
    """Another count of tokens, by characters, as the simulated providers bill it, stays within the bound of every prompt."""
    try:
        request = chat(**body)
        within = bound(request)
    except RequestError:
        return
    assert prompt_tokens(msgspec.json.decode(request.body, type=ChatRequest)) <= within


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
