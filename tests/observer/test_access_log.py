"""Entries as Envoy writes them become attempts and requests; odd ones become what can be read of them, never an error."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, HTTPAccessLogEntry
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.access_log import LONGEST_RETRY_AFTER_SECONDS, count_of, read_attempt, read_request, retry_after_of
from router_extproc.observer.records import SignalRecord, Usage
from tests.observer.entries import STARTED_AT, attempt_entry, request_entry

NOW = STARTED_AT + 1


def test_an_attempt_is_read() -> None:
    """All that an attempt's entry says is in its record."""
    entry = attempt_entry(
        "d-1",
        "openai/gpt-4o",
        status=429,
        number=2,
        headers={
            "retry-after": "2.5",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "6m0s",
            "x-ratelimit-reset-tokens": "8h",
        },
    )
    read = read_attempt(entry, NOW)
    assert read is not None
    decision, attempt = read
    assert decision == "d-1"
    assert (attempt.deployment, attempt.number, attempt.status, attempt.cause) == ("openai/gpt-4o", 2, 429, "rate_limited")
    assert attempt.started_at == datetime.fromtimestamp(STARTED_AT, UTC)
    assert (attempt.time_to_first_byte_ms, attempt.total_ms) == (120.0, 800.0)
    assert (attempt.retry_after_seconds, attempt.remaining_requests, attempt.remaining_tokens) == (2.5, 0, 149_984)
    assert (attempt.quota_reset_seconds, attempt.quota_unit) == (360.0, "requests")


