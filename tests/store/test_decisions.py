"""Decisions in SQLite: written in batches, read while they are written, forgotten in time, safe against broken files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from router_extproc.store.decisions import DecisionRow, DecisionWriter, StoreError, find_decision, recent_decisions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def writer(path: Path) -> Iterator[DecisionWriter]:
    opened = DecisionWriter(path)
    yield opened
    opened.close()


def row(decision: str, started_at: float = 1.0) -> DecisionRow:
    return DecisionRow(decision, started_at, "auto", "gpt-4o", "openai/gpt-4o", 200, 0.5, f'{{"id":"{decision}"}}')


def test_a_batch_is_written_and_read(path: Path, writer: DecisionWriter) -> None:
    """Readers see the batch while the writer still has the file open, newest first."""
    writer.write([row("a"), row("b"), row("c")])
    assert recent_decisions(path, 2) == ['{"id":"c"}', '{"id":"b"}']
    assert find_decision(path, "a") == '{"id":"a"}'
    assert find_decision(path, "z") is None


def test_the_columns_can_be_queried(path: Path, writer: DecisionWriter) -> None:
    """What is searched by stands in columns of its own."""
    writer.write([row("a", 7.5)])
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("select id, started_at, route, model, deployment, status, cost_usd from decisions")
        assert found.fetchone() == ("a", 7.5, "auto", "gpt-4o", "openai/gpt-4o", 200, 0.5)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_no_file_is_no_decisions(path: Path) -> None:
    """Asking before the first record is no error, and makes no file."""
    assert recent_decisions(path, 5) == []
    assert find_decision(path, "a") is None
    assert not path.exists()


def test_a_second_opening_keeps_everything(path: Path, writer: DecisionWriter) -> None:
    """A restarted process goes on in the same file."""
    writer.write([row("a")])
    with closing(DecisionWriter(path)) as again:
        again.write([row("b")])
    assert len(recent_decisions(path, 5)) == 2


def test_old_records_are_forgotten_and_their_space_given_back(path: Path, writer: DecisionWriter) -> None:
    """Retention deletes by start time, some thousands at a time, and the file gets smaller."""
    writer.write([row(f"old-{number}", 1.0) for number in range(6_000)] + [row("new", 100.0)])
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("pragma page_count").fetchone()[0]
        assert [writer.forget(50.0), writer.forget(50.0), writer.forget(50.0)] == [5_000, 1_000, 0]
        assert connection.execute("pragma page_count").fetchone()[0] < before / 10
    assert recent_decisions(path, 5) == ['{"id":"new"}']


def test_only_the_newest_records_are_kept(path: Path, writer: DecisionWriter) -> None:
    """However busy an instance is, its file stops growing."""
    writer.write([row(f"{number}", 1.0) for number in range(6_010)])
    assert [writer.forget_beyond(10) for _ in range(3)] == [5_000, 1_000, 0]
    assert recent_decisions(path, 50) == [f'{{"id":"{number}"}}' for number in range(6_009, 5_999, -1)]


def test_a_failed_batch_leaves_nothing(path: Path, writer: DecisionWriter) -> None:
    """A batch is one transaction."""
    bad = DecisionRow("b", 1.0, None, None, None, None, None, "{}")  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        writer.write([row("a"), bad])
    assert recent_decisions(path, 5) == []


def test_a_file_that_is_no_database_is_put_aside(path: Path) -> None:
    """A broken file must not keep the service from starting, and is kept for whoever wants to look."""
    path.write_bytes(b"this is no database, " * 1_000)
    with closing(DecisionWriter(path)) as writer:
        writer.write([row("a")])
    assert recent_decisions(path, 5) == ['{"id":"a"}']
    assert path.with_name("decisions.sqlite.broken").read_bytes().startswith(b"this is no database")


def test_a_newer_file_is_refused(path: Path) -> None:
    """An older package must not write into a file whose tables it does not know."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 2")
    with pytest.raises(StoreError, match="newer version"):
        DecisionWriter(path)
