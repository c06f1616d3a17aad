"""How long an attempt may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.policy.timing import attempt_timeout
from router_extproc.registry.snapshot import Route


@pytest.mark.parametrize(
    ("deadline", "attempt", "attempts", "expected"),
    [
        (600_000, None, 4, 120_000),
        (600_000, None, 1, 120_000),
        (600_000, 10_000, 4, 10_000),
        (3_000, None, 1, 3_000),
        (3_000, None, 2, 1_470),
        (3_000, 2_000, 3, 1_470),
        (3_000, 1_000, 3, 980),
        (3_000, 9_000, 1, 3_000),
    ],
)
def test_attempts_of_a_stream(deadline: int, attempt: int | None, attempts: int, expected: int) -> None:
    """They are as long as the file says where all of them fit, and otherwise shortened until some do."""
    route = Route(name="r", deadline_ms=deadline, attempt_timeout_ms=attempt)
    assert attempt_timeout(route, stream=True, attempts=attempts) == expected


def test_a_plain_call_is_bounded_by_its_deadline() -> None:
    """Its attempts are limited only where the file says so, and never beyond the deadline."""
    assert attempt_timeout(Route(name="r"), stream=False, attempts=4) is None
    assert attempt_timeout(Route(name="r", attempt_timeout_ms=5, deadline_ms=9), stream=False, attempts=4) == 5
    assert attempt_timeout(Route(name="r", attempt_timeout_ms=50, deadline_ms=9), stream=False, attempts=4) == 9


def test_no_attempt_of_a_stream_is_longer_than_its_silence_may_be() -> None:
    """A short idle timeout is one for the time before the first byte too."""
    assert attempt_timeout(Route(name="r", stream_idle_ms=5_000), stream=True, attempts=4) == 5_000
    longer = Route(name="r", stream_idle_ms=5_000, attempt_timeout_ms=9_000)
    assert attempt_timeout(longer, stream=True, attempts=1) == 5_000
    assert attempt_timeout(longer, stream=False, attempts=1) == 9_000


@given(st.integers(100, 10**7), st.none() | st.integers(1, 10**7), st.integers(2, 10))
def test_a_second_attempt_of_a_stream_always_fits(deadline: int, attempt: int | None, attempts: int) -> None:
    """After a first attempt that took all its time there is time for another one before the deadline."""
    route = Route(name="r", deadline_ms=deadline, attempt_timeout_ms=attempt)
    limit = attempt_timeout(route, stream=True, attempts=attempts)
    assert limit is not None
    assert 2 * limit < deadline
