"""Opening SQLite files that several processes share: how they are made, versioned, and put aside when broken.

Rules of this file
- All writers of a shared file take turns by ``WriteTurn``: SQLite's own waiting polls, ever more seldom.
- Only one process, the observer, puts broken files aside; the others tell it, and wait until it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.errors import RouterError

BUSY_SECONDS = 5.0
_RETRY_SECONDS = 50e-6
# Codes by which SQLite says that a file is no database, or none any more.
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_log = logging.getLogger(__name__)


class StoreError(RouterError):
    """The file was written by a newer version of this package."""


class Schema(msgspec.Struct, frozen=True):
    """The statements that make version ``version`` of a file."""

    version: int
    statements: str


def is_busy(error: BaseException) -> bool:
    """Whether somebody else has the file locked."""
    return isinstance(error, sqlite3.DatabaseError) and _primary_code(error) == sqlite3.SQLITE_BUSY


def is_broken(error: BaseException) -> bool:
    """Whether the error says that the file itself is damaged, not that it is busy, full or away."""
    return isinstance(error, sqlite3.DatabaseError) and _primary_code(error) in _BROKEN


def open_writer(path: Path, schema: Schema, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """A connection without implicit transactions, to a file that has this schema; made if there is none. Call it in your turn.
    ``busy_seconds`` is for how long it waits for who does not know of turns.

    Raises:
        StoreError: a newer version of this package wrote it.
        sqlite3.DatabaseError: the file is broken, or cannot be opened.
    """
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return connection


def open_mended_writer(path: Path, schema: Schema, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """``open_writer``, but a broken file is put aside and a new one made, so that a bad disk block does not stop the service.

    Raises:
        StoreError: a newer version of this package wrote it.
        sqlite3.OperationalError: the directory cannot be written.
    """
    try:
        return open_writer(path, schema, busy_seconds)
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise
        put_aside(path, str(error))
        return open_writer(path, schema, busy_seconds)


def put_aside(path: Path, reason: str) -> None:
    """Renames a broken file, with a loud log line; who has it open notices by ``inode``. Call it in your turn."""
    aside = path.with_name(f"{path.name}.broken")
    _log.error("database is broken, put aside", extra={"database": path.name, "aside": str(aside), "reason": reason})
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def suspicion(path: Path) -> Path:
    """The file by which who may not put a database aside says that it should be looked at."""
    return path.with_name(f"{path.name}.suspect")


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether every page can be read and is in order; takes as long as reading the file does."""
    try:
        return bool(connection.execute("pragma quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        if is_broken(error):
            return False
        raise


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing; the right to write is taken at once, so that nothing read inside can be outdated."""
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("rollback")
        raise


def open_reader(path: Path, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection | None:
    """A connection that can only read; None when there is no file.

    Raises:
        sqlite3.DatabaseError: the file cannot be opened.
    """
    if not path.exists():
        return None
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """``open_reader`` for the length of a block."""
    connection = open_reader(path)
    try:
        yield connection
    finally:
        if connection is not None:
            connection.close()


def inode(path: Path) -> int | None:
    """Which file stands at the path now; None when none does."""
    try:
        # Asked with every request: twice as fast as the path's own method.
        return os.stat(path).st_ino  # noqa: PTH116
    except FileNotFoundError:
        return None


def pragma(connection: sqlite3.Connection, name: str) -> Any:
    """The value of a pragma."""
    return connection.execute(f"pragma {name}").fetchone()[0]


class WriteTurn:
    """Whose turn it is to write, over all processes: two lock files beside the database, which the kernel takes from the dead.

    flock(2) is not fair: who lets go and asks again wins against those who sleep. So the next in turn waits for the lock
    inside a gate, and who has just written finds the gate closed.
    """

    def __init__(self, path: Path) -> None:
        self._paths = [path.with_name(f"{path.name}.{suffix}") for suffix in ("gate", "lock")]
        self._descriptors: list[int] = []

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for the turn, and passes it on afterwards."""
        self.take()
        try:
            yield
        finally:
            self.pass_on()

    def take(self, patience_seconds: float | None = None) -> bool:
        """Waits for the turn, not much longer than ``patience_seconds`` if given; returns whether it is ours."""
        if not self._descriptors:
            self._descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for path in self._paths]
        gate, lock = self._descriptors
        ends = None if patience_seconds is None else time.monotonic() + patience_seconds
        if not _locked(gate, ends):
            return False
        try:
            return _locked(lock, ends)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)

    def pass_on(self) -> None:
        """Ends our turn."""
        fcntl.flock(self._descriptors[1], fcntl.LOCK_UN)

    def close(self) -> None:
        """Gives the lock files back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


def _locked(descriptor: int, ends: float | None) -> bool:
    if ends is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return True
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
            time.sleep(_RETRY_SECONDS)
        else:
            return True


def _prepare(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    found = pragma(connection, "user_version")
    if found > schema.version:
        raise StoreError(f"{path} was written by a newer version (schema {found}, this one knows {schema.version})")
    # Before SQLite makes the files beside it, which hold the same and get the same mode.
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            one.chmod(0o600)
    if found == 0:
        # Must be chosen before the first table: it lets deleted records give their space back.
        connection.execute("pragma auto_vacuum = incremental")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    if found == 0:
        connection.executescript(f"begin immediate;{schema.statements};pragma user_version = {schema.version};commit;")


def _primary_code(error: sqlite3.DatabaseError) -> int:
    # Extended result codes keep the primary one in their lowest byte (sqlite.org/rescode.html).
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
