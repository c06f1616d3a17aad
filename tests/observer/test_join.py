"""Entries come in any order over two streams; each request is given out once, with all attempts that came in time."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.join import HOLD_SECONDS, Join, Joined
from router_extproc.observer.records import AttemptRecord, RequestRecord

START = datetime(2026, 11, 21, tzinfo=UTC)


def attempt(number: int, *, status: int = 200, cause: str = "none", deployment: str = "a") -> AttemptRecord:
    return AttemptRecord(
        deployment=deployment, number=number, status=status, cause=cause, started_at=START + timedelta(milliseconds=number)
    )


def request(decision: str = "d", attempts: int = 1, **values: object) -> RequestRecord:
    return RequestRecord(id=decision, started_at=START, attempt_count=attempts, **values)  # type: ignore[arg-type]


def show(joined: Joined | None) -> str | None:
    """``d: 1 2`` for decision d with attempts 1 and 2."""
    return None if joined is None else f"{joined.request.id}: " + " ".join(str(each.number) for each in joined.attempts)


@pytest.mark.parametrize("order", list(itertools.permutations(["1", "2", "r"])))
def test_the_last_entry_completes_the_record(order: tuple[str, ...]) -> None:
    """Whatever comes last gives out the record, with the attempts in the order in which they were made."""
    join = Join()
    given_out = [
        join.request(request(attempts=2), 0.0) if entry == "r" else join.attempt("d", attempt(int(entry)), 0.0)
        for entry in order
    ]
    assert [show(joined) for joined in given_out] == [None, None, "d: 1 2"]
    assert len(join) == 0


def test_a_refused_request_waits_for_nobody() -> None:
    """No attempt was made, so the record is complete at once."""
    assert show(Join().request(request(attempts=0), 0.0)) == "d: "


def test_a_request_without_an_id_is_given_out_alone() -> None:
    """What Envoy could not even parse has no id to join by."""
    join = Join()
    assert show(join.request(request("", attempts=1), 0.0)) == ": "
    assert join.attempt("", attempt(1), 0.0) is None
    assert (len(join), join.orphans) == (0, 1)


def test_a_missing_attempt_is_waited_for_only_so_long() -> None:
    """After the hold the record goes out with what came; what comes later is counted and dropped."""
    join = Join()
    join.attempt("d", attempt(2), 10.0)
    join.request(request(attempts=2), 10.0)
    assert join.due(10.0 + HOLD_SECONDS - 0.01) == []
    assert [show(joined) for joined in join.due(10.0 + HOLD_SECONDS)] == ["d: 2"]
    assert join.attempt("d", attempt(1), 12.0) is None
    assert (len(join), join.late) == (0, 1)
    assert join.due(100.0) == []


def test_attempts_wait_for_a_long_stream() -> None:
    """A failed first attempt is still there when the request ends an hour later."""
    join = Join()
    join.attempt("d", attempt(1), 0.0)
    assert join.due(3_600.0) == []
    join.attempt("d", attempt(2), 3_600.0)
    assert show(join.request(request(attempts=2), 3_600.0)) == "d: 1 2"


def test_orphans_expire() -> None:
    """Attempts whose request never comes are forgotten after hours, and counted."""
    join = Join()
    join.attempt("d", attempt(1), 0.0)
    join.due(5 * 3_600.0)
    assert (len(join), join.orphans) == (0, 1)


def test_memory_is_bounded() -> None:
    """Beyond the capacity the oldest goes, and no request collects attempts without end."""
    join = Join(capacity=10)
    for number in range(100):
        join.attempt(f"d-{number}", attempt(1), 0.0)
    assert (len(join), join.orphans) == (10, 90)
    join = Join()
    for number in range(1_000):
        join.attempt("d", attempt(number + 1), 0.0)
    joined = join.request(request(attempts=1_000), 0.0)
    assert joined is None
    [joined] = join.rest()
    assert len(joined.attempts) == 32


def test_what_has_a_request_is_given_out_at_the_end() -> None:
    """A process that ends loses no request that it knows of."""
    join = Join()
    join.request(request("with", attempts=2), 0.0)
    join.attempt("without", attempt(1), 0.0)
    assert [show(joined) for joined in join.rest()] == ["with: "]


@pytest.mark.parametrize(
    ("values", "status", "cause"),
    [
        ({"details": "lua_response", "status": 504, "cause": "server_error"}, 0, "not_sent"),
        ({"cause": "client_disconnected"}, 0, "client_disconnected"),
        ({"cause": "client_disconnected", "status": 200}, 200, "client_disconnected"),
        ({"flags": ("upstream_request_timeout",), "cause": "timeout", "status": 504}, 0, "timeout"),
        ({"flags": ("stream_idle_timeout",), "cause": "timeout", "status": 200}, 200, "timeout"),
        ({"cause": "reset", "status": 200}, 200, "reset"),
        ({"cause": "none", "status": 200}, 200, "none"),
        ({"cause": "none", "status": 200}, 0, "undetermined"),
        ({"cause": "server_error", "status": 503}, 0, "undetermined"),
    ],
)
def test_the_request_tells_what_its_last_attempt_could_not(values: dict[str, object], status: int, cause: str) -> None:
    """Whether the client went, the time was over or nothing was sent stands in the request's entry only."""
    join = Join()
    join.attempt("d", attempt(1, cause="rate_limited", status=429), 0.0)
    join.attempt("d", attempt(2, cause="undetermined", status=status), 0.0)
    joined = join.request(request(attempts=2, **values), 0.0)
    assert joined is not None
    assert [each.cause for each in joined.attempts] == ["rate_limited", cause]
    assert [each.number for each in joined.settled] == [2]


@given(st.permutations([(decision, kind) for decision in "abc" for kind in ("r", 1, 2, 3)]))
def test_any_interleaving_gives_each_request_once(order: list[tuple[str, str | int]]) -> None:
    """Three requests of three attempts each, in any order: three records, each complete."""
    join, given_out = Join(), []
    for decision, kind in order:
        if isinstance(kind, int):
            given_out.append(join.attempt(decision, attempt(kind), 0.0))
        else:
            given_out.append(join.request(request(decision, attempts=3), 0.0))
    assert sorted(show(joined) for joined in given_out if joined is not None) == ["a: 1 2 3", "b: 1 2 3", "c: 1 2 3"]
    assert len(join) == 0


def test_a_request_that_was_forgotten_does_not_come_back_as_its_attempts() -> None:
    """What went for want of room, and then got an attempt more, is an attempt without its request."""
    join = Join(capacity=1)
    join.request(request("d", attempts=2), 0.0)
    join.attempt("e", attempt(1), 0.1)
    join.attempt("d", attempt(2), 0.2)
    assert join.due(HOLD_SECONDS + 0.5) == []
    assert len(join) == 1
