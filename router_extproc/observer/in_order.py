"""Attempts in the order in which they ended, for what counts failures in a row. Pure: time comes in as an argument.

Each thread of Envoy sends its entries in batches, and of a good answer only its request's entry, in another batch, tells
that it was good. In the order of their arrival all failures of a busy moment would stand in a row.

Times are in seconds on a clock that never goes back. How long ago an attempt ended says nothing about what is still to come:
after a standstill everything ended long ago, and comes one after the other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from router_extproc.observer.records import AttemptRecord

# Longer than Envoy keeps a batch (buffer_flush_interval, 0.1 s): then nothing that ended earlier is still to come.
REORDER_SECONDS = 0.15
# An attempt whose outcome is not known by then must not hold up the others.
PATIENCE_SECONDS = 1.0

Identity = tuple[str, int | None, float]


@dataclass(order=True)
class _Waiting:
    ended_at: float
    sequence: int
    since: float = field(compare=False)
    identity: Identity = field(compare=False)
    outcome: AttemptRecord | None = field(compare=False, default=None)


class InOrder:
    """Gives each attempt to ``learn`` once it is settled and all that ended before it on its deployment were given."""

    def __init__(self, learn: Callable[[AttemptRecord], None]) -> None:
        self._learn = learn
        self._queues: dict[str, list[_Waiting]] = {}
        self._unsettled: dict[Identity, _Waiting] = {}
        self._sequence = 0

    def arrived(self, decision: str, attempt: AttemptRecord, now: float, *, is_settled: bool) -> None:
        """Takes an attempt whose entry has come."""
        self._sequence += 1
        waiting = _Waiting(attempt.ended_at, self._sequence, now, _identity(decision, attempt))
        if is_settled:
            waiting.outcome = attempt
        else:
            self._unsettled[waiting.identity] = waiting
        heapq.heappush(self._queues.setdefault(attempt.deployment, []), waiting)

    def settled(self, decision: str, attempt: AttemptRecord) -> None:
        """Takes the outcome of an attempt that came unsettled. One that was not waited for is learned at once."""
        waiting = self._unsettled.pop(_identity(decision, attempt), None)
        if waiting is None:
            self._learn(attempt)
        else:
            waiting.outcome = attempt

    def pass_time(self, now: float) -> None:
        """Gives out what is due."""
        for deployment, queue in list(self._queues.items()):
            while queue and self._is_due(queue[0], now):
                self._give(heapq.heappop(queue))
            if not queue:
                del self._queues[deployment]

    def finish(self) -> None:
        """Gives out all that is settled: the process ends."""
        for queue in self._queues.values():
            while queue:
                self._give(heapq.heappop(queue))
        self._queues.clear()

    @staticmethod
    def _is_due(waiting: _Waiting, now: float) -> bool:
        return now - waiting.since >= (PATIENCE_SECONDS if waiting.outcome is None else REORDER_SECONDS)

    def _give(self, waiting: _Waiting) -> None:
        if waiting.outcome is None:
            self._unsettled.pop(waiting.identity, None)
        else:
            self._learn(waiting.outcome)


def _identity(decision: str, attempt: AttemptRecord) -> Identity:
    return decision, attempt.number, attempt.started_at.timestamp()
