"""Prompts counted whole: whatever stands in a body, and wherever, the bound is not below what a provider makes of it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.decision import Attempt, Decision
from router_extproc.errors import RequestError
from router_extproc.limits.asked import read_asked
from router_extproc.limits.bound import PROMPT_ALLOWANCE, Place, measure
from router_extproc.limits.claims import Claim
from router_extproc.limits.counted_prompt import CountedPrompt, count_prompt, has_known_vocabulary
from router_extproc.registry.snapshot import Tier
from router_extproc.registry.spending import Budget
from router_extproc.request import CHAT_COMPLETIONS, Request
from router_extproc.router import read_request
from tests.crafted_texts import TEXTS, hidden_from_samples
from tests.exact_tokens import exact_tokens
from tests.limits import cases
from tests.policy import registries as build

HIDDEN = hidden_from_samples(20_000)


def asked(path: str = CHAT_COMPLETIONS, **body: Any) -> Request:
    body = {"model": "m"} | body
    return read_request("POST", path, {"content-type": "application/json"}, json.dumps(body, ensure_ascii=False).encode())


def said(content: Any, **more: Any) -> Request:
    return asked(messages=[{"role": "user", "content": content}], **more)


def counted(request: Request) -> CountedPrompt:
    return count_prompt(request, read_asked(request), counts_texts=True)


def place(request: Request, provider_model: str = "gpt-4o", *, bounds: bool = True, **more: Any) -> Place:
    one = cases.model("m", Tier.STANDARD, cases.MIDDLE, **more)
    attempt = Attempt(one.deployments[0].name, "m", provider_model, "standard")
    return measure(request, Decision("r", "ordered", (attempt,)), build.registry(one), bounds=bounds).places[0]


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "gpt-5", "gpt-5.4-mini", "o1", "o3-pro", "o4-mini", "chatgpt-4o-latest",
     "openai/gpt-5.4", "ft:gpt-4o-mini:acme::x", "GPT-4o", "openai/gpt-oss-120b"],
)  # fmt: skip
def test_models_of_openai_are_known_by_their_names(name: str) -> None:
    """As tiktoken lists them, with the maker before the name or not."""
    assert has_known_vocabulary(name)


@pytest.mark.parametrize(
    "name", ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "claude-sonnet-4-5", "o10", "gpt-50", "my-gpt-4o", ""]
)
def test_no_other_model_is(name: str) -> None:
    """Neither older ones, whose vocabulary is another, nor what only looks alike."""
    assert not has_known_vocabulary(name)


@pytest.mark.parametrize("name", TEXTS)
def test_no_crafted_message_is_above_its_bound(name: str) -> None:
    """The text's own tokens, and for models whose tokenizer nobody here knows, a token a byte."""
    request = said(TEXTS[name])
    assert exact_tokens(TEXTS[name]) <= counted(request).by_texts <= counted(request).by_bytes
    assert len(TEXTS[name].encode()) <= counted(request).by_bytes


def test_what_hides_from_samples_is_counted() -> None:
    """The estimate with its margin, and a token for four bytes, are both below what this text is: the bound is not."""
    request, exact = said(HIDDEN), exact_tokens(HIDDEN)
    assert place(request, bounds=False).most_prompt_tokens < exact / 2
    assert place(request).prompt_tokens < exact / 2
    assert exact <= place(request).most_prompt_tokens <= exact * 1.01
    assert place(request, "claude-sonnet-4-5").most_prompt_tokens >= len(HIDDEN.encode())


def test_ordinary_prompts_are_bounded_closely() -> None:
    """A message costs its text and a few tokens more; the settings beside it cost next to nothing."""
    text = "Could you explain how a bicycle stays upright, and why it is easier at speed? " * 40
    request = said(text, max_tokens=100, temperature=0.2, stream=True, user="u" * 100)
    exact = exact_tokens(text)
    assert exact < counted(request).by_texts < exact + 40
    assert place(request).most_prompt_tokens <= 1.2 * exact + 60
    assert counted(said("Hello", max_tokens=60)).by_bytes <= 17


def test_a_prompt_of_an_unknown_vocabulary_is_at_most_its_bytes_and_its_window() -> None:
    """A token a byte, but never more than the model can read; without a window, the bytes alone."""
    request = said("word " * 40_000)
    assert place(request, "mystery").most_prompt_tokens == 128_000
    assert 200_000 <= place(request, "mystery", context_window=None).most_prompt_tokens < 200_100
    assert place(request).most_prompt_tokens < 80_000


