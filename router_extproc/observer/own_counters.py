"""The counters that this observer settles itself, asked on the connection that settles them."""

from __future__ import annotations

from collections.abc import Sequence

from router_extproc.store.counters import CounterStore, Level, Query
from router_extproc.store.ledger import Ledger


class OwnCounters:
    """What alerts need of a store. Levels are asked after every stretch of the log: another connection in another thread, as a
    worker has it, would take longer than settling.
    """

    def __init__(self, books: Ledger, store: CounterStore) -> None:
        """``store`` is the one in the file of ``books``."""
        self._books, self._store = books, store

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """As ``CounterStore.read``.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return self._books.levels(queries, now)

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        """As ``CounterStore.claim``.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
        """
        return await self._store.claim(name, expires_at, now)
