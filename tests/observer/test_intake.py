"""Entries feed health as they come, records as they become complete; one odd entry costs nothing but itself."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from prometheus_client import CollectorRegistry

from router_extproc.observer import intake as intake_module
from router_extproc.observer.health import Breakers
from router_extproc.observer.intake import Intake
from router_extproc.observer.metrics import Metrics
from router_extproc.observer.options import Cooling
from router_extproc.observer.records import DecisionRecord
from router_extproc.registry.snapshot import Registry
from tests.observer.entries import REGISTRY, STARTED_AT, attempt_entry, request_entry

NOW = STARTED_AT + 1


class Desk:
    """An intake with everything it needs, and what came out of it."""

    def __init__(self) -> None:
        self.now = NOW
        self.records: list[DecisionRecord] = []
        probes = (f"probe-{number}" for number in itertools.count())
        self.breakers = Breakers(Cooling(failures=2), lambda: next(probes))
        self.metrics = Metrics()
        self.intake = Intake(self.breakers, self.metrics, self.records.append)
        self.intake.know(REGISTRY)

    def attempts(self, *entries: HTTPAccessLogEntry) -> None:
        self.intake.take("attempts", entries, self.now)

    def requests(self, *entries: HTTPAccessLogEntry) -> None:
        self.intake.take("requests", entries, self.now)

    def pass_time(self, seconds: float) -> None:
        """Tenth of a second by tenth of a second, as the observer does."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.intake.pass_time(self.now)

    def states(self) -> dict[str, str]:
        self.pass_time(0.3)
        return {name: health.state for name, health in self.breakers.view(NOW).items()}

    def count(self, name: str, **labels: str) -> float | None:
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value(name, labels)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_attempt_counts_before_its_request_ends(desk: Desk) -> None:
    """A rate limit is known to deciders long before the stream that followed it is over."""
    desk.attempts(attempt_entry("d", "openai/gpt-4o", status=429))
    assert desk.states() == {"openai/gpt-4o": "open"}
    assert desk.records == []


def test_a_timeout_that_only_the_request_tells_counts(desk: Desk) -> None:
    """Envoy's overall timeout leaves no mark on the attempt itself."""
    for number in range(2):
        desk.attempts(attempt_entry(f"d-{number}", "openai/gpt-4o", status=0, first_byte_ms=None))
        desk.requests(request_entry(f"d-{number}", status=504, flags=("upstream_request_timeout",), details="response_timeout"))
    assert [record.attempts[0].cause for record in desk.records] == ["timeout", "timeout"]
    assert desk.states() == {"openai/gpt-4o": "open"}
    assert desk.count("router_attempts_total", deployment="openai/gpt-4o", status="0", cause="timeout") == 2


def test_a_stream_that_only_looks_complete_is_a_failure(desk: Desk) -> None:
    """Envoy's Lua saw that the last event was missing; to Envoy itself every attempt was a success."""
    for number in range(2):
        desk.attempts(attempt_entry(f"d-{number}", "openai/gpt-4o"))
        desk.requests(request_entry(f"d-{number}", metadata={"router.attempt": {"incomplete": True}}))
    assert [(record.status, record.cause, record.attempts[0].cause) for record in desk.records] == [
        (200, "incomplete_stream", "incomplete_stream")
    ] * 2
    assert desk.states() == {"openai/gpt-4o": "open"}
    assert desk.count("router_attempts_total", deployment="openai/gpt-4o", status="200", cause="incomplete_stream") == 2


def test_clients_that_leave_do_not_hurt_a_provider(desk: Desk) -> None:
    """However many hang up, before or in the middle of the answer."""
    for number in range(40):
        status = 200 * (number % 2)
        desk.attempts(attempt_entry(f"d-{number}", "openai/gpt-4o", status=status, complete=False))
        flags = ("downstream_connection_termination",)
        desk.requests(request_entry(f"d-{number}", status=status, flags=flags, details="downstream_remote_disconnect"))
    assert desk.states() == {"openai/gpt-4o": "closed"}
    assert {record.cause for record in desk.records} == {"client_disconnected"}
    assert desk.breakers.view(NOW)["openai/gpt-4o"].failure_ratio == 0


def test_failures_are_in_a_row_only_if_nothing_went_well_between_them(desk: Desk) -> None:
    """Failures are known from their own entries, successes only from their requests': that is no reason to cool down."""
    model = "openai/gpt-4o"

    def failures(name: str, first: float) -> list[HTTPAccessLogEntry]:
        starts = [STARTED_AT + first + number / 100 for number in range(4)]
        return [attempt_entry(f"{name}-{at}", model, status=500, started_at=at, total_ms=1.0) for at in starts]

    starts = [STARTED_AT + 0.005 + number / 100 for number in range(4)]
    desk.attempts(*failures("f", 0), *(attempt_entry(f"s-{at}", model, started_at=at, total_ms=1.0) for at in starts))
    desk.requests(*(request_entry(f"s-{at}") for at in starts))
    assert desk.states() == {model: "closed"}
    desk.attempts(*failures("g", 0.5))
    assert desk.states() == {model: "open"}


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422])
def test_bad_requests_do_not_hurt_a_provider(desk: Desk, status: int) -> None:
    """However many a caller sends."""
    desk.attempts(*(attempt_entry(f"d-{number}", "openai/gpt-4o", status=status) for number in range(40)))
    assert desk.states() == {"openai/gpt-4o": "closed"}


