"""However a request ends, it is settled once: the ledger says what the provider bills, and nothing stays set aside."""

from __future__ import annotations

import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until
from tests.end_to_end.spending import INPUT, MODEL, billed, ledger, micro_usd, quiet_budget

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {"one": {}, "two": {}}
FACTS = MODEL.replace("capabilities: []", "capabilities: [tools]")
LATE = ("stalled", "slow", "hangs")
BRIEFLY = ", timeouts: {attempt: 1s, first_token: 1s}"
CAP_USD = "0.01"
FAILED: dict[str, dict[str, Any]] = {
    "status-500": {"status": 500},
    "status-429": {"status": 429},
    "status-503": {"status": 503},
    "reset": {"refuse": True, "times": 1},
}
TURNED_DOWN: dict[str, dict[str, Any]] = {
    "empty": {"empty": True},
    "broken": {"malformed": "broken"},
    "truncated": {"malformed": "truncated"},
}
# What the provider makes, and bills, although nobody ever sees it. The estimate is 50 tokens as well: what is asked for.
UNSEEN: dict[str, dict[str, Any]] = {
    "cut": {"tokens": 50, "cut_after_tokens": 0},
    "closed": {"tokens": 50, "cut_after_tokens": 0, "cut": "close"},
    "stalled": {"tokens": 50, "stall_after_tokens": 0, "stall": 3},
    "packed": {"tokens": 50, "cut_after_tokens": 0, "gzip": "always"},
}
# How an answer is lost that the next one takes the place of.
LOST: dict[str, tuple[dict[str, Any], str]] = {
    "time-ended": ({"tokens": 50, "first_token_ms": 20_000}, "pair-slow-plain"),
    "broke": (UNSEEN["cut"], "judged-cut-plain"),
}
# A deployment that fails rests for a while, so each failure has its own.
FAILING = [
    f"{name}-{how}"
    for name in (*FAILED, *TURNED_DOWN, *UNSEEN, "alone-500", "alone-400", "alone-401", "slow", "hangs")
    for how in ("plain", "stream")
]
# Some fail by being late. On all other routes nobody is in a hurry: a machine may stand still for a second.
JUDGED = {name: BRIEFLY if name.startswith(LATE) else "" for name in FAILING}
PAIRED = {name: ", timeouts: {attempt: 1s}" if name.startswith(LATE) else "" for name in FAILING}
CONFIGURATION = f"""
workers: {{count: 2}}
providers:
  one: {{base_url: "$one/v1"}}
  two: {{base_url: "$two/v1"}}
models:
  small: {{deployments: [{{provider: one}}], {FACTS}}}
  other: {{deployments: [{{provider: two}}], {FACTS}}}
  spare: {{deployments: [{{provider: two}}], {FACTS}}}
{"".join(f"  {name}: {{deployments: [{{provider: one}}], {FACTS}}}" + chr(10) for name in FAILING)}
routes:
  brief: {{targets: [small], timeouts: {{deadline: 1s}}}}
  brief-pair: {{targets: [spare, small], timeouts: {{deadline: 1s}}}}
{"".join(f"  pair-{name}: {{targets: [{name}, other]{PAIRED[name]}}}" + chr(10) for name in FAILING)}
{"".join(f"  judged-{name}: {{targets: [{name}, other], check: {{answer: true}}{JUDGED[name]}}}" + chr(10) for name in FAILING)}
  judged-alone: {{targets: [small], same_tier: false, check: {{answer: true}}{BRIEFLY}}}
budgets:
  house: {{usd: 1000, window: month}}
{"".join(f"  capped-{how}: {{usd: {CAP_USD}, window: month, match: {{user: {how}}}}}" + chr(10) for how in LOST)}
  slots: {{parallel: 1000}}
cooling: {{failures: 100000, window: 1ms}}
"""
LONG = "All work and no play makes Jack a dull boy. " * 140
EMBEDDINGS, COMPLETIONS, RESPONSES = "/v1/embeddings", "/v1/completions", "/v1/responses"
_sessions = (f"session-{number}" for number in itertools.count())


