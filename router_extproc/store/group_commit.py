"""Writing for everybody in one process: whatever is asked in one round of the event loop, or while another process writes,
becomes one transaction.

Rules of this file
- Transactions are short, so they run in the event loop itself: a thread would have to win Python's lock back at every step,
  which a busy loop can keep from it for seconds, and all processes would wait for the transaction's end.
- While another process writes, the loop stands still for a moment at most, then goes on and tries again.
- Who asks gets an answer or an error by the deadline. What nobody waits for any more is left out, if it has not begun.
- A file that was replaced or removed under our feet is opened again; one that is broken is an error until
  somebody mends it, who is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.followed_file import FollowedFile
from router_extproc.store.sqlite_file import Schema, WriteTurn, is_broken, is_busy, open_writer, suspicion, transaction

T = TypeVar("T")
# The longest that others are kept waiting is the time that so many take.
_MOST_AT_ONCE = 64
# For how long the event loop stands still while another process writes, and how long it then goes on before the next try:
# the first time, and at most, when somebody holds the turn and does not pass it on.
_PATIENCE_SECONDS = 0.003
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.016
_OPENING_SECONDS = _CLOSING_SECONDS = 1.0
# The observer folds the log into the file every thousand pages, and waits for the disk; a worker only if nobody else does.
_PAGES_BEFORE_FOLDING = 16_000

Work = Callable[[sqlite3.Connection, Sequence[T]], Sequence[Any]]

_log = logging.getLogger(__name__)


class _Waiting(Generic[T]):
    """Somebody who asked; ``due`` is by the clock of the event loop."""

    __slots__ = ("answer", "asked", "deadline_seconds", "due")

    def __init__(self, asked: T, deadline_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.asked, self.deadline_seconds, self.due = asked, deadline_seconds, loop.time() + deadline_seconds
        self.answer: asyncio.Future[Any] = loop.create_future()


class GroupCommit(Generic[T]):
    """``work`` does several things asked for in one transaction, and returns as many results. For one event loop."""

    def __init__(self, path: Path, schema: Schema, work: Work[T]) -> None:
        """Opens or creates the file; that it is broken, or somebody in the way, is noticed by who asks.

        Raises:
            StoreError: a newer version of this package wrote it.
            OSError: the directory cannot be written.
        """
        self._path, self._schema, self._work = path, schema, work
        self._turn = WriteTurn(path)
        self._file = FollowedFile(path, self._connect)
        self._queue: deque[_Waiting[T]] = deque()
        self._is_scheduled = False
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._closing = False
        # Said once, not with every request.
        self._is_failing = False
        if self._turn.take(_OPENING_SECONDS):
            try:
                with contextlib.suppress(sqlite3.DatabaseError):
                    self._file.connection()
            finally:
                self._turn.pass_on()

    async def ask(self, asked: T, deadline_seconds: float) -> Any:
        """The result for ``asked``.

        Raises:
            StoreUnavailableError: the file cannot be written, or not in time.
        """
        if self._closing:
            raise StoreUnavailableError(f"{self._path.name} is closed")
        waiting = _Waiting(asked, deadline_seconds)
        self._queue.append(waiting)
        self._schedule()
        return await waiting.answer

    async def aclose(self) -> None:
        """Answers what was asked, if others let us write, then closes the file."""
        self._closing = True
        while batch := self._next_batch():
            if not self._write(batch, _CLOSING_SECONDS):
                _deliver(batch, [StoreUnavailableError(f"{self._path.name} is closed")] * len(batch))
        self._file.close()
        self._turn.close()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """One transaction, if the turn comes soon."""
        self._is_scheduled = False
        batch = self._next_batch()
        if not batch:
            return
        if self._write(batch, _PATIENCE_SECONDS):
            self._pause_seconds = _FIRST_PAUSE_SECONDS
            if self._queue:
                self._schedule()
            return
        self._queue.extendleft(reversed(batch))
        self._is_scheduled = True
        asyncio.get_running_loop().call_at(self._next_try(), self._flush)
        self._pause_seconds = min(2 * self._pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _next_try(self) -> float:
        """When, by the loop's clock; who has waited long enough is told now. No clock has to be set for who need not wait."""
        now = asyncio.get_running_loop().time()
        for waiting in self._queue:
            if waiting.due <= now and not waiting.answer.done():
                reason = f"{self._path.name} did not answer within {waiting.deadline_seconds:g} s"
                waiting.answer.set_exception(StoreUnavailableError(reason))
        return min([now + self._pause_seconds, *(waiting.due for waiting in self._queue if not waiting.answer.done())])

    def _write(self, batch: Sequence[_Waiting[T]], patience_seconds: float) -> bool:
        """One transaction; False when the turn did not come, or somebody has the file locked who does not know of turns."""
        try:
            if not self._turn.take(patience_seconds):
                return False
        except OSError as error:
            results: Sequence[Any] = self._errors(batch, error)
        else:
            try:
                results = self._results(batch)
            except sqlite3.OperationalError:
                return False
            finally:
                self._turn.pass_on()
        _deliver(batch, results)
        return True

    def _next_batch(self) -> list[_Waiting[T]]:
        batch: list[_Waiting[T]] = []
        while self._queue and len(batch) < _MOST_AT_ONCE:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
        return batch

    def _results(self, batch: Sequence[_Waiting[T]]) -> Sequence[Any]:
        """Does the work, in our turn; every result is an error when nothing was done.

        Raises:
            sqlite3.OperationalError: somebody has the file locked.
        """
        try:
            connection = self._file.connection()
            with transaction(connection):
                results = self._work(connection, [waiting.asked for waiting in batch])
        except Exception as error:
            # Whatever is wrong with one question, the others must not hang.
            if is_busy(error):
                raise
            self._file.close()
            if is_broken(error):
                with contextlib.suppress(OSError):
                    suspicion(self._path).touch()
            return self._errors(batch, error)
        if self._is_failing:
            _log.warning("database can be written again", extra={"database": self._path.name})
            self._is_failing = False
        return results

    def _errors(self, batch: Sequence[_Waiting[T]], error: Exception) -> Sequence[Any]:
        if not self._is_failing:
            _log.error("database cannot be written", extra={"database": self._path.name}, exc_info=error)
            self._is_failing = True
        return [StoreUnavailableError(f"{self._path.name} cannot be written: {error}") for _ in batch]

    def _connect(self) -> sqlite3.Connection:
        connection = open_writer(self._path, self._schema, _PATIENCE_SECONDS)
        connection.execute(f"pragma wal_autocheckpoint = {_PAGES_BEFORE_FOLDING}")
        return connection


def _deliver(batch: Sequence[_Waiting[Any]], results: Sequence[Any]) -> None:
    for waiting, result in zip(batch, results, strict=True):
        if waiting.answer.done():
            continue
        if isinstance(result, Exception):
            waiting.answer.set_exception(result)
        else:
            waiting.answer.set_result(result)
