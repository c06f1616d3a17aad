"""What happens to each access log entry: attempts feed health, joined requests become records, both are counted.

A failed attempt counts at once, for its request may go on for minutes; one that was answered ends with its request.

No network, no files, and time comes in as an argument: the server gives what Envoy sent, and writes what comes out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Protocol

from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry

from router_extproc.observer import causes
from router_extproc.observer.access_log import ATTEMPTS_LOG, REQUESTS_LOG, read_attempt, read_request
from router_extproc.observer.compose import compose
from router_extproc.observer.health import Breakers, evidence_of
from router_extproc.observer.in_order import InOrder
from router_extproc.observer.join import Join, Joined
from router_extproc.observer.known_names import KnownNames
from router_extproc.observer.records import AttemptRecord, DecisionRecord
from router_extproc.observer.token_ratios import TokenRatios
from router_extproc.registry.snapshot import Registry

# Between two looks at the clock, at most: what is longer was a standstill, in which nothing could be read.
_LONGEST_WAIT_SECONDS = 0.1

_log = logging.getLogger(__name__)


class Meters(Protocol):
    """Where figures are counted."""

    def attempt(self, attempt: AttemptRecord, names: KnownNames) -> None:
        """One attempt, its cause known."""

    def decision(self, record: DecisionRecord, names: KnownNames, received_at: float) -> None:
        """One request with all that is known about it."""

    def unreadable(self, count: int) -> None:
        """Entries that could not be read."""


class Intake:
    """Takes entries; records go to ``keep`` in the order in which they become complete."""

    def __init__(self, breakers: Breakers, meters: Meters, keep: Callable[[DecisionRecord], None]) -> None:
        self._breakers, self._meters, self._keep = breakers, meters, keep
        self.names = KnownNames(Registry())
        self.join = Join()
        self.token_ratios = TokenRatios()
        self._in_order = InOrder(self._learn)
        # When somebody last looked at the clock, and for how long entries were waited for until then: not while this process
        # stood still. What came meanwhile is still to be read, and must not be given up for lost before it is.
        self._now, self._waited = -math.inf, 0.0

    def know(self, registry: Registry) -> None:
        """Takes another registry over; deployments and models that it lacks are forgotten."""
        self.names = KnownNames(registry)
        self._breakers.retain(self.names.deployments)
        self.token_ratios.retain(self.names.models)

    def take(self, log: str, entries: Iterable[HTTPAccessLogEntry], now: float) -> None:
        """Takes the entries of one message of the log named ``log``; ``now`` is in epoch seconds."""
        self._look_at_clock(now)
        take = {ATTEMPTS_LOG: self._attempt, REQUESTS_LOG: self._request}.get(log)
        for entry in entries:
            if take is None:
                self._meters.unreadable(1)
                continue
            try:
                take(entry, now)
            except Exception:  # noqa: BLE001 - whatever it is, the next entry is another
                # One odd entry must not cost the others of its message, nor the stream.
                self._meters.unreadable(1)
                _log.exception("access log entry cannot be read", extra={"log": log})

    def pass_time(self, now: float) -> None:
        """Gives out what has waited long enough; to be called every tenth of a second."""
        self._look_at_clock(now)
        for joined in self.join.due(self._waited):
            self._conclude(joined, now)
        self._in_order.pass_time(self._waited)

    def finish(self, now: float) -> None:
        """Gives out what is there: the process ends."""
        self._look_at_clock(now)
        for joined in self.join.rest():
            self._conclude(joined, now)
        self._in_order.finish()

    def _look_at_clock(self, now: float) -> None:
        self._waited += min(max(0.0, now - self._now), _LONGEST_WAIT_SECONDS)
        self._now = now

    def _attempt(self, entry: HTTPAccessLogEntry, now: float) -> None:
        read = read_attempt(entry, now)
        if read is None:
            return
        decision, attempt = read
        is_settled = attempt.cause not in causes.UNSETTLED
        if is_settled:
            self._meters.attempt(attempt, self.names)
        self._in_order.arrived(decision, attempt, self._waited, is_settled=is_settled)
        joined = self.join.attempt(decision, attempt, self._waited)
        if joined is not None:
            self._conclude(joined, now)

    def _request(self, entry: HTTPAccessLogEntry, now: float) -> None:
        request = read_request(entry, now)
        if request is None:
            return
        joined = self.join.request(request, self._waited)
        if joined is not None:
            self._conclude(joined, now)

    def _learn(self, attempt: AttemptRecord) -> None:
        self._breakers.record(attempt.deployment, evidence_of(attempt), self._now)

    def _conclude(self, joined: Joined, now: float) -> None:
        for attempt in joined.settled:
            self._meters.attempt(attempt, self.names)
            self._in_order.settled(joined.request.id, attempt)
        record = compose(joined, self.names)
        served = self.names.served(record.deployment)
        if served is not None and record.cause == causes.NONE:
            self.token_ratios.observe(served.model, joined.request.text_tokens, record.usage)
        self._meters.decision(record, self.names, now)
        self._keep(record)