class Asked:
    """One session, whose rows in the ledger belong to one test."""

    def __init__(self, instance: Instance, simulators: Simulators) -> None:
        self.instance, self.simulators, self.name = instance, simulators, next(_sessions)

    def post(self, body: dict[str, Any], path: str = CHAT, **options: Any) -> httpx.Response:
        with self.instance.http(headers=self.headers) as http:
            return http.post(path, json=body, **options)

    def chat(self, model: str = "small", **body: Any) -> httpx.Response:
        return self.post({"model": model, "messages": HELLO, "max_tokens": 50} | body)

    @property
    def headers(self) -> dict[str, str]:
        return {"x-router-session": self.name}

    def rows(self, requests: int = 1) -> list[dict[str, Any]]:
        """The rows, in order, once so many requests are settled and nothing is set aside any more."""

        def found() -> list[dict[str, Any]] | None:
            mine = [row for row in ledger([self.instance]) if row["session"] == self.name]
            return mine if len({row["request"] for row in mine}) >= requests else None

        until(found)
        quiet_budget(self.instance, "house")
        quiet_budget(self.instance, "slots")
        rows = sorted(found() or [], key=lambda row: (row["at"], row["attempt"]))
        assert len({row["request"] for row in rows}) == requests
        assert len({(row["request"], row["attempt"], row["purpose"]) for row in rows}) == len(rows)
        return rows

    def bill(self) -> int:
        """What the providers bill for all that they were asked since the test began, in micro-dollars."""
        return self.billed_by(*self.simulators.ports)

    def billed_by(self, *names: str) -> int:
        """What these bill of it, once each of them has noticed how its requests ended."""
        until(lambda: not any(self.simulators.stats(name)["open_requests"] for name in names))
        return sum(billed(self.simulators, names))

    def settled(self, budget: str) -> int:
        """What is settled in a budget, in micro-dollars, once nothing is set aside."""
        return micro_usd(str(quiet_budget(self.instance, budget)["settled_usd"]))


@pytest.fixture
def asked(instance: Instance, simulators: Simulators) -> Asked:
    return Asked(instance, simulators)


def cost(rows: list[dict[str, Any]]) -> int:
    return sum(row["cost_micro_usd"] for row in rows)


def is_about(settled: int, bill: int, requests: int = 1) -> bool:
    """Whether an estimate is what was billed but for some tokens of the prompt, which each provider counts its own way."""
    return bill > 0 and abs(settled - bill) <= 8 * INPUT * requests