def test_a_refused_deadline_is_no_attempt_on_the_provider(desk: Desk) -> None:
    """Envoy's Lua answered in its place: the deployment never saw the request, and nothing moved to it."""
    desk.attempts(
        attempt_entry("d", "openai/gpt-4o", status=503),
        attempt_entry("d", "azure/gpt-4o", number=2, status=0, first_byte_ms=None),
    )
    desk.requests(request_entry("d", status=504, attempts=2, details="lua_response"))
    assert [attempt.cause for attempt in desk.records[0].attempts] == ["server_error", "not_sent"]
    desk.states()
    assert desk.breakers.view(NOW)["azure/gpt-4o"].consecutive_failures == 0
    assert (
        desk.count("router_fallbacks_total", **{"from": "openai/gpt-4o", "to": "azure/gpt-4o", "cause": "server_error"}) is None
    )


def test_what_waits_goes_out_in_time(desk: Desk) -> None:
    """A request whose attempt was lost is recorded after the hold, and at the latest when the process ends."""
    desk.requests(request_entry("d-1"))
    desk.pass_time(0.5)
    assert desk.records == []
    desk.pass_time(1.0)
    desk.requests(request_entry("d-2"))
    desk.intake.finish(desk.now)
    assert [record.id for record in desk.records] == ["d-1", "d-2"]


def test_a_standstill_loses_nothing(desk: Desk) -> None:
    """What came while this process stood still is read before anybody says that it did not come."""
    desk.requests(request_entry("d-1"))
    desk.now += 60
    desk.pass_time(0.3)
    desk.attempts(attempt_entry("d-1", "openai/gpt-4o"))
    assert [[attempt.cause for attempt in record.attempts] for record in desk.records] == [["none"]]
    assert desk.intake.join.late == 0


def test_an_entry_that_cannot_be_read_costs_only_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its message are taken; it is counted."""
    real = intake_module.read_request

    def read_but_one(entry: HTTPAccessLogEntry, now: float) -> object:
        if entry.request.request_id == "odd":
            raise ValueError("odd")
        return real(entry, now)

    monkeypatch.setattr(intake_module, "read_request", read_but_one)
    desk.requests(*(request_entry(decision, attempts=0) for decision in ("a", "odd", "b")))
    assert [record.id for record in desk.records] == ["a", "b"]
    assert desk.count("router_observer_unreadable_entries_total") == 1


def test_entries_of_an_unknown_log_are_counted(desk: Desk) -> None:
    """Another log sent here by mistake is no request."""
    desk.intake.take("tcp", [request_entry("d", attempts=0)], NOW)
    assert desk.records == []
    assert desk.count("router_observer_unreadable_entries_total") == 1


def test_empty_entries_are_survived(desk: Desk) -> None:
    """An entry with nothing in it is a request with nothing known, and no attempt."""
    desk.attempts(HTTPAccessLogEntry())
    desk.requests(HTTPAccessLogEntry())
    assert [(record.id, record.status, record.cause) for record in desk.records] == [("", 0, "undetermined")]


def test_a_reload_forgets_what_is_gone(desk: Desk) -> None:
    """Health of a deployment that no longer exists is not shown."""
    desk.attempts(attempt_entry("d", "openai/gpt-4o", status=503))
    assert desk.states() == {"openai/gpt-4o": "closed"}
    desk.intake.know(Registry())
    assert desk.states() == {}


def take_answers(desk: Desk, own: dict[str, str], deployment: str = "openai/gpt-4o", **more: Any) -> None:
    """As many answers as a ratio takes, to prompts that were 1,200 tokens to their provider."""
    metadata = {"router.request": own, "router.usage": {"prompt_tokens": 1200, "completion_tokens": 10}}
    for number in range(20):
        decision = f"{own}-{deployment}-{more}-{number}"
        desk.attempts(attempt_entry(decision, deployment))
        desk.requests(request_entry(decision, deployment, metadata=metadata, **more))


def test_answers_teach_how_a_model_counts(desk: Desk) -> None:
    """The estimate of the ticket is compared with the provider's count, for the model behind the deployment."""
    take_answers(desk, {})
    take_answers(desk, {"text_tokens": "many"})
    take_answers(desk, {"text_tokens": "1000"}, "gone/model")
    take_answers(desk, {"text_tokens": "1000"}, flags=("downstream_connection_termination",))
    assert desk.intake.token_ratios.view() == {}
    take_answers(desk, {"text_tokens": "1000"})
    assert desk.intake.token_ratios.view() == {"gpt-4o": 1.2}
    desk.intake.know(Registry())
    assert desk.intake.token_ratios.view() == {}
