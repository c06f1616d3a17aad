"""Joins the entries of Envoy's two logs by decision id. Pure: time comes in as an argument.

Envoy sends each log over a stream of its own, so a request's entry may overtake those of its attempts, and an attempt
that failed early comes long before the end of the request it belongs to.

Rules of this file
- What is kept is bounded: by ``capacity`` in number and by ``_ORPHAN_SECONDS`` in time.
- A record is given out once; an attempt that comes later is counted and dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

import msgspec

from router_extproc.observer import causes
from router_extproc.observer.records import AttemptRecord, RequestRecord

HOLD_SECONDS = 1.0
# Attempts wait for the end of their request, and the longest streams run for hours.
_ORPHAN_SECONDS = 4 * 3_600.0
_CAPACITY = 100_000
# More attempts than any chain has: what is beyond belongs to something else.
_MOST_ATTEMPTS = 32

_TIMEOUT_FLAGS = frozenset({"upstream_request_timeout", "stream_idle_timeout", "duration_timeout"})


@dataclass(frozen=True)
class Joined:
    """A request and its attempts in the order in which they were made.

    ``settled`` are those that the request's entry was needed to judge.
    """

    request: RequestRecord
    attempts: tuple[AttemptRecord, ...]
    settled: tuple[AttemptRecord, ...] = ()


@dataclass
class _Pending:
    since: float
    request: RequestRecord | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)


class Join:
    """Takes entries in any order and gives out what is complete, or has waited ``hold_seconds`` to be.

    ``orphans`` counts attempts whose request never came, ``late`` attempts that came after their record was given out.
    """

    def __init__(self, *, hold_seconds: float = HOLD_SECONDS, capacity: int = _CAPACITY) -> None:
        self._hold_seconds, self._capacity = hold_seconds, capacity
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._held: deque[tuple[float, str]] = deque()
        self._given: OrderedDict[str, None] = OrderedDict()
        self.orphans = 0
        self.late = 0

    def __len__(self) -> int:
        """How many decisions are waiting for something."""
        return len(self._pending)

    def attempt(self, decision: str, attempt: AttemptRecord, now: float) -> Joined | None:
        """Takes an attempt; the record, if this completes it. ``now`` is in seconds on any clock that never goes back."""
        if not decision:
            self.orphans += 1
            return None
        if decision in self._given:
            self.late += 1
            return None
        pending = self._waiting(decision, now)
        if len(pending.attempts) < _MOST_ATTEMPTS:
            pending.attempts.append(attempt)
        if pending.request is not None and len(pending.attempts) >= pending.request.attempt_count:
            return self._give(decision)
        return None

    def request(self, request: RequestRecord, now: float) -> Joined | None:
        """Takes a request; the record, if its attempts are all here."""
        if not request.id:
            return Joined(request, ())
        if request.id in self._given:
            self.late += 1
            return None
        pending = self._waiting(request.id, now)
        pending.request = request
        if len(pending.attempts) >= request.attempt_count:
            return self._give(request.id)
        self._held.append((now + self._hold_seconds, request.id))
        return None

    def due(self, now: float) -> list[Joined]:
        """The records whose attempts were waited for long enough; forgets what never became one."""
        due = []
        while self._held and self._held[0][0] <= now:
            _, decision = self._held.popleft()
            pending = self._pending.get(decision)
            # Forgotten for want of room, it may wait here again for want of its request.
            if pending is not None and pending.request is not None:
                due.append(self._give(decision))
        while self._pending:
            decision, pending = next(iter(self._pending.items()))
            if now - pending.since < _ORPHAN_SECONDS:
                break
            self._forget(decision)
        return due

    def rest(self) -> list[Joined]:
        """Everything that has a request, complete or not: the process ends."""
        return [self._give(decision) for decision, pending in list(self._pending.items()) if pending.request is not None]

    def _waiting(self, decision: str, now: float) -> _Pending:
        pending = self._pending.get(decision)
        if pending is None:
            if len(self._pending) >= self._capacity:
                self._forget(next(iter(self._pending)))
            pending = self._pending[decision] = _Pending(now)
        return pending

    def _forget(self, decision: str) -> None:
        self.orphans += len(self._pending.pop(decision).attempts)

    def _give(self, decision: str) -> Joined:
        pending = self._pending.pop(decision)
        self._given[decision] = None
        if len(self._given) > self._capacity // 10:
            self._given.popitem(last=False)
        if pending.request is None:
            msg = "only a decision whose request has come is given out"
            raise RuntimeError(msg)
        came = sorted(pending.attempts, key=lambda attempt: (attempt.number or _MOST_ATTEMPTS, attempt.started_at))
        attempts = tuple(_settle(attempt, pending.request) for attempt in came)
        settled = tuple(attempt for attempt, before in zip(attempts, came, strict=True) if before.cause in causes.UNSETTLED)
        return Joined(pending.request, attempts, settled)


def _settle(attempt: AttemptRecord, request: RequestRecord) -> AttemptRecord:
    """The attempt with the cause that only the request's entry tells."""
    if attempt.cause == causes.NONE and request.cause == causes.INCOMPLETE_STREAM:
        # To Envoy the answer was complete.
        return msgspec.structs.replace(attempt, cause=causes.INCOMPLETE_STREAM)
    if attempt.cause != causes.UNDETERMINED:
        return attempt
    cause = causes.UNDETERMINED
    if request.details == "lua_response":
        cause = causes.NOT_SENT
    elif request.cause == causes.CLIENT_DISCONNECTED:
        cause = causes.CLIENT_DISCONNECTED
    elif not _TIMEOUT_FLAGS.isdisjoint(request.flags):
        cause = causes.TIMEOUT
    elif request.cause == causes.RESET:
        cause = causes.RESET
    elif attempt.status and causes.cause_of(attempt.status, frozenset()) == causes.NONE and request.cause == causes.NONE:
        cause = causes.NONE
    return msgspec.structs.replace(attempt, cause=cause)
