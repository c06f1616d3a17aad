"""Counters in ``ledger.sqlite``, for one machine: shared by its workers, and settled in the same file by the observer.

The levels are exact: a reservation is decided while nobody else can write. What a killed process had set aside stays until
it expires; what it had begun to write never was.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from router_extproc.store import counting
from router_extproc.store.counters import Hold, Level, Query, Release, StoreUnavailableError, Total, Verdict
from router_extproc.store.counting import Reservation
from router_extproc.store.group_commit import GroupCommit
from router_extproc.store.ledger_file import LARGEST_AMOUNT, LEDGER
from router_extproc.store.sqlite_file import reading

_Change = Callable[[sqlite3.Connection], Any]


class SqliteCounters:
    """A ``CounterStore`` in the file at ``path``."""

    def __init__(self, path: Path, deadline_seconds: float = 1.0) -> None:
        """Opens or creates the file. A deadline as short as a network's would turn a busy disk into spending unseen.

        Raises:
            StoreError: a newer version of this package wrote it.
            OSError: the directory cannot be written.
        """
        self._path, self._deadline_seconds = path, deadline_seconds
        self._writer: GroupCommit[Reservation | _Change] = GroupCommit(path, LEDGER, _work)

    async def reserve(self, reservation: str, holds: Sequence[Hold], until: float, now: float) -> Verdict:
        """As ``CounterStore.reserve``.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
            ValueError: two holds on one counter, a name or an amount that is none.
        """
        if len({hold.counter for hold in holds}) != len(holds):
            raise ValueError("two holds on one counter")
        for hold in holds:
            if "\0" in hold.counter:
                raise ValueError("a counter's name with a NUL")
            if not 0 <= hold.amount <= LARGEST_AMOUNT:
                raise ValueError(f"an amount below 0 or above {LARGEST_AMOUNT}")
        verdict: Verdict = await self._ask(Reservation(reservation, tuple(holds), until, now))
        return verdict

    async def release(self, releases: Sequence[Release], now: float) -> None:
        """As ``CounterStore.release``.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
        """
        await self.settle((), releases, now)

    async def settle(
        self,
        totals: Sequence[Total],
        releases: Sequence[Release],
        now: float,  # noqa: ARG002 - the interface's; what has expired is found by who sets aside
    ) -> None:
        """As ``CounterStore.settle``; where the observer settles in this very file, nobody needs to call it.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
        """

        def take_over(connection: sqlite3.Connection) -> None:
            counting.take_over(connection, totals)
            counting.release(connection, releases)

        await self._ask(take_over)

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """As ``CounterStore.read``; waits for no writer.

        Raises:
            StoreUnavailableError: the file cannot be read, or not in time.
        """
        try:
            async with asyncio.timeout(self._deadline_seconds):
                return await asyncio.to_thread(self._read, queries, now)
        except TimeoutError:
            raise StoreUnavailableError(f"{self._path.name} did not answer in time") from None
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self._path.name} cannot be read: {error}") from error

    async def claim(self, name: str, expires_at: float, now: float) -> bool:
        """As ``CounterStore.claim``.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
        """
        return bool(await self._ask(lambda connection: counting.claim(connection, name, expires_at, now)))

    async def aclose(self) -> None:
        """Answers what was asked, then closes the file."""
        await self._writer.aclose()

    async def _ask(self, asked: Reservation | _Change) -> Any:
        return await self._writer.ask(asked, self._deadline_seconds)

    def _read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        with reading(self._path) as connection:
            return (Level(),) * len(queries) if connection is None else counting.read(connection, queries, now)


def _work(connection: sqlite3.Connection, batch: Sequence[Reservation | _Change]) -> list[Any]:
    """Reservations that follow each other are decided together, everything else by itself."""
    results: list[Any] = []
    together: list[Reservation] = []
    for asked in batch:
        if isinstance(asked, Reservation):
            together.append(asked)
            continue
        if together:
            results += counting.reserve(connection, together)
            together = []
        results.append(asked(connection))
    return results + (counting.reserve(connection, together) if together else [])