def test_the_room_for_an_answer_goes_by_the_estimate() -> None:
    """A bound by bytes must not shorten what a model may be asked for."""
    found = place(said("word " * 20_000), "mystery", output_limit=64_000)
    assert found.most_prompt_tokens > 100_000
    assert found.accepts == 64_000


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": HIDDEN}]}]},
        {"messages": [{"role": "user", "content": [{"type": "unheard-of", "words": HIDDEN}]}]},
        {"messages": [{"role": "user", "content": "x", "name": HIDDEN}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": HIDDEN}}]}]},
        {"messages": [{"role": "tool", "content": HIDDEN}]},
        {"messages": [HIDDEN]},
        {"messages": [[[[[[[[[[[HIDDEN]]]]]]]]]]]},
        {"messages": {"0": HIDDEN}},
        {"messages": [], "tools": [{"type": "function", "function": {"description": HIDDEN}}]},
        {"messages": [], "response_format": {"json_schema": {"schema": {"title": HIDDEN}}}},
        {"messages": [], "prediction": {"content": HIDDEN}},
        {"messages": [], "metadata": {HIDDEN: 1}},
        {"messages": [], "system": HIDDEN},
        {"prompt": HIDDEN},
        {"prompt": ["a", HIDDEN]},
        {"prompt": [1, 2, HIDDEN]},
        {"input": HIDDEN},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": HIDDEN}]}]},
        {"input": "x", "instructions": HIDDEN},
    ],
    ids=lambda body: json.dumps(body, ensure_ascii=True)[:60],
)
@pytest.mark.parametrize("escapes", [False, True])
def test_wherever_a_text_stands_it_is_counted(body: dict[str, Any], escapes: bool) -> None:  # noqa: FBT001 - a parameter
    """In messages, tools, schemas and members that nobody reads, written plainly or in escapes."""
    raw = json.dumps({"model": "m"} | body, ensure_ascii=escapes).encode()
    found = counted(Request("/v1/elsewhere", "m", body=raw))
    assert exact_tokens(HIDDEN) <= found.by_texts <= found.by_bytes


@pytest.mark.parametrize(
    "body",
    [
        '{"messages": [{"role": "user", "content": "@", "content": "x"}]}',
        '{"messages": [{"role": "user", "content": "x", "content": "@"}]}',
        '{"messages": [{"content": "@", "role": "user"}], "messages": []}',
        '{"model": "@", "model": "m", "messages": []}',
        '{"messages": [{"role": "user", "content": "@"}',
        '{"messages": [{"role": "user", "content": "@ \\ud800"}]}',
        '[{"role": "user", "content": "@"}]',
    ],
)
def test_what_is_said_twice_or_broken_is_counted(body: str) -> None:
    """Of a member that stands twice both texts count; of what is no JSON every byte."""
    raw = body.replace("@", HIDDEN).encode()
    assert counted(Request(CHAT_COMPLETIONS, "m", body=raw)).by_texts >= exact_tokens(HIDDEN)


def test_parts_that_grow_together_are_counted() -> None:
    """Words cut into parts may be other tokens where a provider joins them: the ends count by their bytes."""
    parts = [f"wijk verantwoord{' and so on' * 30} in verantwoor" for _ in range(40)]
    request = said([{"type": "text", "text": part} for part in parts])
    assert counted(request).by_texts >= exact_tokens("".join(parts))
    assert counted(request).by_texts >= exact_tokens("\n".join(parts))
    assert counted(request).by_texts < 0.7 * counted(request).by_bytes


def test_blanks_after_colons_are_not_taken_off_twice() -> None:
    """What looks like the end of a name within a text, or within what was taken off already, hides nothing."""
    names = {f"a{number}": 1 for number in range(500)}
    text = HIDDEN + '": ' * 500
    for body in ({"stream_options": names}, {"user": names}, {"user": '": ' * 500}, {"user": '\\": ' * 500}):
        found = counted(asked(messages=[{"role": "user", "content": text}], **body))
        assert exact_tokens(text) <= found.by_texts
        assert len(text.encode()) <= found.by_bytes


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "ab"}] * 30_000},
        {"input": ["ab"] * 60_000},
        {"tools": [{"a": "b" * 260}] * 7_000},
        {"tools": [{"a": {"b": {"c": "d e" * 90}}}] * 7_000},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "b " * 130}] * 7_000}]},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_the_work_is_bounded(body: dict[str, Any]) -> None:
    """Thousands of values cost no more than the first few: the rest counts by its bytes. Much room for a busy machine."""
    request = Request("/v1/elsewhere", "m", body=json.dumps(body).encode())
    counted(said("warm"))
    started = time.process_time()
    found = counted(request)
    assert time.process_time() - started < 0.5
    texts = _texts(body)
    assert sum(map(exact_tokens, texts)) <= found.by_texts <= found.by_bytes <= len(request.body)


