"""How long and how often the router tries: what failed slowly is not tried again, and no request outlives its deadline.

Upper bounds of time are wide, because a busy machine is slow; what would break the promise is far beyond them.
"""

from __future__ import annotations

import itertools
import statistics
import time
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")

CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms}
providers:
  alpha: {base_url: $alpha/v1}
  beta: {base_url: $beta/v1}
  gamma: {base_url: $gamma/v1}
  delta: {base_url: $delta/v1}
  epsilon: {base_url: $epsilon/v1}
models:
  a: {deployments: [{provider: alpha}]}
  b: {deployments: [{provider: beta}]}
  c: {deployments: [{provider: gamma}]}
  d: {deployments: [{provider: delta}]}
  e: {deployments: [{provider: epsilon}]}
  limited: {deployments: [{provider: alpha}]}
routes:
  within: {targets: [a, b], retry: {within: 400ms}}
  within-reason: {targets: [a, b], retry: {within: 1m}}
  within-checked: {targets: [a, b], retry: {within: 400ms}, check: {answer: true}}
  deadline: {targets: [a, b, c], timeouts: {deadline: 2s}}
  long-deadline: {targets: [a, b], same_tier: false, timeouts: {deadline: 6s}}
  longer-deadline: {targets: [a, b, c], timeouts: {deadline: 4s}}
  shared-deadline: {targets: [a, b, c, d, e], timeouts: {deadline: 2s, attempt: 600ms}, retry: {max_attempts: 5}}
  roomy-deadline: {targets: [a, b, c], timeouts: {deadline: 8s, attempt: 1s}}
  default-length: {targets: [a, b, c, d, e]}
  three-at-most: {targets: [a, b, c, d, e], retry: {max_attempts: 3}}
  once: {targets: [a, b], retry: {max_attempts: 1}}
  ten-at-most: {targets: [a, b], same_tier: false, retry: {max_attempts: 10}}
  with-resort: {targets: [a, b, c, d], last_resort: [e], retry: {max_attempts: 3}}
  after-limit: {targets: [limited, b]}
