"""A SQLite file as the observer has it open: it writes in its turn, and puts the file aside when it is found broken."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.followed_file import FollowedFile
from router_extproc.store.sqlite_file import (
    Schema,
    StoreError,
    WriteTurn,
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
        self._path, self._suspicion = path, suspicion(path)
        self._turn = WriteTurn(path)
        self._file = FollowedFile(path, lambda: open_mended_writer(path, schema, _PATIENCE_SECONDS))
        self._take_turn()
        try:
            self._file.connection()
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
                connection = self._file.connection()
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
        if not self._file.is_open:
            with self.write():
                pass
        with self._mending():
            yield self._file.connection()

    def shrink(self) -> None:
        """Gives the space of what was deleted back to the disk, if nobody is in the way."""
        if not self._turn.take(_PATIENCE_SECONDS):
            return
        try:
            with contextlib.suppress(StoreUnavailableError), self._mending():
                # Not `execute`: the pragma frees one page a step, and only a script is stepped to its end.
                self._file.connection().executescript("pragma incremental_vacuum")
        finally:
            self._turn.pass_on()

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()
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
        except (sqlite3.Error, OSError, StoreError) as error:
            self._file.close()
            if is_broken(error):
                self._put_aside(str(error))
            raise StoreUnavailableError(f"{self._path.name} cannot be used: {error}") from error

    def _put_aside(self, reason: str) -> None:
        """Puts the file aside that was open last, if it is still there and our turn comes."""
        if not self._turn.take(_PATIENCE_SECONDS):
            return
        try:
            if self._file.is_same:
                put_aside(self._path, reason)
        except OSError as error:
            # A file that is mounted by itself cannot be renamed, and a directory may be full or read-only.
            name, cause = self._path.name, error.strerror
            raise StoreUnavailableError(f"{name} is broken and cannot be put aside ({cause}): {reason}") from error
        finally:
            # Whatever happened: all workers wait for it.
            self._turn.pass_on()

    def _look_at_suspect(self) -> None:
        """Workers may have met damage where we never look."""
        if not self._suspicion.exists():
            return
        if not is_sound(self._file.connection()):
            self._file.close()
            put_aside(self._path, "a worker met damage, and there is some")
        self._suspicion.unlink(missing_ok=True)
