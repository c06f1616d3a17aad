"""Tells Redis what the ledger of this machine has settled, and everything once more when Redis forgot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from router_extproc.store.counters import Release, Total
from router_extproc.store.ledger import Pending

# Runs a method of the ledger in the thread that the ledger belongs to.
InLedgersThread = Callable[..., Awaitable[Any]]


class TellingLedger(Protocol):
    """What telling needs of a ledger."""

    def pending(self, limit: int = 500) -> Pending:
        """What is to be told, of so many counters."""

    def told(self, pending: Pending) -> None:
        """It was."""

    def tell_again(self, now: float) -> int:
        """Everything is to be told."""


class ForgetfulStore(Protocol):
    """What telling needs of a store."""

    async def settle(self, totals: tuple[Total, ...], releases: tuple[Release, ...], now: float) -> None:
        """Takes it over."""

    async def memory(self, *, telling: bool = False) -> str:
        """Another text: everything is to be told again."""


class Telling:
    """One an instance that settles. ``step`` is to be called several times a second: a store that forgot waits a second."""

    def __init__(self, ledger: TellingLedger, store: ForgetfulStore, in_ledgers_thread: InLedgersThread) -> None:
        self._ledger = ledger
        self._store = store
        self._in_thread = in_ledgers_thread
        # Not stored: after a start everything is told once more, which harms nothing.
        self._memory: str | None = None
        self._is_telling_again = False

    async def step(self, now: float) -> bool:
        """Tells a portion; True where there is more. ``now`` is in epoch seconds.

        Raises:
            StoreUnavailableError: the store does not answer, or the ledger cannot be read; what was not told stays pending.
        """
        memory = await self._store.memory(telling=self._is_telling_again)
        if memory != self._memory:
            await self._in_thread(self._ledger.tell_again, now)
            self._memory = memory
            self._is_telling_again = True
        pending = await self._in_thread(self._ledger.pending)
        if not pending:
            self._is_telling_again = False
            return False
        await self._store.settle(pending.totals, pending.releases, now)
        await self._in_thread(self._ledger.told, pending)
        return True
