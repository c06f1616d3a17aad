"""A SQLite file as the observer has it open: it writes in its turn, and puts the file aside when it is found broken."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.sqlite_file import (
    Schema,
    WriteTurn,
    inode,
    is_broken,
    is_sound,
    open_mended_writer,
    put_aside,
    suspicion,
    transaction,
)

# How long the turn, or a lock, may take to come before the caller is told: somebody holds it who does not run.
_PATIENCE_SECONDS = 0.25


class MendedFile:
    """One connection for one thread at a time; reopened when the file was replaced."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Opens or creates the file; one that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            StoreUnavailableError: another process writes and does not end.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._path, self._schema = path, schema
        self._turn = WriteTurn(path)
        self._inode: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._take_turn()
        try:
            self._current_connection()
        finally:
            self._turn.pass_on()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction, in our turn.

        Raises:
            StoreUnavailableError: nothing of it was done.
            ValueError: what was to be written can never be.
        """
        try:
            self._take_turn()
        except OSError as error:
            raise StoreUnavailableError(f"{self._path.name} cannot be locked: {error.strerror}") from error
        try:
            with self._mending():
                self._look_at_suspect()
                connection = self._current_connection()
                with transaction(connection):
                    yield connection
        finally:
            self._turn.pass_on()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """What is there, without waiting for anybody.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        if self._connection is None or self._inode != inode(self._path):
            with self.write():
                pass
        with self._mending():
            yield self._current_connection()

    def shrink(self) -> None:
        """Gives the space of what was deleted back to the disk, if nobody is in the way."""
        if not self._turn.take(_PATIENCE_SECONDS):
            return
        try:
            with contextlib.suppress(StoreUnavailableError), self._mending():
                # Not `execute`: the pragma frees one page a step, and only a script is stepped to its end.
                self._current_connection().executescript("pragma incremental_vacuum")
        finally:
            self._turn.pass_on()

    def close(self) -> None:
        """Ends the connection."""
        self._disconnect()
        self._turn.close()

    def _take_turn(self) -> None:
        if not self._turn.take(_PATIENCE_SECONDS):
            raise StoreUnavailableError(f"{self._path.name}: another process writes and does not end")

    @contextlib.contextmanager
    def _mending(self) -> Iterator[None]:
        """Foreign errors become ours; a broken file is put aside, and the next question finds a new one."""
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            # Not the file's fault: the same would be refused again and again.
            raise ValueError(f"{self._path.name} cannot hold this: {error}") from error
        except sqlite3.Error as error:
            self._disconnect()
            if is_broken(error) and self._turn.take(_PATIENCE_SECONDS):
                if inode(self._path) == self._inode:
                    put_aside(self._path, str(error))
                self._turn.pass_on()
            raise StoreUnavailableError(f"{self._path.name} cannot be used: {error}") from error

    def _look_at_suspect(self) -> None:
        """Workers may have met damage where we never look."""
        mark = suspicion(self._path)
        if not mark.exists():
            return
        if not is_sound(self._current_connection()):
            self._disconnect()
            put_aside(self._path, "a worker met damage, and there is some")
        mark.unlink(missing_ok=True)

    def _current_connection(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode == inode(self._path):
            return self._connection
        self._disconnect()
        self._connection = open_mended_writer(self._path, self._schema, _PATIENCE_SECONDS)
        # Held open, so that no other file can get this number.
        self._inode = inode(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
