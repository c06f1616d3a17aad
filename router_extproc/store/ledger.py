"""The ledger: what every call cost and who pays, and the totals that budgets go by, settled in one transaction.

Rules of this file
- Rows are only ever added, and forgotten when they are old: a call is settled once, by request, attempt and purpose.
- How far the access log is settled is stored together with what was settled: nothing is lost or counted twice.
- Where counters live elsewhere, what they were not told yet is stored here too.
- One ``Ledger`` a file, used by one thread at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from router_extproc.store import counting, retention, settling
from router_extproc.store.counters import Level, Query, Release, StoreUnavailableError
from router_extproc.store.ledger_file import LARGEST_AMOUNT, LEDGER
from router_extproc.store.ledger_queries import ledger_rows, spent
from router_extproc.store.ledger_values import (
    Charge,
    LedgerRow,
    Pending,
    Position,
    Recorded,
    Settlement,
    Spent,
    UsageSource,
)
from router_extproc.store.lives import counters_of
from router_extproc.store.mended_file import MendedFile

__all__ = [
    "Charge",
    "Ledger",
    "LedgerRow",
    "Pending",
    "Position",
    "Recorded",
    "Settlement",
    "Spent",
    "UsageSource",
    "ledger_rows",
    "spent",
]


class Ledger:
    """The writing side. ``tells``: counters live in another store, which is to be told what changes here.

    Workers wait while a method writes, so call them from the event loop, or from a process that does nothing else: a thread
    beside a busy loop would have to win Python's lock back at every step.
    """

    def __init__(self, path: Path, *, tells: bool = False) -> None:
        """Opens or creates ``ledger.sqlite``; a file that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            StoreUnavailableError: another process writes and does not end.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._file = MendedFile(path, LEDGER)
        # The file whose position the caller knows: another one may have been put in its place.
        self._settles_in = self.instance
        self._tells = tells
        self._told_until = ""
        self._sweep = retention.Sweep()

    @property
    def instance(self) -> str:
        """A random name that was given to this file when it was made: whose totals these are, for other stores."""
        with self._file.read() as connection:
            return _instance(connection)

    def position(self) -> Position | None:
        """How far the access log is settled; None when nothing is yet. To be asked again after an error: a broken file begins
        anew.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        with self._file.read() as connection:
            row = connection.execute("select file, offset from settled_log").fetchone()
            self._settles_in = _instance(connection)
            return None if row is None else Position(*row)

    def record(
        self, settlements: Sequence[Settlement], releases: Sequence[Release] = (), position: Position | None = None
    ) -> Recorded:
        """Adds rows and charges, gives back what was set aside, and moves the position (None: it stays), all or nothing.

        Raises:
            StoreUnavailableError: nothing of it was done; go on from ``position``.
            ValueError: one of them can never be written; nothing was done.
        """
        if any(not 0 <= charge.amount <= LARGEST_AMOUNT for settlement in settlements for charge in settlement.charges):
            raise ValueError(f"a charge below 0 or above {LARGEST_AMOUNT}")
        with self._file.write() as connection:
            if position is not None and _instance(connection) != self._settles_in:
                raise StoreUnavailableError("the ledger began anew: it has settled nothing of the log")
            fresh = settling.add_rows(connection, [settlement.row for settlement in settlements])
            added = [settlement for settlement, is_fresh in zip(settlements, fresh, strict=True) if is_fresh]
            totals = settling.add_charges(connection, [charge for settlement in added for charge in settlement.charges])
            counting.release(connection, releases)
            if self._tells:
                settling.note_untold(connection, totals, releases)
            if position is not None:
                connection.execute("delete from settled_log")
                connection.execute("insert into settled_log values (?, ?)", (position.file, position.offset))
        return Recorded(fresh, totals)

    def under_way(self, mark: str) -> tuple[Release, ...]:
        """What is set aside in this file by requests that are counted in the life of Envoy with this mark.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        with self._file.read() as connection:
            return counting.under_way(connection, counters_of(mark))

    def levels(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        """What is settled and set aside in this file, in the order of the queries; as ``CounterStore.read``.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        with self._file.read() as connection:
            return counting.read(connection, queries, now)

    def pending(self, limit: int = 500) -> Pending:
        """What is to be told to the other store, of at most ``limit`` counters; those told longest ago come first. Beside them
        stand at most ``limit`` releases that name no counter.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        with self._file.read() as connection:
            counters, totals, releases = settling.untold(connection, self._told_until, limit)
            if not counters and self._told_until:
                counters, totals, releases = settling.untold(connection, "", limit)
            unnamed = settling.untold_unnamed(connection, limit)
        # Round and round: a counter that always has news must not keep others from being told.
        self._told_until = counters[-1] if len(counters) == limit else ""
        return Pending(totals, (*releases, *unnamed))

    def told(self, pending: Pending) -> None:
        """The other store took it over; what has changed since stays pending.

        Raises:
            StoreUnavailableError: it stays pending; telling it again does no harm.
        """
        with self._file.write() as connection:
            settling.forget_untold(connection, pending.totals, pending.releases)

    def tell_again(self, now: float) -> int:
        """Makes every total whose window part is still of interest pending: the other store was emptied. Returns how many.

        Raises:
            StoreUnavailableError: nothing was done.
        """
        with self._file.write() as connection:
            return settling.note_all_untold(connection, now)

    def forget(self, before: float, now: float) -> int:
        """Deletes rows made before ``before`` and what expired, some thousands at most; returns how many rows of all kinds.

        Raises:
            StoreUnavailableError: nothing was deleted.
        """
        with self._file.read() as connection:
            old = self._sweep.find(connection, before, now)
        with self._file.write() as connection:
            deleted = retention.delete(connection, old, now)
        if deleted:
            self._file.shrink()
        return deleted

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()


def _instance(connection: sqlite3.Connection) -> str:
    return str(connection.execute("select name from instance").fetchone()[0])
