"""Questions to the ledger: sums by any labels, and the newest calls, a page at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.ledger import Ledger, LedgerRow, Settlement, Spent, ledger_rows, spent

DAY = 86_400.0
ROWS = [
    LedgerRow(request="r1", attempt=1, at=5.0, tenant="acme", tags={"app": "chat"}, cost_micro_usd=5, prompt_tokens=7),
    LedgerRow(request="r2", attempt=1, at=6.0, tenant="acme", tags={'a "b" c': "x"}, cost_micro_usd=2, completion_tokens=3),
    LedgerRow(request="r3", attempt=1, at=DAY, tenant="bolt", tags={"app": "chat"}, cost_micro_usd=9, cached_tokens=1),
    LedgerRow(request="r3", attempt=2, at=DAY, tenant="bolt", purpose="judge", cost_micro_usd=1, usage_source="events"),
]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path)) as ledger:
        ledger.record([Settlement(row) for row in ROWS])
        # Still open: whoever asks does not wait for the writer.
        yield path


def test_one_sum_of_everything(path: Path) -> None:
    """Without labels there is one sum."""
    assert spent(path) == [Spent((), 4, 7, 3, 1, 17)]


def test_sums_by_labels(path: Path) -> None:
    """By columns, tags and days, dearest first; a call without the label is under the empty text."""
    assert [(sums.labels, sums.cost_micro_usd) for sums in spent(path, ["tenant"])] == [(("bolt",), 10), (("acme",), 7)]
    by_tag = {sums.labels: sums.cost_micro_usd for sums in spent(path, ["tag:app", "day"])}
    assert by_tag == {("chat", "1970-01-01"): 5, ("", "1970-01-01"): 2, ("chat", "1970-01-02"): 9, ("", "1970-01-02"): 1}
    assert spent(path, ["tenant"], limit=1)[0].labels == ("bolt",)


def test_sums_over_a_selection(path: Path) -> None:
    """By times, from the first on and before the last, and by labels, whatever a tag is called."""
    assert spent(path, since=6.0, until=DAY)[0].cost_micro_usd == 2
    assert spent(path, match=[("tenant", "bolt"), ("purpose", "judge")])[0].cost_micro_usd == 1
    assert spent(path, ["request"], match=[('tag:a "b" c', "x")]) == [Spent(("r2",), 1, 0, 3, 0, 2)]
    assert spent(path, match=[("tenant", "nobody")]) == []


def test_the_newest_calls(path: Path) -> None:
    """They come back as they were recorded, the newest first."""
    newest = ledger_rows(path, limit=2)
    assert [row for _, row in newest] == [ROWS[3], ROWS[2]]
    assert [row for _, row in ledger_rows(path, before=newest[-1][0])] == [ROWS[1], ROWS[0]]
    assert [row for _, row in ledger_rows(path, match=[("tag:app", "chat")])] == [ROWS[2], ROWS[0]]


def test_what_is_no_label(path: Path) -> None:
    """It is named, with those that there are; nothing of it reaches the database."""
    for label in ("tenant; drop table ledger", "tags", "cost_micro_usd"):
        with pytest.raises(ValueError, match="no label"):
            spent(path, [label])
        with pytest.raises(ValueError, match="no label"):
            ledger_rows(path, match=[(label, "")])


def test_files_that_cannot_be_read(tmp_path: Path, path: Path) -> None:
    """No file is no call; a broken one, or one of a newer version, is an error."""
    assert spent(tmp_path / "none.sqlite") == ledger_rows(tmp_path / "none.sqlite") == []
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreUnavailableError, match="cannot be read"):
        spent(broken)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(StoreUnavailableError, match="newer version"):
        ledger_rows(path)