LATER_CALL = [*HELLO, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And now?"}]
REPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (CHAT, {"messages": HELLO, "max_tokens": 50}),
    "stream": (CHAT, {"messages": HELLO, "max_tokens": 50, "stream": True}),
    "stream-with-usage": (CHAT, {"messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}),
    "stream-without-usage": (CHAT, {"messages": HELLO, "stream": True, "stream_options": {"include_usage": False}}),
    "three-choices": (CHAT, {"messages": HELLO, "max_tokens": 50, "n": 3}),
    "three-streamed-choices": (CHAT, {"messages": HELLO, "max_tokens": 50, "n": 3, "stream": True}),
    "tool-call": (
        CHAT,
        {
            "messages": HELLO,
            "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}],
            "tool_choice": "required",
        },
    ),
    "embedding": (EMBEDDINGS, {"input": "A text."}),
    "embeddings": (EMBEDDINGS, {"input": ["A text.", "Another text.", LONG]}),
    "embedding-of-tokens": (EMBEDDINGS, {"input": list(range(300))}),
    "completion": (COMPLETIONS, {"prompt": "Once upon a time", "max_tokens": 30}),
    "completions-streamed": (COMPLETIONS, {"prompt": ["Once", "Twice"], "n": 2, "max_tokens": 30, "stream": True}),
    "response": (RESPONSES, {"input": "Hello", "max_output_tokens": 40}),
    "response-streamed": (RESPONSES, {"input": "Hello", "max_output_tokens": 40, "stream": True}),
}


@pytest.mark.parametrize("name", REPORTED)
def test_what_the_provider_reports_is_what_is_settled(asked: Asked, name: str) -> None:
    """To the micro-dollar and in tokens, for each kind of request; a client that asked for no usage sees none in its stream."""
    path, body = REPORTED[name]
    answer = asked.post({"model": "small"} | body, path)
    assert answer.status_code == 200, answer.text
    [row] = asked.rows()
    assert (row["usage_source"], row["status"], row["provider"], row["model"]) == ("provider", 200, "one", "small")
    [request] = asked.simulators.requests("one")
    usage = {name: row[name] for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}
    assert usage == request["billed"]
    assert row["cost_micro_usd"] == asked.bill() > 0
    if body.get("stream") and path != RESPONSES:
        wants_usage = bool(body.get("stream_options", {}).get("include_usage"))
        assert ('"usage":{' in answer.text.replace(" ", "")) is wants_usage


def test_cached_tokens_cost_what_they_cost(asked: Asked) -> None:
    """A conversation that goes on reports that part of its prompt was cached, and is billed less for it."""
    messages = [{"role": "user", "content": LONG}]
    for _ in range(3):
        assert asked.chat(messages=messages).status_code == 200
        messages = [*messages, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": LONG}]
    rows = asked.rows(requests=3)
    assert all(row["cached_tokens"] > 1_000 for row in rows[1:])
    assert cost(rows) == asked.bill()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", FAILED)
def test_an_attempt_that_failed_costs_nothing_and_is_told(asked: Asked, name: str, *, stream: bool) -> None:
    """The next one answers and is paid; both are rows of one request."""
    asked.simulators.faults("one", **FAILED[name])
    failing = f"{name}-{'stream' if stream else 'plain'}"
    assert asked.chat(f"pair-{failing}", stream=stream).headers["x-router-model"] == "other"
    rows = asked.rows()
    assert [(row["attempt"], row["deployment"], row["usage_source"]) for row in rows] == [
        (1, f"one/{failing}", "none"),
        (2, "two/other", "provider"),
    ]
    assert rows[0]["cost_micro_usd"] == 0
    assert cost(rows) == sum(billed(asked.simulators, ["two"]))


@pytest.mark.parametrize("status", [500, 400, 401])
def test_a_request_that_fails_altogether_costs_nothing(asked: Asked, status: int) -> None:
    """The client gets the error, the ledger says that there was one, and nothing is paid or kept."""
    asked.simulators.faults("one", status=status)
    assert asked.chat(f"alone-{status}-plain").is_error
    rows = asked.rows()
    assert cost(rows) == asked.bill() == 0
    assert {row["usage_source"] for row in rows} == {"none"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", TURNED_DOWN)
def test_an_answer_that_was_turned_down_is_paid(asked: Asked, name: str, *, stream: bool) -> None:
    """The second provider answers in its place; the first one made something too: as it reported, else as estimated."""
    asked.simulators.faults("one", **TURNED_DOWN[name])
    failing = f"{name}-{'stream' if stream else 'plain'}"
    answer = asked.chat(f"judged-{failing}", stream=stream)
    assert (answer.status_code, answer.headers["x-router-model"]) == (200, "other")
    rows = asked.rows()
    assert [(row["attempt"], row["deployment"]) for row in rows] == [(1, f"one/{failing}"), (2, "two/other")]
    reported = stream and name != "empty"
    assert [row["usage_source"] for row in rows] == ["provider" if reported else "estimate", "provider"]
    assert rows[0]["cost_micro_usd"] > 0
    if reported:
        assert rows[0]["cost_micro_usd"] == sum(billed(asked.simulators, ["one"]))
    assert rows[1]["cost_micro_usd"] == sum(billed(asked.simulators, ["two"]))


@pytest.mark.parametrize("fault", [{"end_early": "before_finish"}, {"cut_after_tokens": 8}], ids=["ends-early", "breaks"])
def test_a_stream_without_a_report_is_settled_by_what_came(asked: Asked, fault: dict[str, Any]) -> None:
    """About as many tokens as the provider sent, and no more than one of them missing or too many."""
    asked.simulators.faults("one", tokens=12, **fault)
    with contextlib.suppress(httpx.RemoteProtocolError):
        asked.chat(stream=True)
    [row] = asked.rows()
    assert row["usage_source"] == "events"
    [request] = asked.simulators.requests("one")
    assert abs(row["completion_tokens"] - request["tokens_sent"]) <= 1
    assert row["cost_micro_usd"] > 0


@pytest.mark.parametrize(
    "fault", [{"cut_after_tokens": 3}, {"cut_after_tokens": 3, "cut": "close"}, {"stall_after_tokens": 3}], ids=str
)
def test_an_answer_that_breaks_amid_its_body_is_estimated(asked: Asked, fault: dict[str, Any]) -> None:
    """The client gets an error, but the answer was made as a whole and told nobody what it used: it is not free."""
    asked.simulators.faults("one", tokens=50, **fault)
    assert asked.chat("brief").status_code in (502, 504)
    [row] = asked.rows()
    assert row["usage_source"] == "estimate"
    until(lambda: asked.simulators.requests("one")[0]["outcome"] != "open")
    assert is_about(row["cost_micro_usd"], asked.billed_by("one"))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("name", UNSEEN)
def test_an_answer_that_broke_while_it_was_held_is_estimated(asked: Asked, name: str, *, stream: bool) -> None:
    """Headers had come and nobody saw more: what its provider bills is settled beside the answer that was taken."""
    asked.simulators.faults("one", **UNSEEN[name])
    failing = f"{name}-{'stream' if stream else 'plain'}"
    answer = asked.chat(f"judged-{failing}", stream=stream)
    assert (answer.status_code, answer.headers["x-router-model"]) == (200, "other")
    rows = asked.rows()
    assert [(row["attempt"], row["deployment"], row["usage_source"]) for row in rows] == [
        (1, f"one/{failing}", "estimate"),
        (2, "two/other", "provider"),
    ]
    assert is_about(rows[0]["cost_micro_usd"], asked.billed_by("one"))
    assert rows[1]["cost_micro_usd"] == asked.billed_by("two")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", ["cut", "stalled"])
def test_the_last_answer_that_broke_while_it_was_held_is_estimated(asked: Asked, fault: str, *, stream: bool) -> None:
    """Its client got an error; a stream's silence on the last attempt is its client's to end."""
    asked.simulators.faults("one", **UNSEEN[fault])
    answer = asked.chat("judged-alone", stream=stream)
    assert answer.is_error or (fault, stream) == ("stalled", True)
    [row] = asked.rows()
    until(lambda: asked.simulators.requests("one")[0]["outcome"] != "open")
    assert row["usage_source"] == ("estimate" if answer.is_error else "provider")
    assert is_about(row["cost_micro_usd"], asked.billed_by("one"))


def test_an_attempt_whose_time_ended_is_estimated(asked: Asked) -> None:
    """The provider was making its answer and bills it, although another one's was taken; the ledger says what it was."""
    asked.simulators.faults("one", tokens=50, first_token_ms=20_000)
    assert asked.chat("pair-slow-plain").headers["x-router-model"] == "other"
    rows = asked.rows()
    assert [(row["attempt"], row["cause"], row["usage_source"]) for row in rows] == [
        (1, "timeout", "estimate"),
        (2, "", "provider"),
    ]
    assert is_about(rows[0]["cost_micro_usd"], asked.billed_by("one"))
    assert rows[1]["cost_micro_usd"] == asked.billed_by("two")


def test_a_request_whose_time_ended_is_estimated(asked: Asked) -> None:
    """Where nothing else was tried, and after another one had failed, which costs nothing."""
    asked.simulators.faults("one", tokens=50, first_token_ms=20_000)
    asked.simulators.faults("two", status=500)
    for route in ("brief", "brief-pair"):
        assert asked.chat(route).status_code == 504
    rows = asked.rows(requests=2)
    assert [(row["deployment"], row["cause"], row["usage_source"]) for row in rows] == [
        ("one/small", "timeout", "estimate"),
        ("two/spare", "server_error", "none"),
        ("one/small", "timeout", "estimate"),
    ]
    assert is_about(cost(rows), asked.bill(), requests=2)


def test_a_provider_that_never_began_is_estimated_too_but_for_a_stream(asked: Asked) -> None:
    """Nobody can tell it from one that is at work. A stream is, once its headers have come."""
    asked.simulators.faults("one", hang=3)
    assert asked.chat("pair-hangs-plain").headers["x-router-model"] == "other"
    assert asked.chat("pair-hangs-stream", stream=True).headers["x-router-model"] == "other"
    rows = asked.rows(requests=2)
    assert [(row["attempt"], row["cause"], row["usage_source"]) for row in rows] == [
        (1, "timeout", "estimate"),
        (2, "", "provider"),
        (1, "timeout", "none"),
        (2, "", "provider"),
    ]
    assert cost(rows) > asked.bill(), "it errs on the safe side"


@pytest.mark.parametrize("how", LOST)
def test_a_cap_holds_for_what_nobody_saw(asked: Asked, how: str) -> None:
    """Every request is paid twice, once for an answer that was lost: a crowd spends no more than the cap all the same."""
    faults, route = LOST[how]
    asked.simulators.faults("one", **faults)
    asked.simulators.faults("two", tokens=50)
    with ThreadPoolExecutor(12) as crowd:
        answers = list(crowd.map(lambda _: asked.chat(route, user=how).status_code, range(24)))
    # On a busy machine the second attempt may run out of time too; it is paid like the first.
    assert set(answers) <= {200, 429, 504}
    admitted = len(answers) - answers.count(429)
    assert 0 < admitted < len(answers)
    rows = asked.rows(requests=admitted)
    assert len(rows) == 2 * admitted
    assert asked.settled(f"capped-{how}") == cost(rows) <= micro_usd(CAP_USD)
    assert is_about(cost(rows), asked.bill(), requests=admitted)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_client_that_leaves_before_the_answer(asked: Asked, *, stream: bool) -> None:
    """Its request is settled all the same, as what was likely, and what it had set aside is given back at once."""
    asked.simulators.faults("one", tokens=50, first_token_ms=60_000)
    body = {"model": "small", "messages": HELLO, "max_tokens": 50, "stream": stream}
    started = time.monotonic()
    asked.instance.leave(body, lambda: asked.simulators.stats("one")["open_requests"], headers=asked.headers)
    [row] = asked.rows()
    assert time.monotonic() - started < 40, "not only when the provider is done"
    assert row["usage_source"] == ("events" if stream else "estimate")
    assert is_about(row["cost_micro_usd"], asked.billed_by("one"))


@pytest.mark.parametrize("path", [CHAT, RESPONSES, COMPLETIONS])
def test_a_client_that_leaves_amid_a_stream(asked: Asked, path: str) -> None:
    """It pays the prompt and what had come; nothing stays set aside."""
    texts: dict[str, dict[str, Any]] = {CHAT: {"messages": HELLO}, RESPONSES: {"input": "Hi"}, COMPLETIONS: {"prompt": "Hi"}}
    asked.simulators.faults("one", tokens=400, inter_token_ms=200)
    with (
        asked.instance.http(headers=asked.headers) as http,
        http.stream("POST", path, json={"model": "small", "stream": True, **texts[path]}) as stream,
    ):
        next(stream.iter_lines())
        time.sleep(0.4)
    [row] = asked.rows()
    until(lambda: asked.simulators.requests("one")[0]["outcome"] == "client_closed")
    sent = asked.simulators.requests("one")[0]["tokens_sent"]
    assert row["usage_source"] == "events"
    assert abs(row["completion_tokens"] - sent) <= 6, (row["completion_tokens"], sent)


def test_whoever_is_refused_pays_nothing(asked: Asked) -> None:
    """A request that no place may serve sets nothing aside and is no row."""
    assert asked.chat("nonsense").status_code == 404
    assert asked.post({"model": "small", "messages": []}, headers={"x-router-min-tier": "premium"}).status_code in (400, 503)
    quiet_budget(asked.instance, "house")
    assert [row for row in ledger([asked.instance]) if row["session"] == asked.name] == []
