"""What windows are left by those before them, as a worker last read it.

Rules of this file
- The store is asked once for a counter and window, and again a while later: what is settled late counts then.
- Without an answer the last one holds, and where there was none nothing is carried: the smaller cap is the safe one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from router_extproc.limits.claims import Claim
from router_extproc.limits.rollover import Carry, carries_of, most_used, with_carried
from router_extproc.registry.snapshot import Registry
from router_extproc.store.counters import CounterStore, StoreUnavailableError

_MOST_KNOWN = 20_000
# What is settled of a window after its end comes within a reservation's time.
_HOLDS_SECONDS = 60.0
# While something may still be settled in the last window, what it left is taken for less than it will be.
_UNSETTLED_SECONDS = 5.0
# A store that is away is not asked with every request.
_UNANSWERED_SECONDS = 1.0


class _Known(NamedTuple):
    """The most that the last window used, None where no store ever said, and until when (monotonic seconds) nobody asks."""

    used: int | None
    until: float


class CarriedAmounts:
    """The last windows' amounts by counter and window; one for a worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` tells seconds, and never goes back."""
        self._clock = clock
        self._known: dict[Carry, _Known] = {}

    async def add_to(self, claim: Claim, registry: Registry, store: Callable[[], CounterStore], now: float) -> Claim:
        """The claim with the caps that hold, after asking the store for what is not known.

        ``store`` gives it, ``now`` is epoch seconds.
        """
        carries = carries_of(claim)
        if not carries:
            return claim
        elapsed = self._clock()
        asked = [carry for carry in carries if carry not in self._known or self._known[carry].until <= elapsed]
        if asked:
            await self._ask(asked, registry, store, now)
        used = {carry: known.used for carry in carries if (known := self._known.get(carry)) is not None}
        return with_carried(claim, {carry: amount for carry, amount in used.items() if amount is not None})

    async def _ask(self, carries: list[Carry], registry: Registry, store: Callable[[], CounterStore], now: float) -> None:
        elapsed = self._clock()
        try:
            levels = await store().read([query for carry in carries for query in carry.queries], now)
        except StoreUnavailableError:
            for carry in carries:
                self._learn(carry, _Known(self._used(carry), elapsed + _UNANSWERED_SECONDS))
            return
        for place, carry in enumerate(carries):
            since_previous, since_this = levels[2 * place : 2 * place + 2]
            used = most_used(since_previous, since_this, self._used(carry), is_settled=carry.is_settled(registry, now))
            is_settled = used <= since_previous.settled - since_this.settled
            self._learn(carry, _Known(used, elapsed + (_HOLDS_SECONDS if is_settled else _UNSETTLED_SECONDS)))

    def _used(self, carry: Carry) -> int | None:
        known = self._known.get(carry)
        return None if known is None else known.used

    def _learn(self, carry: Carry, known: _Known) -> None:
        if carry not in self._known and len(self._known) >= _MOST_KNOWN:
            # The oldest: windows end, and who is still there is asked for again.
            for old in list(islice(self._known, _MOST_KNOWN // 10)):
                del self._known[old]
        self._known[carry] = known
