"""A connection to a SQLite file that others may replace or remove: nobody goes on writing what nobody else sees."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from router_extproc.store.sqlite_file import inode


class FollowedFile:
    """At most one connection, to the file that is at ``path`` now; for one thread at a time."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        """Opens nothing yet; ``connect`` opens the file, in the caller's turn."""
        self._path, self._connect = path, connect
        self._connection: sqlite3.Connection | None = None
        # Held open, so that no other file can get this number.
        self._inode: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection is there and the file is still the same."""
        return self._connection is not None and self.is_same

    @property
    def is_same(self) -> bool:
        """Whether at the path is the file that was opened last."""
        return self._inode == inode(self._path)

    def connection(self) -> sqlite3.Connection:
        """The connection; opened, or opened again, where it has to be. Raises what ``connect`` raises."""
        if self._connection is None or not self.is_same:
            self.close()
            self._connection = self._connect()
            self._inode = inode(self._path)
        return self._connection

    def close(self) -> None:
        """Ends the connection, if there is one; the next question opens another."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
