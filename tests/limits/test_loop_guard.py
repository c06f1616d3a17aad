"""The loop guard: what counts as nearly the same request, and when a session is warned, asked and stopped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.errors import RequestError
from router_extproc.limits.loop_guard import SUMMARY, WARNED, fingerprint, guard_budgets, stage, stopped, strongest
from router_extproc.registry.spending import Budget, LoopGuard, Window


def chat(*messages: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": list(messages), **more}).encode()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(name: str, arguments: str, call: str = "call_1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]}


def answered(text: str, call: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": text}


def test_a_growing_conversation_that_repeats_a_call_is_a_loop() -> None:
    """The same call with the same outcome is the same request, however long the history has become."""
    history = [user("fix the build")]
    seen = set()
    for index in range(6):
        history += [
            called("run", '{"command": "make"}', f"call_{index}x9Zq"),
            answered("make: *** error 2", f"call_{index}x9Zq"),
        ]
        seen.add(fingerprint(chat(*history)))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Error at 12:01:07 in job 3f2a9c1b", "error at  12:44:59\nin job 99ab04cd"),
        ("request 6f1f7d9e-1b7a-4c55-9d8e-0a1b2c3d4e5f failed", "request 00000000-1b7a-4c55-9d8e-0a1b2c3d4e5f failed"),
        ("stamp 1772625600 late", "stamp 1772625999 late"),
        ("seen 2026-03-04T05:06:07 twice", "SEEN 2026-03-05 05:06 twice"),
    ],
)
def test_times_ids_and_blanks_make_no_difference(one: str, other: str) -> None:
    """What passes by itself from one run to the next does not make two requests different."""
    assert fingerprint(chat(user(one))) == fingerprint(chat(user(other)))
    before = user("go"), called("run", "{}")
    assert fingerprint(chat(*before, answered(one))) == fingerprint(chat(*before, answered(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat(user("Sum up chapter 6")), chat(user("Sum up chapter 7"))),
        (chat(user("go"), called("read", '{"page": 1}')), chat(user("go"), called("read", '{"page": 2}'))),
        (
            chat(user("go"), called("read", "{}"), answered("first page")),
            chat(user("go"), called("read", "{}"), answered("second page")),
        ),
        (
            chat(user("tell"), {"role": "assistant", "content": "Once upon a time"}, user("continue")),
            chat(user("tell"), {"role": "assistant", "content": "there was a queen"}, user("continue")),
        ),
        (chat(user("go"), called("read", "{}")), chat(user("go"), called("write", "{}"))),
    ],
)
def test_progress_is_no_loop(one: bytes, other: bytes) -> None:
    """The next chapter, page, result or part of a story is another request, and so is another tool."""
    assert fingerprint(one) != fingerprint(other)


def test_side_by_side_calls_of_the_responses_api_count_together() -> None:
    """In a response's input calls stand in a row; the last row with its results is what is compared."""

    def asked(first: str, result: str) -> bytes:
        calls = [{"type": "function_call", "call_id": str(n), "name": "f", "arguments": a} for n, a in enumerate((first, "{}"))]
        outputs = [{"type": "function_call_output", "call_id": str(n), "output": result} for n in range(2)]
        return json.dumps({"model": "m", "input": [{"role": "user", "content": "go"}, *calls, *outputs]}).encode()

    assert fingerprint(asked('{"a": 1}', "ok")) == fingerprint(asked('{"a": 1}', "OK"))
    assert fingerprint(asked('{"a": 1}', "ok")) != fingerprint(asked('{"a": 2}', "ok"))
    assert fingerprint(asked('{"a": 1}', "ok")) != fingerprint(asked('{"a": 1}', "ko"))


def test_other_kinds_of_bodies_are_compared_by_their_text() -> None:
    """Prompts and plain inputs are compared too; a body that says nothing is not."""
    assert fingerprint(b'{"model": "m", "prompt": "Hello"}') == fingerprint(b'{"model": "m", "prompt": "hello "}')
    assert fingerprint(b'{"model": "m", "input": "Hello"}') != fingerprint(b'{"model": "m", "input": "Bye"}')
    assert fingerprint(b'{"model": "m"}') == ""


