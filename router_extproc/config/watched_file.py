"""A file that another process replaces by rename: one ``stat`` tells whether there is news."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

_log = logging.getLogger(__name__)


class WatchedFile(Generic[T]):
    """``read`` turns the file at ``path`` into a value, and raises OSError or msgspec.DecodeError when it cannot."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path, self._read = path, read
        self._seen: tuple[int, int, int] | None = None

    def news(self) -> T | None:
        """The value if the file is another than at the last call, else None. What cannot be read is logged once."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        identity = stat.st_ino, stat.st_mtime_ns, stat.st_size
        if identity == self._seen:
            return None
        self._seen = identity
        try:
            return self._read(self._path)
        except (OSError, msgspec.DecodeError):
            _log.exception("file cannot be read, what was read last stays", extra={"path": str(self._path)})
            return None
