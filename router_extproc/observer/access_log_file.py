"""Reads Envoy's access log file from where the last reader got to: across restarts, rotations and half lines.

Rules of this file
- What was read counts as read only once its position is stored together with what followed from it: so a crash reads a
  stretch twice and loses none.
- A file is known by a number made of its first line, which holds an id of its own: inodes are used again for other files, and
  a file that was copied is still the same log.
- The file is Envoy's: it is never written here. Who rotates it names the older ones ``access.jsonl.1``, ``.2`` ….
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import msgspec

from router_extproc.store.ledger import Position

MOST_BYTES = 4 << 20
"""Read at once; a line that is longer cannot be read and is passed over."""

_LONGEST_NAMING_BYTES = 1 << 16
# A first line usually ends before this.
_SHORT_NAMING_BYTES = 1 << 12
_NAME_BYTES = 7  # a number that fits into any database's integers
_NOWHERE = Position(0, 0)

_log = logging.getLogger(__name__)


class Reading(msgspec.Struct, frozen=True):
    """Whole lines without their ends, and the position behind them. ``more`` says that there is more to read at once."""

    lines: list[bytes]
    position: Position
    more: bool = False


class AccessLogFile:
    """One reader of the log at ``path``. Every method blocks on the disk."""

    def __init__(self, path: Path, position: Position | None = None, most_bytes: int = MOST_BYTES) -> None:
        """Goes on behind ``position``; without one, or when its file is gone, with the oldest file there is."""
        self._path, self._most_bytes = path, most_bytes
        self._descriptor: int | None = None
        self._inode = 0
        # Where reading goes on in the open file, and what may be stored: a file without a whole line has no name yet.
        self._offset = 0
        self._position = position or _NOWHERE

    def read(self) -> Reading:
        """What was written since, ``MOST_BYTES`` at most. Nothing when there is no file yet.

        Raises:
            OSError: the file is there and cannot be read.
        """
        if self._descriptor is None and not self._begin():
            return Reading([], self._position)
        reading = self._read_on()
        if reading.lines or reading.more:
            return reading
        successor = self._successor()
        if successor is None:
            return reading
        # Only now is it sure that nobody writes the old file any more: what came in the meantime is read first.
        reading = self._read_on(to_the_end=True)
        if not reading.more:
            self._open(successor)
        return Reading(reading.lines, reading.position, more=True)

    def unread(self) -> bytes | None:
        """What the next ``read`` begins with; it stays unread. None where that is much, not of the newest file, or no file.

        Asked fifty times a second, and mostly there is nothing: that takes a single call of the system.
        """
        if self._descriptor is None:
            return None
        try:
            newest = os.stat(self._path)  # noqa: PTH116 - twice as fast as the path's own method
            size = newest.st_size - self._offset
            if newest.st_ino != self._inode or not 0 <= size < self._most_bytes:
                return None
            return os.pread(self._descriptor, size, self._offset) if size else b""
        except OSError:
            # Whoever reads is told.
            return None

    @property
    def position(self) -> Position:
        """What may be stored: where the last ``read`` got to."""
        return self._position

    def behind_bytes(self) -> int:
        """How much of the current file has not been read; older files that wait are not counted."""
        try:
            size = self._path.stat().st_size if self._descriptor is None else os.fstat(self._descriptor).st_size
        except FileNotFoundError:
            return 0
        return max(0, size - self._offset)

    def is_at_newest(self) -> bool:
        """Whether the file that Envoy writes is the one that is read: no older one waits."""
        return self._descriptor is not None and self._inode == _inode(self._path)

    def close(self) -> None:
        """Gives the file back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self) -> bool:
        """Opens the file that the position is of, else the oldest. False when there is none."""
        files = self._files()
        for path in files if self._position.file else ():
            self._open(path)
            if self._is_at_position():
                self._offset = self._position.offset
                return True
        if self._position.file:
            _log.warning("access log is not the one that was read last, starting with the oldest there is")
            self._position = _NOWHERE
        for path in files:
            self._open(path)
            return True
        return False

    def _open(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        # As long as it is open, no other file gets this number.
        self._descriptor, self._inode, self._offset = descriptor, os.fstat(descriptor).st_ino, 0

    def _read_on(self, *, to_the_end: bool = False) -> Reading:
        """Whole lines from the position on; ``to_the_end`` of a finished file, what is left is a line too."""
        descriptor = self._descriptor
        if descriptor is None:
            return Reading([], self._position)
        size = os.fstat(descriptor).st_size
        if size < self._offset:
            _log.warning("access log was cut off, starting at its beginning")
            self._offset = 0
        # No more is asked for than there is: room for a whole step, fifty times a second, takes longer than reading.
        data = os.pread(descriptor, min(self._most_bytes, size - self._offset), self._offset)
        end = data.rfind(b"\n") + 1
        is_full = len(data) == self._most_bytes
        if not end and is_full:
            _log.warning("access log line is too long to be read", extra={"bytes": len(data)})
            return Reading([], self._advance(descriptor, len(data)), more=True)
        if to_the_end and not is_full:
            end = len(data)
        if not end:
            return Reading([], self._position)
        lines = data[:end].removesuffix(b"\n").split(b"\n")
        return Reading(lines, self._advance(descriptor, end), more=is_full)

    def _advance(self, descriptor: int, count: int) -> Position:
        # The name is made anew: a file that was cut off has another first line.
        self._offset += count
        self._position = Position(_name(descriptor), self._offset)
        return self._position

    def _successor(self) -> Path | None:
        """The file that was begun after the one that is open; None when that is still the one at ``path``."""
        if self._descriptor is None:
            return None
        if self.is_at_newest():
            return None
        files = self._files()
        inodes = [_inode(path) for path in files]
        if self._inode in inodes:
            following = files[inodes.index(self._inode) + 1 :]
            return following[0] if following else None
        # It was deleted or moved away: what came between is out of reach.
        return self._path if self._path in files else None

    def _files(self) -> list[Path]:
        """The log's files that are there, the oldest first, the one that Envoy writes last."""
        prefix = f"{self._path.name}."
        numbers = {
            int(path.name.removeprefix(prefix)): path
            for path in self._path.parent.glob(f"{prefix}*")
            if path.name.removeprefix(prefix).isdecimal()
        }
        older = [numbers[number] for number in sorted(numbers, reverse=True)]
        return [*older, self._path] if self._path.exists() else older

    def _is_at_position(self) -> bool:
        descriptor, position = self._descriptor, self._position
        if descriptor is None:
            return False
        return os.fstat(descriptor).st_size >= position.offset and _name(descriptor) == position.file


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _name(descriptor: int) -> int:
    """What ``Position.file`` calls a file that has at least one whole line, or is too long for one."""
    beginning = os.pread(descriptor, _SHORT_NAMING_BYTES, 0)
    if b"\n" not in beginning:
        beginning = os.pread(descriptor, _LONGEST_NAMING_BYTES, 0)
    first_line = beginning.partition(b"\n")[0]
    return int.from_bytes(hashlib.blake2b(first_line, digest_size=_NAME_BYTES).digest(), "big") or 1
