"""The access log's file as the real Envoy writes it: what settles money must be in it, for every way a request can end."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from msgspec.structs import replace

from router_extproc.account import Account, Held, Rates, decode_account, encode_account
from router_extproc.observer.settlement import is_pressing
from tests.envoyconf.providers import HANG_UP, Answer, Providers, failure, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.tickets import HOLD_HEADER, TURN_DOWN_HEADER, ticket

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": []}
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 18, "prompt_tokens_details": {"cached_tokens": 4}}
COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "total_tokens")
ACCOUNT = Account(
    reservation="7f0c",
    held=(Held('odd "name"|user=Zoë', "usd", 0, 0, 100, 60),),
    rates={"a": Rates(1, 2, 3)},
    tenant="acme",
    tags={"app": "chat\\bot"},
)

pytestmark = pytest.mark.end_to_end


def test_every_attempt_has_a_line_and_the_request_has_the_last(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """Three attempts, of which one fails, one finds nobody and one answers, are told apart; the request says which was who."""
    providers.reset(a=failure(500))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "refused", "c"))
    *attempts, request = live.lines(answer.headers["x-router-decision"])
    assert [(line["kind"], line["attempt"], line["deployment"], line["status"]) for line in attempts] == [
        ("attempt", "1", "a", 500),
        ("attempt", "2", "refused", 0),
        ("attempt", "3", "c", 200),
    ]
    assert [line["flags"] for line in attempts] == ["-", "UF", "-"]
    assert attempts[2]["bytes_sent"] == len(answer.content)
    assert (request["kind"], request["status"], request["attempts"], request["details"]) == ("request", 200, 3, "via_upstream")
    assert request["tried"] == {"1": "a", "2": "refused", "3": "c"}
    assert request["causes"] == {"1": "server_error"}
    assert (request["stream"], request["deployment"], request["cause"]) == (False, "c", "server_error")


def test_account_and_caller_arrive_as_they_were_written(client: httpx.Client, live: Envoy) -> None:
    """The account is the very text that the worker wrote, whatever stands in it; tenant, tier and features can be read."""
    caller = {"tenant": "acme", "tier": "premium", "features": ["beta", "fast"], "tags": {"app": 'a"b'}}
    metadata = {"router.request": {"account": encode_account(ACCOUNT)}, "router.caller": caller}
    answer = client.post(CHAT, json=BODY, headers=ticket("b", metadata=metadata))
    line = live.access_log(answer.headers["x-router-decision"])
    assert decode_account(line["account"]) == ACCOUNT
    assert line["caller"] == caller


@pytest.mark.parametrize(
    ("headers", "is_seen"),
    [
        (ticket("b", metadata={"router.request": {"account": encode_account(ACCOUNT)}}), True),
        (ticket("b", metadata={"router.request": {"account": encode_account(replace(ACCOUNT, held=()))}}), False),
        (ticket("b"), False),
        ({}, True),
    ],
    ids=["held", "nothing held", "no account", "undecided"],
)
def test_what_may_be_given_back_is_seen_without_being_read(
    client: httpx.Client, live: Envoy, headers: dict[str, str], *, is_seen: bool
) -> None:
    """Settling looks for words in the text as Envoy writes it: they are there where something may be held, and only there."""
    decision = client.post(CHAT, json=BODY, headers=headers).headers["x-router-decision"]
    live.lines(decision)
    written = (live.folders.logs / "access.jsonl").read_bytes().splitlines()
    assert is_pressing(b"\n".join(line for line in written if decision.encode() in line)) == is_seen


def test_without_account_and_caller_both_are_null(client: httpx.Client, live: Envoy) -> None:
    """Nobody was asked and nothing was set aside: the fields are there, and empty."""
    line = live.access_log(client.post(CHAT, json=BODY, headers=ticket("b")).headers["x-router-decision"])
    assert [line[name] for name in ("account", "caller", "billed", "events", "incomplete", "prompt_tokens")] == [None] * 6


def test_reported_usage_is_logged(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """Prompt, completion, cached and all tokens of a plain answer."""
    providers.reset(b=Answer((json.dumps({"usage": USAGE}).encode(),), length=True))
    line = live.access_log(client.post(CHAT, json=BODY, headers=ticket("b")).headers["x-router-decision"])
    assert ([line[name] for name in COUNTS], line["events"]) == ([12, 3, 4, 18], None)


@pytest.mark.parametrize(
    "told",
    [
        {"cached_tokens": 4},
        {"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 8},
        {"prompt_cache_hit_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}},
    ],
    ids=["Moonshot", "DeepSeek", "both"],
)
def test_what_was_cached_is_logged_in_whatever_words(
    client: httpx.Client, live: Envoy, providers: Providers, told: dict[str, object]
) -> None:
    """Cached tokens cost less: not to see them is to settle more than is billed."""
    usage = json.dumps({"usage": {"prompt_tokens": 12, "completion_tokens": 3, **told}}).encode()
    for stream_too in (False, True):
        providers.reset(b=stream(b"data: " + usage + b"\n\n", DONE) if stream_too else Answer((usage,), length=True))
        answer = client.post(CHAT, json=BODY, headers=ticket("b", stream=stream_too))
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["prompt_tokens"], line["cached_tokens"]) == (12, 4)


def test_usage_and_events_of_a_stream(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """A stream's usage is in its line, and how many events came; the last one counts too."""
    providers.reset(b=stream(EVENT * 3, b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n", DONE))
    line = live.access_log(client.post(CHAT, json=BODY, headers=ticket("b", stream=True)).headers["x-router-decision"])
    assert ([line[name] for name in COUNTS], line["events"]) == ([12, 3, 4, 18], 5)
    assert line["stream"] is True


@pytest.mark.parametrize("split", range(1, len(EVENT) + 8))
def test_events_are_counted_wherever_the_network_cuts(
    client: httpx.Client, live: Envoy, providers: Providers, split: int
) -> None:
    """Each event is counted once, however it comes in pieces."""
    content = EVENT * 2 + DONE
    providers.reset(b=stream(content[:split], content[split : split + 3], content[split + 3 :], pause=0.005))
    answer = client.post("/v1/responses", json=BODY, headers=ticket("b", stream=True))
    assert live.access_log(answer.headers["x-router-decision"])["events"] == 3


def test_a_client_that_leaves_does_not_hide_what_came_until_then(
    client: httpx.Client, live: Envoy, providers: Providers
) -> None:
    """Of a stream that its client left, the line says so and how many events there were."""
    providers.reset(b=stream(EVENT, EVENT, EVENT, EVENT, DONE, pause=0.2))
    with client.stream("POST", CHAT, json=BODY, headers=ticket("b", stream=True)) as answer:
        next(answer.iter_raw())
        decision = answer.headers["x-router-decision"]
    attempt, request = live.lines(decision)
    assert (request["status"], request["flags"], request["attempts"]) == (200, "DC", 1)
    assert 1 <= request["events"] < 5
    assert (attempt["attempt"], attempt["status"]) == ("1", 200)


def test_a_client_that_leaves_before_the_answer_is_logged(live: Envoy, providers: Providers) -> None:
    """Nothing was answered: status 0, the client left, and the attempt that it leaves behind is named."""
    providers.reset(b=Answer(wait=0.5))
    head, body = ticket("b"), json.dumps(BODY).encode()
    lines = [f"POST {CHAT} HTTP/1.1", "host: any", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in head.items())]
    with socket.create_connection(("127.0.0.1", live.config.listener.port)) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        live.until(lambda: providers.asked)
    attempt, request = live.lines(providers.asked[0].headers["x-request-id"])
    assert (request["status"], request["flags"], request["tried"]) == (0, "DC", {"1": "b"})
    assert (attempt["deployment"], attempt["status"]) == ("b", 0)


def test_a_provider_that_hangs_up_is_logged(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """A connection that broke before an answer is an attempt with status 0."""
    providers.reset(a=HANG_UP)
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b"))
    attempt, other, request = live.lines(answer.headers["x-router-decision"])
    assert (attempt["status"], attempt["flags"], other["status"], request["status"]) == (0, "UC", 200, 200)


def test_what_was_turned_down_is_billed_by_attempt(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """Two answers that the judge leg turned down are reported each under its number, beside the usage of the third."""
    for name, number in (("a", "1"), ("b", "2")):
        reported = json.dumps({number: {"prompt_tokens": 7, "completion_tokens": int(number), "cached_tokens": 0}})
        headers = (("content-type", "application/json"), (TURN_DOWN_HEADER, reported))
        providers.answers[name] = Answer(headers=headers)
    providers.answers["c"] = Answer((json.dumps({"usage": USAGE}).encode(),))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", "c", judge="1"))
    line = live.access_log(answer.headers["x-router-decision"])
    assert line["billed"] == {
        "1": {"prompt_tokens": 7, "completion_tokens": 1, "cached_tokens": 0},
        "2": {"prompt_tokens": 7, "completion_tokens": 2, "cached_tokens": 0},
    }
    assert (line["deployment"], line["prompt_tokens"], line["cause"]) == ("c", 12, "empty_answer")
    assert line["causes"] == {"1": "empty_answer", "2": "empty_answer"}


@pytest.mark.parametrize("kind", ["answer", "stream"])
def test_an_answer_that_broke_while_it_was_held_is_told(
    client: httpx.Client, live: Envoy, providers: Providers, kind: str
) -> None:
    """Its headers came and nobody saw more of it: the request's line says so, whichever attempt was taken."""
    content = "application/json" if kind == "answer" else "text/event-stream; charset=utf-8"
    headers = (("content-type", content), (HOLD_HEADER, "1"))
    providers.reset(a=Answer((b'{"choices"',), headers=headers, pause=0.05, breaks=True), b=failure(500))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", "c", judge="1"))
    *attempts, line = live.lines(answer.headers["x-router-decision"])
    assert line["answered"] == {"1": kind, "3": "answer"}
    assert line["causes"] == {"2": "server_error"}
    assert [attempt["status"] for attempt in attempts] == [0, 500, 200]


def test_what_is_not_held_needs_no_telling(client: httpx.Client, live: Envoy) -> None:
    """Of an answer that passes as it comes the line itself says how it ended."""
    answer = client.post(CHAT, json=BODY, headers=ticket("b"))
    assert live.access_log(answer.headers["x-router-decision"])["answered"] is None


@pytest.mark.parametrize("chain", [("a", "b"), ("a", "refused", "b")])
def test_an_attempt_whose_time_ended_is_told(
    client: httpx.Client, live: Envoy, providers: Providers, chain: tuple[str, ...]
) -> None:
    """Nothing of its answer came, as of one that could not be reached; but its provider may have been at work."""
    providers.reset(a=Answer(wait=3))
    answer = client.post(CHAT, json=BODY, headers=ticket(*chain, attempt_timeout_ms=200))
    line = live.access_log(answer.headers["x-router-decision"])
    assert (line["status"], line["causes"], line["attempts"]) == (200, {"1": "timeout"}, len(chain))


@pytest.mark.parametrize(
    ("max_attempts", "expected"),
    [
        (2, (504, "upstream_per_try_timeout", {"1": "server_error"})),
        (3, (503, "lua_response", {"1": "server_error", "2": "timeout"})),
    ],
)
def test_that_the_time_of_the_last_attempt_ended_is_told_too(
    client: httpx.Client, live: Envoy, providers: Providers, max_attempts: int, expected: tuple[int, str, dict[str, str]]
) -> None:
    """By Envoy's own details, or where another attempt was about to be made and had no place to go."""
    providers.reset(a=failure(500), b=Answer(wait=3))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", attempt_timeout_ms=200, max_attempts=max_attempts))
    line = live.access_log(answer.headers["x-router-decision"])
    assert (line["status"], line["details"], line["causes"]) == expected
    assert line["first_byte_ms"] is None, "no byte of it had come, whatever had come of the one before"


@pytest.mark.parametrize(("status", "cause"), [(500, "server_error"), (429, "rate_limited"), (401, "unauthorized")])
def test_the_last_failure_has_its_cause_too(
    client: httpx.Client, live: Envoy, providers: Providers, status: int, cause: str
) -> None:
    """Also where nothing is left to try, and the provider's own answer goes to the client."""
    providers.reset(a=failure(status), b=failure(status))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b"))
    assert answer.status_code == status
    assert live.access_log(answer.headers["x-router-decision"])["causes"] == {"1": cause, "2": cause}


def test_an_answer_that_was_turned_down_last_has_its_cause(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """The judge leg says itself that nothing follows."""
    headers = (("content-type", "application/json"), (TURN_DOWN_HEADER, "{}"))
    providers.reset(a=Answer(headers=headers))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", judge="1"))
    assert live.access_log(answer.headers["x-router-decision"])["causes"] == {"1": "empty_answer"}


def test_an_attempt_that_was_not_made_is_not_counted(client: httpx.Client, live: Envoy) -> None:
    """When the chain is at its end, the attempt that Envoy was about to make is neither tried nor counted."""
    answer = client.post(CHAT, json=BODY, headers=ticket("refused", max_attempts=3))
    line = live.access_log(answer.headers["x-router-decision"])
    assert (line["status"], str(line["attempts"]), line["tried"]) == (503, "1", {"1": "refused"})


@pytest.mark.parametrize("way", ["admin", "signal"])
def test_the_file_can_be_rotated(client: httpx.Client, live: Envoy, way: str) -> None:
    """Renamed and opened again, the old file keeps what was written before and the new one gets the rest: no line is lost."""
    file = live.folders.logs / "access.jsonl"
    before = client.post(CHAT, json=BODY, headers=ticket("b")).headers["x-router-decision"]
    live.lines(before)
    old = file.with_name(f"access.{way}.jsonl")
    file.rename(old)
    live.reopen_logs(way)
    live.until(file.exists)
    after = client.post(CHAT, json=BODY, headers=ticket("b")).headers["x-router-decision"]
    assert len(live.lines(after)) == 2
    assert before.encode() in old.read_bytes()
    assert after.encode() not in old.read_bytes()
