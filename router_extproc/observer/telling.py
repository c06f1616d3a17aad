"""From the ledger into the store that all instances share: what was settled here is told until it has been heard.

Rules of this file
- Totals are told, not differences: telling twice does no harm, and a store that forgot is told everything again.
- What is told stays in the ledger as pending until the store has answered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from router_extproc.limits.without_store import LOCAL
from router_extproc.store.counters import CounterStore, Release, Total
from router_extproc.store.ledger import Ledger, Pending

# Counters told at once: some tens of kilobytes.
_AT_ONCE = 500
# A step ends after so many batches: whoever waits for its turn in between is not to wait for long.
_BATCHES = 20

_log = logging.getLogger(__name__)


class SharedStore(CounterStore, Protocol):
    """A store beside the ledger."""

    async def memory(self, *, telling: bool = False) -> str:
        """A text that is another one whenever all totals are to be told again; ``telling``: this instance is at it.

        Raises:
            StoreUnavailableError: the store does not answer.
        """

    async def under_way(self, mark: str) -> Sequence[Release]:
        """All reservations that are counted in the life of Envoy with this mark, and their counters.

        Raises:
            StoreUnavailableError: the store does not answer.
        """


class Telling:
    """Tells one store what one ledger has settled."""

    def __init__(self, books: Ledger, store: SharedStore) -> None:
        self._books, self._store = books, store
        # Not stored: after a start everything is told once more, which does no harm.
        self._memory: str | None = None
        self._is_telling_again = False

    async def step(self, now: float) -> bool:
        """Tells what is pending, many at once; ``now`` is in epoch seconds. True while there is more.

        Raises:
            StoreUnavailableError: the rest stays pending.
        """
        memory = await self._store.memory(telling=self._is_telling_again)
        if memory != self._memory:
            count = self._books.tell_again(now)
            _log.info("store is told all totals", extra={"totals": count})
            self._memory, self._is_telling_again = memory, True
        for _ in range(_BATCHES):
            pending = self._books.pending(_AT_ONCE)
            if not pending:
                self._is_telling_again = False
                return False
            totals, releases = _of_all(pending)
            if totals or releases:
                await self._store.settle(totals, releases, now)
            self._books.told(pending)
        return True


def _of_all(pending: Pending) -> tuple[list[Total], list[Release]]:
    """What concerns all instances: counters of this one's own share are nobody else's."""
    totals = [total for total in pending.totals if not total.counter.startswith(LOCAL)]
    releases = [release for release in pending.releases if not release.counters]
    releases += (
        Release(release.reservation, counters)
        for release in pending.releases
        if (counters := tuple(counter for counter in release.counters if not counter.startswith(LOCAL)))
    )
    return totals, releases