def test_pictures_in_a_message_are_not_taken_for_text() -> None:
    """Of a message in parts the texts are compared."""
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    assert fingerprint(chat({"role": "user", "content": parts})) == fingerprint(chat(user("what is this?")))


messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "system", ""])},
    optional={
        "content": st.none() | st.text() | st.lists(st.text() | st.fixed_dictionaries({"type": st.text(), "text": st.text()})),
        "tool_calls": st.none() | st.lists(st.none() | st.dictionaries(st.text(), st.text() | st.integers())) | st.text(),
        "output": st.text() | st.integers(),
    },
)


@given(st.lists(messages | st.text() | st.integers(), max_size=5))
def test_any_conversation_has_a_fingerprint_or_is_refused(conversation: list[Any]) -> None:
    """Whatever stands in a body, the answer is a short name, always the same one, or the refusal of a body that is none."""
    body = json.dumps({"model": "m", "messages": conversation}).encode()
    try:
        found = fingerprint(body)
    except RequestError:
        return
    assert len(found) in (0, 32)
    assert found == fingerprint(body)


def test_a_guard_counts_what_is_configured() -> None:
    """Off, nothing is counted; else repeats, and steps and money where they are limited, in the window that is set."""
    assert guard_budgets(LoopGuard()) == ()
    assert [one.name for one in guard_budgets(LoopGuard("observe", 5))] == ["loop_guard:repeats"]
    budgets = guard_budgets(LoopGuard("enforce", 5, 50, 10**6, 60))
    assert [(one.unit, one.cap, one.mode, one.window.rolling_seconds) for one in budgets] == [
        ("iterations", 5, "enforce", 60), ("iterations", 50, "enforce", 60), ("usd", 10**6, "enforce", 60),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "stages"),
    [
        (2, [None, SUMMARY]),
        (3, [None, WARNED, SUMMARY]),
        (5, [None, None, None, WARNED, SUMMARY]),
        (10, [None] * 7 + [WARNED, SUMMARY, SUMMARY]),
    ],
)
def test_a_session_is_warned_before_it_is_asked_to_sum_up(limit: int, stages: list[str | None]) -> None:
    """The last request that passes asks for a summary, one before it warns; a first request is never warned."""
    (budget,) = guard_budgets(LoopGuard("enforce", limit))
    assert [stage(budget, used, 1, 1) for used in range(limit)] == stages


def test_money_warns_by_what_was_spent() -> None:
    """A session's cost warns from 80 % of its limit on and asks for a summary from 90 %; an observed guard says nothing."""
    cost = guard_budgets(LoopGuard("enforce", 5, cap=1_000))[1]
    assert [stage(cost, used, 10, 20) for used in (0, 799, 800, 899, 900)] == [None, None, WARNED, WARNED, SUMMARY]
    seen = guard_budgets(LoopGuard("observe", 5))[0]
    assert stage(seen, 5, 1, 1) is None
    assert stage(Budget("other", "iterations", 5, Window()), 5, 1, 1) is None
    assert strongest([None, WARNED, SUMMARY, WARNED]) == SUMMARY
    assert strongest([None]) is None


@pytest.mark.parametrize(
    ("likely", "least", "stages"),
    [
        (300, 400, [None, WARNED, SUMMARY]),
        (200, 500, [None, WARNED, SUMMARY]),
        (100, 600, [None, None, None, WARNED, SUMMARY]),
        (600, 700, [None]),
        (0, 0, [None, None]),
    ],
)
def test_a_session_of_dear_requests_is_warned_and_asked_too(likely: int, least: int, stages: list[str | None]) -> None:
    """Where what each asks for is large, sessions end long before 80 % are spent, and not without being told."""
    cost = guard_budgets(LoopGuard("enforce", 5, cap=1_000))[1]
    spent = [number * likely for number in range(len(stages))]
    assert [stage(cost, used, likely, least) for used in spent] == stages
    passes_once_more = len(stages) * likely + least <= cost.cap
    assert passes_once_more == (likely == 0)


def test_a_stopped_session_is_told_why() -> None:
    """The error says what was too much and what to do, and is no quota of money."""
    error = stopped(guard_budgets(LoopGuard("enforce", 5))[0], 17)
    assert (error.status, error.code, error.retry_after) == (429, "loop_stopped", 17)
    assert "nearly the same request" in error.message
