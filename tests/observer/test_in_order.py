"""Attempts are learned in the order in which they ended, each once, and none holds up the others for long."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.observer.in_order import PATIENCE_SECONDS, REORDER_SECONDS, InOrder
from router_extproc.observer.records import AttemptRecord

START = 1_000_000.0


def attempt(at: float, cause: str = "none", deployment: str = "a") -> AttemptRecord:
    """One that started and ended so many seconds after the start."""
    started_at = datetime.fromtimestamp(START + at, UTC)
    return AttemptRecord(deployment=deployment, number=1, started_at=started_at, total_ms=0.0, cause=cause)


class Learned(list[tuple[str, str]]):
    """What was learned: deployment and cause."""

    def __call__(self, record: AttemptRecord) -> None:
        self.append((record.deployment, record.cause))


@given(st.permutations(range(8)), st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_whatever_the_order_of_arrival(arrival: list[int], settling: list[int], unsettled: set[int]) -> None:
    """Settled or not when they came, and whenever they were: they are given out by the time of their end."""
    learned = Learned()
    queue = InOrder(learned)
    for number in arrival:
        queue.arrived(str(number), attempt(number / 100, f"cause-{number}"), START + 0.1, is_settled=number not in unsettled)
    queue.pass_time(START + 0.1)
    for number in settling:
        if number in unsettled:
            queue.settled(str(number), attempt(number / 100, f"cause-{number}"))
    queue.pass_time(START + 0.1 + REORDER_SECONDS)
    assert learned == [("a", f"cause-{number}") for number in range(8)]


def test_an_unsettled_attempt_holds_up_its_own_deployment_alone() -> None:
    """Another deployment's failures are learned meanwhile."""
    learned = Learned()
    queue = InOrder(learned)
    queue.arrived("slow", attempt(0.0), START, is_settled=False)
    queue.arrived("same", attempt(0.1, "server_error"), START, is_settled=True)
    queue.arrived("other", attempt(0.1, "timeout", "b"), START, is_settled=True)
    queue.pass_time(START + REORDER_SECONDS)
    assert learned == [("b", "timeout")]


def test_nobody_is_waited_for_longer_than_patience() -> None:
    """An outcome that does not come is given up; when it comes after all it is learned then."""
    learned = Learned()
    queue = InOrder(learned)
    queue.arrived("lost", attempt(0.0), START, is_settled=False)
    queue.arrived("next", attempt(0.1, "server_error"), START, is_settled=True)
    queue.pass_time(START + PATIENCE_SECONDS)
    assert learned == [("a", "server_error")]
    queue.settled("lost", attempt(0.0, "timeout"))
    assert learned == [("a", "server_error"), ("a", "timeout")]


def test_what_ended_long_ago_waits_for_what_ended_before_it() -> None:
    """After a standstill everything ended long ago, and one thread's failures come before another's successes."""
    learned = Learned()
    queue = InOrder(learned)
    late = START + 60
    for number in (0, 2):
        queue.arrived(f"failed-{number}", attempt(number, "server_error"), late, is_settled=True)
    queue.pass_time(late)
    assert learned == []
    for number in (1, 3):
        queue.arrived(f"went-well-{number}", attempt(number), late + 0.1, is_settled=True)
    queue.pass_time(late + 0.1 + REORDER_SECONDS)
    assert [cause for _, cause in learned] == ["server_error", "none"] * 2


def test_a_clock_that_is_ahead_holds_nothing_up() -> None:
    """An attempt that seems to end in the future waits no longer than any other."""
    learned = Learned()
    queue = InOrder(learned)
    queue.arrived("future", attempt(3_600.0, "server_error"), START, is_settled=True)
    queue.pass_time(START + REORDER_SECONDS)
    assert learned == [("a", "server_error")]


def test_the_end_gives_out_what_is_known() -> None:
    """When the process ends nothing that is settled is lost."""
    learned = Learned()
    queue = InOrder(learned)
    queue.arrived("unknown", attempt(0.0), START, is_settled=False)
    queue.arrived("known", attempt(0.1, "server_error"), START, is_settled=True)
    queue.finish()
    assert learned == [("a", "server_error")]
