"""The decision log never shows half a line, rotates, follows its path, and outlives a full disk."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from router_extproc.observer.decision_log import DecisionLog, JsonLinesFile
from router_extproc.observer.records import DecisionRecord
from router_extproc.store.decisions import DecisionWriter, recent_decisions
from tests.observer.test_join import START


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def record(decision: str) -> DecisionRecord:
    return DecisionRecord(id=decision, started_at=START)


def test_lines_are_appended(path: Path) -> None:
    """What is there stays, what is new comes after it."""
    path.write_bytes(b'{"id":"old"}\n')
    file = JsonLinesFile(path, 1_000)
    file.append(b'{"id":"new"}\n')
    file.close()
    assert path.read_bytes() == b'{"id":"old"}\n{"id":"new"}\n'


@pytest.mark.parametrize("half", [b'{"id":"ha', b"x" * 200_000])
@pytest.mark.parametrize("whole", [b"", b'{"id":"old"}\n'])
def test_what_a_crash_left_of_a_line_is_cut_off(path: Path, whole: bytes, half: bytes) -> None:
    """However long the rest is, the next line begins at the start of a line."""
    path.write_bytes(whole + half)
    file = JsonLinesFile(path, 1 << 20)
    file.append(b'{"id":"new"}\n')
    file.close()
    assert path.read_bytes() == whole + b'{"id":"new"}\n'


def test_the_file_is_rotated_by_size_and_three_are_kept(path: Path) -> None:
    """No file grows over the limit, the newest is ``.1``, and no line is torn apart."""
    file = JsonLinesFile(path, 30)
    for number in range(12):
        file.append(f'{{"id":"{number:02}"}}\n'.encode())
    file.close()
    kept = {name.name: [json.loads(line)["id"] for line in name.read_text().splitlines()] for name in path.parent.iterdir()}
    assert kept == {
        "decisions.jsonl": ["10", "11"],
        "decisions.jsonl.1": ["08", "09"],
        "decisions.jsonl.2": ["06", "07"],
        "decisions.jsonl.3": ["04", "05"],
    }


def test_a_batch_over_the_limit_is_still_written(path: Path) -> None:
    """The limit decides when to rotate, not what to keep."""
    file = JsonLinesFile(path, 5)
    file.append(b"0123456789\n")
    file.append(b"abcdefghij\n")
    file.close()
    assert (path.read_bytes(), path.with_name("decisions.jsonl.1").read_bytes()) == (b"abcdefghij\n", b"0123456789\n")


def test_a_file_that_was_moved_away_is_begun_anew(path: Path) -> None:
    """Another program may rotate the log too."""
    file = JsonLinesFile(path, 1_000)
    file.append(b"one\n")
    path.rename(path.with_suffix(".taken"))
    file.append(b"two\n")
    path.unlink()
    file.append(b"three\n")
    file.close()
    assert (path.read_bytes(), path.with_suffix(".taken").read_bytes()) == (b"three\n", b"one\n")


def test_a_full_disk_leaves_whole_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes only a part, that part is taken back."""
    file = JsonLinesFile(path, 1_000)
    file.append(b"whole\n")
    real, calls = os.write, []

    def write_half(descriptor: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space left"):
        file.append(b"this line is cut\n")
    monkeypatch.undo()
    file.append(b"after\n")
    file.close()
    assert calls == [17, 9]
    assert path.read_bytes() == b"whole\nafter\n"


def test_records_go_to_both_places(path: Path) -> None:
    """A flushed record is a line of the file and a row of the database."""
    database = path.with_name("decisions.sqlite")
    log = DecisionLog(JsonLinesFile(path, 1 << 20), DecisionWriter(database))
    log.add(record("d-1"))
    log.add(record("d-2"))
    assert path.read_bytes() == b""
    log.write(log.take(), 1 << 20)
    log.close()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["d-1", "d-2"]
    assert [json.loads(document)["id"] for document in recent_decisions(database, 10)] == ["d-2", "d-1"]


def test_one_place_that_refuses_does_not_cost_the_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken database leaves the lines, a full disk leaves the rows; what was dropped is counted."""
    database = path.with_name("decisions.sqlite")
    rows = DecisionWriter(database)
    log = DecisionLog(JsonLinesFile(path, 1 << 20), rows)

    def refuse(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(rows, "write", refuse)
        log.add(record("d-1"))
        log.write(log.take(), 1 << 20)
    log._lines.close()
    log.add(record("d-2"))
    log.write(log.take(), 1 << 20)
    rows.close()
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["d-1"]
    assert [json.loads(document)["id"] for document in recent_decisions(database, 10)] == ["d-2"]
    assert log.dropped == 2


def test_a_disk_that_hangs_does_not_fill_the_memory(path: Path) -> None:
    """Beyond a bound records are dropped and counted."""
    rows = DecisionWriter(path.with_name("decisions.sqlite"))
    log = DecisionLog(JsonLinesFile(path, 1 << 20), rows)
    same = record("d")
    for _ in range(50_010):
        log.add(same)
    assert (len(log.take()), log.dropped) == (50_000, 10)
    log.close()
