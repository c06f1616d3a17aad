import gc
import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.simulator.faults import (
    HEALTHY,
    FaultCursor,
    Faults,
    FaultScript,
    LogNormal,
    SimulateHeaderError,
    closes_port,
    draw_seconds,
    failing_status,
    overlay,
    parse_simulate_header,
)


def test_one_set_of_faults_holds_for_every_request() -> None:
    """Without `times` a deployment stays as it is."""
    cursor = FaultCursor(Faults(status=500))
    assert [cursor.take().status for _ in range(3)] == [500, 500, 500]


def test_a_script_is_taken_in_order_and_ends_healthy() -> None:
    """Each entry serves its `times` requests, then the next does, then the provider is well."""
    cursor = FaultCursor((Faults(status=429, times=2), Faults(times=0, status=400), Faults(empty=True, times=1)))
    taken = [cursor.take() for _ in range(4)]
    assert [(faults.status, faults.empty) for faults in taken] == [(429, False), (429, False), (None, True), (None, False)]


def test_a_key_of_its_own_takes_its_own_turns() -> None:
    """Faults of one key leave the others alone, and those do not use them up."""
    cursor = FaultCursor(Faults(status=429, only_key="one", times=1))
    assert [cursor.take(key).status for key in ("two", "one", "two", "one")] == [None, 429, None, None]


@pytest.mark.parametrize(
    ("script", "closed"),
    [
        (Faults(refuse=True), True),
        (Faults(refuse=True, only_key="one"), False),
        (Faults(refuse=True, times=1), False),
        ((Faults(refuse=True),), True),
        ((Faults(), Faults(refuse=True)), False),
        ((), False),
        (HEALTHY, False),
    ],
)
def test_only_an_unbounded_refusal_closes_the_port(script: FaultScript, *, closed: bool) -> None:
    """A refusal that must be counted needs an open port."""
    assert closes_port(script) is closed


def test_the_header_overlays_only_what_it_writes() -> None:
    """A request that scripts a status leaves the deployment's own latency alone."""
    base = Faults(latency_ms=50, tokens=9, times=3)
    script = parse_simulate_header(b'{"main": {"status": 429, "tokens": 2}, "*": {"empty": true}}')
    assert overlay(base, script, "main") == Faults(latency_ms=50, tokens=2, status=429)
    assert overlay(base, script, "other") == Faults(latency_ms=50, tokens=9, empty=True)


def test_a_header_that_names_others_changes_nothing() -> None:
    """Without an entry of its own and without `*` a deployment stays as it is."""
    base = Faults(status=503, times=3)
    assert overlay(base, parse_simulate_header(b'{"other": {}}'), "main") is base


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"main": {"colour": 1}}', "unknown field `colour`"),
        (b'{"main": {"status": 200}}', "status"),
        (b'{"main": {"latency_ms": [5]}}', "latency_ms"),
        (b'{"main": {"latency_ms": -1}}', "latency_ms"),
        (b'{"main": {"hang": "soon"}}', "hang"),
        (b'{"main": {"times": 1}}', "`times`"),
        (b'{"main": {"only_key": "one"}}', "`only_key`"),
        (b'{"main": \xff}', "x-simulate"),
    ],
)
def test_a_bad_header_is_refused_with_its_reason(header: bytes, says: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(SimulateHeaderError, match="x-simulate") as caught:
        parse_simulate_header(header)
    assert says in str(caught.value)


@given(st.binary(max_size=64))
def test_no_header_raises_anything_else(header: bytes) -> None:
    """Foreign bytes are either a script or refused."""
    try:
        parse_simulate_header(header)
    except SimulateHeaderError:
        return


def test_delays_are_fixed_between_bounds_or_log_normal() -> None:
    """Each way to write milliseconds gives seconds of that distribution."""
    generator = random.Random(7)  # noqa: S311 -- repeatable chance
    assert draw_seconds(250, generator) == 0.25
    drawn = [draw_seconds((100, 200), generator) for _ in range(500)]
    assert 0.1 <= min(drawn) < 0.11
    assert 0.19 < max(drawn) <= 0.2
    skewed = sorted(draw_seconds(LogNormal(median=100, sigma=1), generator) for _ in range(2001))
    assert math.isclose(skewed[1000], 0.1, rel_tol=0.15)
    assert skewed[-1] > 5 * skewed[1000]


def test_error_rate_fails_its_share() -> None:
    """Of many requests about the share fails, with the status written or else 500."""
    generator = random.Random(7)  # noqa: S311 -- repeatable chance
    statuses = [failing_status(Faults(error_rate=0.25), generator) for _ in range(4000)]
    assert set(statuses) == {None, 500}
    assert 900 < statuses.count(500) < 1100
    assert failing_status(Faults(error_rate=1, status=503), generator) == 503
    assert failing_status(Faults(error_rate=0, status=503), generator) is None


def test_faults_read_from_json_survive_a_garbage_collection() -> None:
    """The types built for reading are whole; a crash here would be the interpreter's."""
    script = msgspec.json.decode(b'[{"latency_ms": [1, 2], "times": 1}, {"inter_token_ms": {"median": 3}}]', type=FaultScript)
    gc.collect()
    assert script == (Faults(latency_ms=(1, 2), times=1), Faults(inter_token_ms=LogNormal(median=3)))