def test_a_quota_of_tokens_is_told_from_one_of_requests() -> None:
    """By which of both has nothing left; none is named where both have."""
    left = {"x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "0"}
    resets = {"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "2s"}
    for more, told in (({}, (2.0, "tokens")), ({"x-ratelimit-remaining-tokens": "1"}, (None, None))):
        read = read_attempt(attempt_entry("d-1", "openai/gpt-4o", headers=left | resets | more), NOW)
        assert read is not None
        assert (read[1].quota_reset_seconds, read[1].quota_unit) == told


@pytest.mark.parametrize("status", [0, 200])
def test_an_answer_whose_end_never_came_is_undetermined(status: int) -> None:
    """Neither no answer without a flag nor a started answer without its last byte says whose fault it was."""
    read = read_attempt(attempt_entry("d-1", "openai/gpt-4o", status=status, complete=False), NOW)
    assert read is not None
    assert read[1].cause == "undetermined"


def test_an_entry_without_a_deployment_is_no_attempt() -> None:
    """An entry that names no cluster tells of nothing that was tried."""
    assert read_attempt(attempt_entry("d-1", ""), NOW) is None


@pytest.mark.parametrize("kind", [AccessLogType.DownstreamStart, AccessLogType.UpstreamPeriodic])
def test_entries_of_running_requests_are_passed_over(kind: AccessLogType) -> None:
    """Only the end of a request or attempt is counted, however Envoy is set up."""
    request, attempt = request_entry("d-1"), attempt_entry("d-1", "openai/gpt-4o")
    request.common_properties.access_log_type = attempt.common_properties.access_log_type = kind
    assert read_request(request, NOW) is None
    assert read_attempt(attempt, NOW) is None


def test_a_request_is_read() -> None:
    """The ticket, the attempt's report and the usage are in the record."""
    request = read_request(request_entry("d-1", attempts=2), NOW)
    assert request is not None
    assert (request.id, request.method, request.path, request.status) == ("d-1", "POST", "/v1/chat/completions", 200)
    assert (request.route, request.reason, request.stream, request.attempt_count) == ("auto", "rule:code", True, 2)
    assert (request.deployment, request.model, request.tier) == ("openai/gpt-4o", "gpt-4o", "premium")
    assert request.usage == Usage(prompt_tokens=1000, completion_tokens=200, cached_tokens=400)
    assert request.estimated_cost_usd == 0.0025
    assert request.signals == {"risk": SignalRecord("none", 0.21), "adequacy": SignalRecord([0.2, 0.6, 0.9], 0.34)}
    assert (request.time_to_first_token_ms, request.total_ms, request.cause) == (130.0, 810.0, "none")


def test_what_was_thought_is_among_the_answer() -> None:
    """Where a provider counts it in the total alone, the record has it all the same."""
    told = {"router.usage": {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}}
    request = read_request(request_entry("d-1", metadata=told), NOW)
    assert request is not None
    assert request.usage == Usage(prompt_tokens=32, completion_tokens=103)


@pytest.mark.parametrize("signals", ["", "{", "[]", '{"risk": 3}', '{"risk": ["none"]}', '{"risk": ' + "[" * 5_000, 3.5, None])
def test_signals_that_cannot_be_read_are_none(signals: str | float | None) -> None:
    """Whatever stands in their place, the rest of the request is read."""
    request = read_request(request_entry("d-1", metadata={"router.request": {"cost": "0.5", "signals": signals}}), NOW)
    assert request is not None
    assert (request.signals, request.estimated_cost_usd) == ({}, 0.5)


def test_a_query_string_never_reaches_the_log() -> None:
    """Some clients put keys into it."""
    entry = request_entry("d-1", metadata={}, path="/v1/models?api-key=sk-canary")
    request = read_request(entry, NOW)
    assert request is not None
    assert request.path == "/v1/models"
    entry = request_entry(
        "d-1", metadata={"router.state": {"path": "/v1/chat/completions?key=sk-canary"}}, path="/v1beta/openai/chat"
    )
    request = read_request(entry, NOW)
    assert request is not None
    assert request.path == "/v1/chat/completions"


def test_a_refused_request_names_no_deployment() -> None:
    """Envoy names the default chain's first cluster although nobody was called."""
    entry = request_entry(
        "d-1",
        status=404,
        attempts=0,
        details="router_model_not_found",
        metadata={"router": {"reason": "model_not_found", "refused": "model_not_found"}},
    )
    request = read_request(entry, NOW)
    assert request is not None
    assert (request.deployment, request.refused, request.reason) == (None, "model_not_found", "model_not_found")
    assert (request.status, request.cause, request.details) == (404, "client_error", "router_model_not_found")
    assert request.refused_by is None


def test_a_budget_that_refuses_is_named() -> None:
    """Which of all that a request falls under it was, can be looked up afterwards."""
    ticket = {"reason": "budget_exceeded", "refused": "budget_exceeded", "refused_by": "house"}
    request = read_request(request_entry("d-1", status=429, attempts=0, metadata={"router": ticket}), NOW)
    assert request is not None
    assert (request.refused, request.refused_by) == ("budget_exceeded", "house")


def test_a_request_that_was_admitted_without_the_store_says_so() -> None:
    """What admission found out travels beside the ticket, and has the last word."""
    metadata = {
        "router": {"degraded": "all-cooling-down"},
        "router.request": {"degraded": "all-cooling-down,store-unavailable"},
    }
    request = read_request(request_entry("d-1", metadata=metadata), NOW)
    assert request is not None
    assert request.degraded == "all-cooling-down,store-unavailable"


def test_what_no_worker_decided_says_so() -> None:
    """Without a ticket the report of router.lua stands."""
    report = {"degraded": "router-unavailable", "reason": "default_chain", "route": "default", "deployment": "azure/gpt-4o"}
    request = read_request(request_entry("d-1", metadata={"router.attempt": report}), NOW)
    assert request is not None
    assert (request.route, request.reason, request.degraded) == ("default", "default_chain", "router-unavailable")
    assert request.deployment == "azure/gpt-4o"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 20.0),
        ("Wed, 21 Oct 2020 07:28:00 GMT", 0.0),
        ("1e400", None),
        ("nan", None),
        ("99999999999", LONGEST_RETRY_AFTER_SECONDS),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_every_spelling(value: str | None, seconds: float | None) -> None:
    """Seconds, whole or not, and HTTP dates; what is no time is absent, what is absurd is bounded."""
    now = datetime(2026, 10, 21, 7, 27, 40, tzinfo=UTC).timestamp()
    assert retry_after_of(value, now) == seconds


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_retry_after_of_anything_is_bounded(value: str) -> None:
    """Whatever a provider writes, the pause is a number of seconds within bounds, or none."""
    seconds = retry_after_of(value, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS


@given(st.text() | st.floats() | st.none())
def test_a_count_of_anything_is_a_count(value: str | float | None) -> None:
    """Whatever comes, a count is a whole number from zero up, or none."""
    count = count_of(value)
    assert count is None or (isinstance(count, int) and count >= 0)


def check_readable(entry: HTTPAccessLogEntry) -> None:
    """Both readers take the entry and give values within their types' bounds."""
    read = read_attempt(entry, NOW)
    if read is not None:
        assert read[1].deployment
        assert len(read[1].deployment) <= 200
    request = read_request(entry, NOW)
    if request is not None:
        assert request.usage is None or 0 <= request.usage.cached_tokens <= request.usage.prompt_tokens
        assert "?" not in request.path
        assert request.total_ms is None or request.total_ms >= 0


@given(st.data())
def test_a_damaged_entry_never_raises(data: st.DataObject) -> None:
    """Any bytes that are an entry at all can be read."""
    whole = data.draw(st.sampled_from([attempt_entry("d-1", "openai/gpt-4o"), request_entry("d-1")])).SerializeToString()
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + data.draw(st.binary(max_size=12)) + whole[place + data.draw(st.integers(0, 6)) :]
    try:
        entry = HTTPAccessLogEntry.FromString(damaged)
    except DecodeError:
        return
    check_readable(entry)


numbers = st.floats() | st.integers(-(10**18), 10**18)
values = st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8"), max_size=300)


@given(
    fields=st.dictionaries(
        st.sampled_from(
            ["route", "reason", "stream", "cost", "prompt_tokens", "completion_tokens", "cached_tokens", "path", "degraded"]
        ),
        values,
    ),
    seconds=st.integers(-(2**40), 2**40),
    nanos=st.integers(-(2**31), 2**31 - 1),
    count=st.integers(0, 2**32 - 1),
)
def test_values_of_the_wrong_kind_never_raise(fields: dict[str, object], seconds: int, nanos: int, count: int) -> None:
    """A ticket with other types, times out of range, numbers that are none: the rest is read."""
    spaces = ("router", "router.attempt", "router.usage", "router.request", "router.state")
    entry = request_entry("d-1", metadata=dict.fromkeys(spaces, fields))
    common = entry.common_properties
    common.start_time.seconds, common.start_time.nanos = seconds, nanos
    common.duration.seconds, common.duration.nanos = seconds, nanos
    common.time_to_first_upstream_rx_byte.CopyFrom(common.duration)
    common.upstream_request_attempt_count = count
    check_readable(entry)


@given(seconds=st.integers(1, 253_402_300_799), nanos=st.integers(0, 999_999_999))
def test_a_start_is_read_as_the_message_itself_would_read_it(seconds: int, nanos: int) -> None:
    """To the microsecond, from 1970 to the year 9999."""
    entry = request_entry("d-1")
    start = entry.common_properties.start_time
    start.seconds, start.nanos = seconds, nanos
    request = read_request(entry, NOW)
    assert request is not None
    assert request.started_at == start.ToDatetime(UTC)