def test_token_ids_are_tokens() -> None:
    """A prompt in numbers is as long as there are numbers, not as their digits."""
    assert 1_000 <= counted(asked("/v1/embeddings", input=[123_456] * 1_000)).by_bytes < 1_100
    assert 2_000 <= counted(asked("/v1/completions", prompt=[[1, 2]] * 1_000)).by_bytes < 2_100


def test_a_picture_is_not_text_but_what_stands_beside_it_is() -> None:
    """The payload weighs nothing here; a text that calls itself one does."""
    url = "data:image/png;base64," + "QUJD" * 20_000
    picture = {"type": "image_url", "image_url": {"url": url}}
    assert counted(said([{"type": "text", "text": "what"}, picture])).by_bytes < 400
    assert counted(said([{"type": "text", "text": url}, picture])).by_bytes > 80_000
    assert counted(said([{"type": "text", "text": HIDDEN}, picture])).by_texts >= exact_tokens(HIDDEN)
    # What the estimate knows of pictures is on top.
    assert place(said([{"type": "text", "text": HIDDEN}, picture])).most_prompt_tokens > place(said(HIDDEN)).most_prompt_tokens


def test_without_a_body_there_is_nothing_to_count() -> None:
    """A program that asks for itself is believed."""
    assert counted(Request(CHAT_COMPLETIONS, "m")) == (0, 0)


def budget(**more: Any) -> Budget:
    return Budget(**{"name": "b", "unit": "tokens", "cap": 10**9} | more)


def held(request: Request, one: Budget) -> Claim:
    known = cases.model("gpt-4o", Tier.STANDARD, cases.MIDDLE, "openai")
    return cases.claim(cases.registry(one, models=[known]), request)


def test_only_what_rests_on_the_bound_reads_the_text_whole() -> None:
    """Enforced and watched budgets of money and tokens do; soft ones, and limits that providers keep, go by the estimate."""
    request = asked(model="gpt-4o", messages=[{"role": "user", "content": HIDDEN}], max_tokens=1)
    exact = exact_tokens(HIDDEN)
    assert held(request, budget()).holds[0].amount >= exact
    assert held(request, budget(mode="observe")).holds[0].amount >= exact
    assert held(request, budget(unit="usd")).holds[0].amount >= exact * 2
    assert held(request, budget(match=(("model", "gpt-4o"),))).holds[0].amount >= exact
    assert held(request, budget(at_cap="allow_and_flag")).holds[0].amount < exact
    limit = budget(name="provider:openai", match=(("provider", "openai"),))
    assert held(request, limit).holds[0].amount < exact
    assert held(request, budget(unit="requests")).measure.places[0].most_prompt_tokens < exact


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.text(max_size=30)
    | st.sampled_from(["x" * 300, "a b " * 90, "中" * 200]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "type", "name", "user"]) | st.text(max_size=5), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


@given(
    st.dictionaries(st.sampled_from(["messages", "input", "prompt", "instructions", "tools", "other"]), values), st.booleans()
)
def test_no_body_is_bounded_below_its_texts(body: dict[str, Any], escapes: bool) -> None:  # noqa: FBT001 - a parameter
    """All texts of any body together, joined or each by itself, are within the bound, as is their number of bytes."""
    raw = json.dumps(body, ensure_ascii=escapes).encode()
    request = Request("/v1/elsewhere", "m", body=raw)
    try:
        found = counted(request)
    except RequestError:
        return
    texts = _texts(body)
    assert sum(map(exact_tokens, texts)) <= found.by_texts <= found.by_bytes
    assert sum(len(text.encode()) for text in texts) <= found.by_bytes
    assert place(request).most_prompt_tokens >= found.by_texts + PROMPT_ALLOWANCE