"""

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

SIMULATED = {name: {} for name in NAMES}


def timed(instance: Instance, route: str, **body: Any) -> tuple[httpx.Response, float]:
    """The answer and the seconds it took."""
    started = time.monotonic()
    answer = instance.ask(route, **body)
    return answer, time.monotonic() - started


@KINDS
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"context_length_exceeded": True}])
def test_what_failed_slowly_is_not_tried_again(
    instance: Instance, simulators: Simulators, fault: dict[str, Any], *, stream: bool
) -> None:
    """A failure that took longer than `retry.within` would take as long elsewhere: the client gets it as it came."""
    simulators.faults("alpha", **fault, latency_ms=700)
    answer = instance.ask("within", stream=stream)
    assert answer.status_code == fault.get("status", 400)
    assert answer.headers["x-router-attempts"] == "1"
    assert simulators.asked() == {"alpha": 1}
    assert answer.json() == simulators.own_answer("alpha")


@KINDS
@pytest.mark.parametrize("fault", [{"status": 503}, {"context_length_exceeded": True}, {"refuse": True}])
def test_what_failed_fast_is_tried_again(
    instance: Instance, simulators: Simulators, fault: dict[str, Any], *, stream: bool
) -> None:
    """The same failures within that time move on, be it as slow a machine as it may."""
    simulators.faults("alpha", **fault)
    answer = instance.ask("within-reason", stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "2")


def test_a_bad_answer_that_came_slowly_is_not_tried_again(instance: Instance, simulators: Simulators) -> None:
    """An answer that was turned down late is a late failure: the client is told what was wrong with it."""
    simulators.faults("alpha", malformed="truncated", latency_ms=700)
    answer = instance.ask("within-checked")
    assert answer.status_code in (502, 503)
    assert answer.json()["error"]["code"] == "malformed_answer"
    assert simulators.asked() == {"alpha": 1}


def test_a_slow_answer_is_an_answer(instance: Instance, simulators: Simulators) -> None:
    """`retry.within` bounds what is tried again, not how long a good answer may take."""
    simulators.faults("alpha", latency_ms=900)
    answer = instance.ask("within")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "1")


@pytest.mark.parametrize(
    "fault",
    [{"hang": "forever"}, {"stall_after_tokens": 3}, {"first_token_ms": 60_000}],
    ids=["before-headers", "amid-the-body", "thinking"],
)
def test_the_deadline_of_a_plain_call_is_for_its_last_byte(
    instance: Instance, simulators: Simulators, fault: dict[str, Any]
) -> None:
    """Whatever keeps a plain call from being complete, at its deadline the client gets an error that it can read."""
    simulators.faults("alpha", **fault)
    answer, seconds = timed(instance, "deadline")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert 2 <= seconds < 8
    assert simulators.asked() == {"alpha": 1}


def test_an_attempt_gets_only_what_is_left_of_the_deadline(instance: Instance, simulators: Simulators) -> None:
    """The deadline is for all attempts together, not for each."""
    simulators.faults("alpha", status=503, latency_ms=2_500)
    simulators.faults("beta", hang="forever")
    answer = instance.ask("long-deadline")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (504, "2")
    record = instance.decision(answer.headers["x-router-decision"])
    assert 5_990 <= record["total_ms"] < 8_500, "a deadline for each would be over after 8.5 s at the earliest"


@KINDS
def test_attempts_share_the_deadline(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """With everybody silent, as many attempts are made as fit, none of them begins too late, and then it is over.

    Four begin within it at most; where the machine stands still, there is time for fewer.
    """
    for name in NAMES:
        simulators.faults(name, hang="forever")
    answer, seconds = timed(instance, "shared-deadline", stream=stream)
    error = answer.json()["error"]
    code = "deadline_exceeded" if stream else "timeout"
    assert (answer.status_code, error["type"], error["code"]) == (504, "timeout_error", code)
    asked = list(simulators.asked())
    assert answer.headers["x-router-attempts"] == str(len(asked))
    assert asked == list(NAMES[: len(asked)])
    assert 2 <= len(asked) <= 4
    assert 1.1 <= seconds < 8


@KINDS
def test_the_last_attempt_within_the_deadline_may_still_serve(
    instance: Instance, simulators: Simulators, *, stream: bool
) -> None:
    """Two silent deployments cost their share of the time; the third answers within what is left."""
    simulators.faults("alpha", hang="forever")
    simulators.faults("beta", hang="forever")
    answer = instance.ask("roomy-deadline", stream=stream)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "3")


def test_a_stream_past_its_deadline_is_not_tried_again(instance: Instance, simulators: Simulators) -> None:
    """A stream that fails when too little of its time is left for another attempt ends with that failure.

    Two fit, so each has nearly half of the time, and a third one could only begin in the first half.
    """
    simulators.faults("alpha", status=503, latency_ms=1_050)
    simulators.faults("beta", status=502, latency_ms=1_050)
    answer = instance.ask("longer-deadline", stream=True)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (502, "2")
    assert simulators.asked() == {"alpha": 1, "beta": 1}


def test_a_stream_that_began_in_time_is_never_cut(instance: Instance, simulators: Simulators) -> None:
    """After its first byte a stream is bounded by silence alone: it may run far longer than its deadline."""
    simulators.faults("alpha", tokens=12, inter_token_ms=300)
    with instance.client() as client:
        started = time.monotonic()
        chunks = list(client.chat.completions.create(model="deadline", messages=HELLO, stream=True))  # type: ignore[call-overload]
    assert time.monotonic() - started > 3
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in chunks) == 12


@KINDS
@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("default-length", ["alpha", "beta", "gamma", "delta"]),
        ("three-at-most", ["alpha", "beta", "gamma"]),
        ("once", ["alpha"]),
        ("ten-at-most", ["alpha", "beta"]),
        ("with-resort", ["alpha", "beta", "epsilon"]),
    ],
)
@pytest.mark.parametrize("fault", [{"status": 500}, {"refuse": True}], ids=["500", "refused"])
def test_every_place_of_the_chain_is_tried_once(
    instance: Instance, simulators: Simulators, *, route: str, asked: list[str], fault: dict[str, Any], stream: bool
) -> None:
    """Never more attempts than `max_attempts`, never one place twice, and all of them when all fail."""
    for name in NAMES:
        simulators.faults(name, **fault)
    answer = instance.ask(route, stream=stream)
    assert answer.status_code in (500, 503)
    assert answer.headers["x-router-attempts"] == str(len(asked))
    attempts = instance.decision(answer.headers["x-router-decision"])["attempts"]
    assert [attempt["deployment"].partition("/")[0] for attempt in attempts] == asked
    if "status" in fault:
        assert simulators.asked() == dict.fromkeys(asked, 1)


def test_nobody_sleeps_between_attempts(instance: Instance, simulators: Simulators) -> None:
    """The next deployment is another place: it is asked at once, without the back-off of a repeated attempt.

    Envoy's own back-off would be drawn from up to 25, 75 and 175 ms: of thirty second and third pauses hardly ever half
    would be below 25 ms.
    """
    for name in NAMES[:3]:
        simulators.faults(name, status=503)
    pauses = []
    for _ in range(15):
        answer = instance.ask("default-length")
        attempts = instance.decision(answer.headers["x-router-decision"])["attempts"]
        assert len(attempts) == 4
        # Its first pause would be short as well.
        for before, after in itertools.pairwise(attempts[1:]):
            begun = [datetime.fromisoformat(attempt["started_at"]).timestamp() * 1_000 for attempt in (before, after)]
            pauses.append(begun[1] - begun[0] - before["total_ms"])
    assert statistics.median(pauses) < 25


def test_a_retry_after_is_not_slept_through(instance: Instance, simulators: Simulators) -> None:
    """A 429 that asks for a pause is answered by another deployment now."""
    simulators.faults("alpha", status=429, retry_after=30)
    answer, seconds = timed(instance, "after-limit")
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (200, "2")
    assert seconds < 15


def test_the_clients_own_timeout_does_not_hang_a_provider(instance: Instance, simulators: Simulators) -> None:
    """When the client gives up, the attempt under way is given up as well."""
    simulators.faults("alpha", hang="forever")
    instance.leave({"model": "default-length", "messages": HELLO}, lambda: simulators.stats("alpha")["open_requests"])
    until(lambda: simulators.stats("alpha")["by_outcome"].get("client_closed"))
    assert simulators.asked() == {"alpha": 1}
