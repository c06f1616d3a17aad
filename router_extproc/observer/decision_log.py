"""The decision log on disk: JSON lines that are rotated by size, and the same records in SQLite.

Rules of this file
- The event loop never waits for the disk: batches are written by one thread, in order.
- A batch is one write, and what a crash left of one is cut off. Who reads amid a write meets the beginning of a line: it ends
  with the next newline.
- What cannot be written is dropped and counted; memory stays bounded.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

import msgspec

from router_extproc.observer.records import DecisionRecord
from router_extproc.store.decisions import DecisionRow, DecisionWriter

KEPT_FILES = 3
# About 50 MB of records: ten seconds of a disk that does not answer, at the rate of a busy instance.
_MOST_PENDING = 50_000
_TAIL_BYTES = 1 << 16

_log = logging.getLogger(__name__)


class JsonLinesFile:
    """``path`` and the ``KEPT_FILES`` before it, ``path.1`` the newest of them."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Opens the file to append.

        Raises:
            OSError: the directory cannot be written.
        """
        self._path = path
        self.max_bytes = max_bytes
        self._descriptor = self._open()

    def append(self, lines: bytes) -> None:
        """Adds whole lines.

        Raises:
            OSError: the disk did not take them; nothing of them is left in the file.
        """
        self._follow_path()
        size = os.fstat(self._descriptor).st_size
        if size and size + len(lines) > self.max_bytes:
            self._rotate()
            size = 0
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._descriptor)

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        size = os.fstat(descriptor).st_size
        whole = _end_of_last_line(descriptor, size)
        if whole != size:
            _log.warning("half a line at the end of the decision log was cut off", extra={"bytes": size - whole})
            os.ftruncate(descriptor, whole)
        return descriptor

    def _follow_path(self) -> None:
        """Someone else may have moved the file away or deleted it: then a new one is begun."""
        try:
            here = os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            here = False
        if not here:
            self._reopen()

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh

    def _rotate(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._reopen()


class DecisionLog:
    """Collects records and writes them in batches. ``dropped`` counts those that a place did not take."""

    def __init__(self, lines: JsonLinesFile, rows: DecisionWriter) -> None:
        self._lines, self._rows = lines, rows
        self._pending: list[tuple[DecisionRecord, bytes]] = []
        self._encoder = msgspec.json.Encoder()
        self.dropped = 0

    def add(self, record: DecisionRecord) -> None:
        """Takes a record; it is on disk after the next ``flush``."""
        if len(self._pending) >= _MOST_PENDING:
            self.dropped += 1
            return
        self._pending.append((record, self._encoder.encode(record)))

    def take(self) -> list[tuple[DecisionRecord, bytes]]:
        """What waits to be written; the caller hands it to ``write`` on the writing thread."""
        taken, self._pending = self._pending, []
        return taken

    def write(self, batch: list[tuple[DecisionRecord, bytes]], max_bytes: int) -> None:
        """Writes a batch to both places. Blocks: not for the event loop. What a place refuses is logged and dropped there."""
        self._lines.max_bytes = max_bytes
        try:
            self._lines.append(b"".join(line + b"\n" for _, line in batch))
        except OSError:
            self.dropped += len(batch)
            _log.exception("decision log cannot be written", extra={"records": len(batch)})
        try:
            self._rows.write([_row(record, line) for record, line in batch])
        except sqlite3.Error:
            self.dropped += len(batch)
            _log.exception("decision database cannot be written", extra={"records": len(batch)})

    def forget(self, before: float, most: int) -> None:
        """Deletes from SQLite what began before ``before`` (epoch seconds), and all but the newest ``most``. Blocks."""
        try:
            while self._rows.forget(before) or self._rows.forget_beyond(most):
                pass
        except sqlite3.Error:
            _log.exception("old decisions cannot be deleted")

    def close(self) -> None:
        """Gives both files back."""
        self._lines.close()
        self._rows.close()


def _row(record: DecisionRecord, line: bytes) -> DecisionRow:
    cost = record.final_cost_usd if record.final_cost_usd is not None else record.estimated_cost_usd
    return DecisionRow(
        id=record.id,
        started_at=record.started_at.timestamp(),
        route=record.route,
        model=record.model,
        deployment=record.deployment,
        status=record.status,
        cost_usd=cost,
        document=line.decode(),
    )


def _end_of_last_line(descriptor: int, size: int) -> int:
    """The offset behind the last newline; looks at the end first, because files are long and lines are short."""
    end = size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
