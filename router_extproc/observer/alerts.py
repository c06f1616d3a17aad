"""Alerts about budgets: one for each threshold and window, whichever instance settles the amount that reaches it.

Rules of this file
- What is settled counts, not what is set aside: that may be given back.
- Shares are compared as exact decimals with whole amounts.
- Nothing is raised that was not claimed among all instances first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Protocol
from urllib.parse import unquote

from router_extproc.account import Held
from router_extproc.observer.money import show_usd
from router_extproc.store.alerts import Alert, AlertOutbox
from router_extproc.store.counters import Level, Query

# A window's last requests may be settled when it is over: its alerts stay claimed for so long, in seconds.
_CLAIMED_AFTERWARDS_SECONDS = 86_400
_MOST_REMEMBERED = 10_000

_log = logging.getLogger(__name__)


class Raised(Protocol):
    """Who is told of an alert."""

    def alert(self, alert: Alert) -> None:
        """Counts it."""


class Counters(Protocol):
    """What is needed of a ``CounterStore``; see there."""

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """What is settled and set aside."""

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        """True for one caller of all."""


class Watch:
    """Compares what is settled with the thresholds of budgets."""

    def __init__(self, outbox: AlertOutbox, meters: Raised, *, is_alone: bool) -> None:
        """``is_alone``: no other instance shares the counters, so what was claimed and not seen through was ours."""
        self._outbox, self._meters, self._is_alone = outbox, meters, is_alone
        self._claimed: dict[str, float] = {}

    async def check(self, store: Counters, held: Iterable[Held], now: float, *, delivers: bool) -> None:
        """Raises what is due for these counters; ``delivers``: somewhere a webhook waits for it.

        Raises:
            StoreUnavailableError: some may not have been compared; they are when more is settled there.
        """
        watched = [one for one in held if one.limit > 0 and one.warn_at]
        if not watched:
            return
        levels = await store.read([Query(one.counter, one.since) for one in watched], now)
        for one, level in zip(watched, levels, strict=True):
            for alert in alerts_of(one, level, now):
                await self._raise(store, alert, now, delivers=delivers)

    async def resume(self, store: Counters, now: float, *, delivers: bool) -> None:
        """Sees through what the instance that ran here before had only begun.

        Raises:
            StoreUnavailableError: not all of it was.
        """
        for stored in self._outbox.claiming():
            is_ours = await store.claim(stored.alert.name, stored.alert.expires_at, now) or self._is_alone
            self._conclude(stored.sequence, stored.alert, is_ours=is_ours, delivers=delivers)

    async def _raise(self, store: Counters, alert: Alert, now: float, *, delivers: bool) -> None:
        if self._claimed.get(alert.name, 0.0) > now:
            return
        sequence = self._outbox.add(alert)
        is_ours = await store.claim(alert.name, alert.expires_at, now)
        self._conclude(sequence, alert, is_ours=is_ours, delivers=delivers)

    def _conclude(self, sequence: int, alert: Alert, *, is_ours: bool, delivers: bool) -> None:
        if len(self._claimed) >= _MOST_REMEMBERED:
            self._claimed.clear()
        self._claimed[alert.name] = alert.expires_at
        if not is_ours:
            self._outbox.drop(sequence)
            return
        self._outbox.become(sequence, "due" if delivers else "told")
        self._meters.alert(alert)
        _log.warning(
            "budget has reached a threshold",
            extra={"budget": alert.budget, "counter": alert.counter, "threshold": alert.threshold, "text": text_of(alert)},
        )


def alerts_of(held: Held, level: Level, now: float) -> list[Alert]:
    """An alert for each threshold that the level has reached."""
    # A calendar window is one part: its number tells it from the next. Parts of a rolling one follow one another, and its
    # alert is due again when the claim ends with the window that it was raised in.
    is_calendar = held.bucket == held.since
    expires_at = held.expires_at + _CLAIMED_AFTERWARDS_SECONDS if is_calendar else held.expires_at
    window = f":{held.bucket}" if is_calendar else ""
    return [
        Alert(
            name=f"alert:{held.counter}:{threshold}{window}",
            at=now,
            budget=held.budget,
            counter=held.counter,
            unit=held.unit,
            threshold=threshold,
            settled=level.settled,
            cap=held.limit,
            expires_at=expires_at,
        )
        for threshold in held.warn_at
        if level.settled >= Decimal(str(threshold)) * held.limit
    ]


def text_of(alert: Alert) -> str:
    """The alert as a sentence: Budget team-month (team=search) has used 80 % of 500.000000 USD: 402.113000 USD."""
    labels = ", ".join(unquote(pair) for pair in alert.counter.split("|")[1:])
    whose = f" ({labels})" if labels else ""
    share = f"{(Decimal(str(alert.threshold)) * 100).normalize():f}"
    return f"Budget {alert.budget}{whose} has used {share} % of {_amount(alert, alert.cap)}: {_amount(alert, alert.settled)}."


def _amount(alert: Alert, amount: int) -> str:
    return f"{show_usd(amount)} USD" if alert.unit == "usd" else f"{amount} {alert.unit}"
