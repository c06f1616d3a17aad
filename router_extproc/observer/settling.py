"""From the access log into the ledger: what was spent is written down once, whatever dies in between.

Rules of this file
- Rows, totals, what is given back and how far the log is read become durable together. Where that fails, reading begins again
  at what the ledger says: it may have lost more than the last step.
- No line can stop settling: one that cannot be understood or written is counted, told in the log, and passed over.
- What may hold something of a limit is settled at once. The rest is left in the log for a moment, to be settled together: a
  transaction costs more than what is written in it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import msgspec

from router_extproc.account import Held
from router_extproc.observer.access_log_file import AccessLogFile
from router_extproc.observer.request_line import read_line
from router_extproc.observer.settlement import Place, Settled, is_pressing, settle
from router_extproc.store.counters import Release, StoreUnavailableError
from router_extproc.store.ledger import Ledger, LedgerRow, Position

# Read in one step: some hundred requests, settled within some milliseconds.
_STEP_BYTES = 1 << 19
# How often a position is stored when nothing was to be settled before it, in seconds.
_POSITION_SECONDS = 1.0
# When it is looked again for what was set aside for a request that its client had left: a worker may be that far behind.
_BEHIND_SECONDS = (1.0, 10.0)

_log = logging.getLogger(__name__)


class Stretch(msgspec.Struct, frozen=True):
    """What one step settled: ``rows`` that are new, ``held`` by counter as the last request had it, and what was passed over.

    ``more`` says that the log has more to read at once.
    """

    rows: tuple[LedgerRow, ...] = ()
    held: Mapping[str, Held] = {}
    unreadable: int = 0
    unsettled: int = 0
    more: bool = False


class Settling:
    """Moves what the log says into the ledger, step by step; every method may wait for the disk."""

    def __init__(self, log: Path, books: Ledger) -> None:
        """Begins with the next step."""
        self._path, self._books = log, books
        self._log: AccessLogFile | None = None
        self._stored: Position | None = None
        self._stored_at = 0.0
        self._unread_since: float | None = None
        self._undecided: dict[float, deque[tuple[float, Release]]] = {delay: deque() for delay in _BEHIND_SECONDS}

    def may_wait(self, now: float, patience_seconds: float) -> bool:
        """Whether a step would find nothing to do, or only what may be left in the log for ``patience_seconds``, because nobody
        waits for it. ``now`` is in epoch seconds.
        """
        log = self._log
        unread = None if log is None or self._is_to_give_back(now) else log.unread()
        if log is None or unread is None:
            return False
        if not unread:
            self._unread_since = None
            return log.position == self._stored
        if self._unread_since is None:
            self._unread_since = now
        return 0 <= now - self._unread_since < patience_seconds and not is_pressing(unread)

    def step(self, places: Mapping[str, Place], now: float) -> Stretch:
        """Settles what was written since the last step, a stretch of the log at most; ``now`` is in epoch seconds.

        Raises:
            StoreUnavailableError: the ledger could not be written; the next step begins where it got to.
            OSError: the log cannot be read.
        """
        self._give_back_again(now)
        reading = self._open().read()
        self._unread_since = None
        settled, unreadable = _understand(reading.lines, places)
        is_recent = 0 <= now - self._stored_at < _POSITION_SECONDS
        if not settled and (is_recent or reading.position == self._stored):
            return Stretch(unreadable=unreadable, more=reading.more)
        try:
            rows, unsettled = self._record_all(settled, reading.position)
        except StoreUnavailableError:
            self.close()
            raise
        self._stored, self._stored_at = reading.position, now
        undecided = [each.release for each in settled if each.release is not None and not each.release.counters]
        for delay, waiting in self._undecided.items():
            waiting.extend((now + delay, each) for each in undecided)
        held = {one.counter: one for each in settled for one in each.account.held}
        return Stretch(rows, held, unreadable, unsettled, reading.more)

    def _is_to_give_back(self, now: float) -> bool:
        return any(waiting and waiting[0][0] <= now for waiting in self._undecided.values())

    def _give_back_again(self, now: float) -> None:
        """A worker that was behind may have set something aside for a request whose line was read already."""
        due: list[Release] = []
        for waiting in self._undecided.values():
            while waiting and waiting[0][0] <= now:
                due.append(waiting.popleft()[1])
        if due:
            self._books.record([], due)

    def behind_bytes(self) -> int:
        """How much of the log is not settled yet."""
        return 0 if self._log is None else self._log.behind_bytes()

    def is_at_newest(self) -> bool:
        """Whether no older file of the log waits to be settled."""
        return self._log is not None and self._log.is_at_newest()

    def close(self) -> None:
        """Gives the log back; the ledger is its owner's."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _open(self) -> AccessLogFile:
        if self._log is None:
            self._stored = self._books.position()
            self._log = AccessLogFile(self._path, self._stored, _STEP_BYTES)
        return self._log

    def _record_all(self, settled: list[Settled], position: Position) -> tuple[tuple[LedgerRow, ...], int]:
        """The new rows, and how many requests could not be written."""
        try:
            return self._record(settled, position), 0
        except StoreUnavailableError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it would come again with every step
            _log.exception("requests cannot be settled together, settling them one by one", extra={"requests": len(settled)})
        rows: list[LedgerRow] = []
        unsettled = 0
        for each in settled:
            try:
                rows += self._record([each], None)
            except StoreUnavailableError:
                raise
            except Exception:  # noqa: BLE001 - as above, and this is the one
                unsettled += 1
                _log.exception("request cannot be settled", extra={"decision": each.account.reservation})
        self._record([], position)
        return tuple(rows), unsettled

    def _record(self, settled: list[Settled], position: Position | None) -> tuple[LedgerRow, ...]:
        settlements = [one for each in settled for one in each.settlements]
        releases = [each.release for each in settled if each.release is not None]
        recorded = self._books.record(settlements, releases, position)
        return tuple(one.row for one, is_fresh in zip(settlements, recorded.fresh, strict=True) if is_fresh)


def _understand(lines: list[bytes], places: Mapping[str, Place]) -> tuple[list[Settled], int]:
    """What the lines settle, and how many could not be understood."""
    found, unreadable = [], 0
    for text in lines:
        try:
            line = read_line(text)
            settled = None if line is None else settle(line, places)
        except (msgspec.DecodeError, ValueError, OverflowError) as error:
            unreadable += 1
            # Nothing of the line itself: it names who asked.
            _log.warning("access log line settles nothing", extra={"reason": str(error), "bytes": len(text)})
            continue
        if settled is not None:
            found.append(settled)
    return found, unreadable
