"""The ledger: every call once, with what it adds to counters and how far the log is settled, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.store.counters import Hold, Level, Query, Release, Total
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Pending, Position, Settlement, ledger_rows
from router_extproc.store.sqlite_counters import SqliteCounters
from router_extproc.store.sqlite_file import StoreError

NOW = 1_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path)
    yield opened
    opened.close()


def settlement(request: str, cost: int = 5, *, attempt: int = 1, counter: str = "a", bucket: int = 960) -> Settlement:
    row = LedgerRow(request=request, attempt=attempt, at=NOW, tenant="acme", tags={"app": "x"}, cost_micro_usd=cost)
    return Settlement(row, (Charge(counter, bucket, cost, 1_020),))


def test_rows_and_totals_are_added(ledger: Ledger) -> None:
    """Each call adds its row and its charges; the totals that changed are returned as they are now."""
    recorded = ledger.record([settlement("one"), settlement("two", 7), settlement("two", 1, bucket=970, attempt=2)])
    assert recorded.fresh == (True, True, True)
    assert set(recorded.totals) == {Total("a", 960, 12, 1_020), Total("a", 970, 1, 1_020)}


def test_a_call_is_settled_once(path: Path, ledger: Ledger) -> None:
    """A row that is there, or twice in one batch, adds nothing; another purpose of the same attempt is another call."""
    ledger.record([settlement("one")])
    judged = settlement("one", 3)
    judged = Settlement(LedgerRow(request="one", attempt=1, at=NOW, purpose="judge", cost_micro_usd=3), judged.charges)
    recorded = ledger.record([settlement("one"), judged, settlement("two"), settlement("two")])
    assert recorded.fresh == (False, True, True, False)
    assert recorded.totals == (Total("a", 960, 13, 1_020),)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select sum(cost_micro_usd), count(*) from ledger").fetchone() == (13, 3)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 40])
def test_rows_are_as_many_as_were_settled_and_as_they_were(path: Path, ledger: Ledger, count: int) -> None:
    """However many are written in one transaction, and whether or not some of them are there already."""
    rows = [
        LedgerRow(
            request=f"d-{number}", attempt=1, at=NOW + number / 8, tenant="acme", team="a", user="b", key="c", session="d",
            tags={"app": str(number)}, route="e", model="f", provider="g", deployment="h", status=200 + number, cause="i",
            prompt_tokens=number, completion_tokens=number * 2, cached_tokens=number // 2, usage_source="provider",
            cost_micro_usd=2**53 - number,
        )
        for number in range(count)
    ]  # fmt: skip
    ledger.record([Settlement(rows[0])])
    assert ledger.record([Settlement(row) for row in rows]).fresh == (False, *[True] * (count - 1))
    assert [row for _, row in reversed(ledger_rows(path))] == rows


@settings(max_examples=30)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20), tag=st.text(st.characters(exclude_categories=["Cs"]))
)
def test_texts_are_kept_as_they_are(tmp_path_factory: pytest.TempPathFactory, *, text: str, tag: str) -> None:
    """Whatever a user, a session or a tag is called, it comes back; but for NUL, which is shown as unknown."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    row = LedgerRow(request="r", attempt=1, at=NOW, user=text, session=text, tags={tag: text})
    with closing(Ledger(path)) as ledger:
        ledger.record([Settlement(row)])
    [(_, kept)] = ledger_rows(path)
    shown = text.replace("\0", "\ufffd")
    assert (kept.user, kept.session, kept.tags) == (shown, shown, {tag: text})


async def test_what_is_settled_is_no_longer_set_aside(path: Path, ledger: Ledger) -> None:
    """The counters that workers use are those that the ledger settles in."""
    counters = SqliteCounters(path)
    await counters.reserve("one", [Hold("a", 960, 900, 50, 100, "enforce", 1_020)], NOW + 60, NOW)
    ledger.record([settlement("one")], [Release("one", ("a",))])
    assert await counters.read([Query("a", 900)], NOW) == (Level(5, 0),)
    assert (await counters.reserve("two", [Hold("a", 960, 900, 96, 100, "enforce", 1_020)], NOW, NOW)).refused == (0,)
    await counters.aclose()


async def test_a_reservation_of_unknown_counters_is_given_back_in_all(path: Path, ledger: Ledger) -> None:
    """What was set aside for it anywhere is free again, and nothing of others is."""
    counters = SqliteCounters(path)
    holds = [Hold(name, 960, 960, 5, 100, "enforce", 1_020) for name in ("a", "b")]
    for reservation in ("lost", "kept"):
        await counters.reserve(reservation, holds, NOW + 60, NOW)
    ledger.record([], [Release("lost", ()), Release("nobody", ())])
    assert await counters.read([Query("a", 960), Query("b", 960)], NOW) == (Level(0, 5), Level(0, 5))
    await counters.aclose()


def test_a_release_that_names_no_counter_is_told(path: Path) -> None:
    """It stays pending over a restart until it was told, however many there are, and never as a counter's name."""
    with closing(Ledger(path, tells=True)) as ledger:
        ledger.record([], [Release("left", ()), Release("known", ("a",)), *(Release(f"r{number}", ()) for number in range(5))])
    found: list[Release] = []
    with closing(Ledger(path, tells=True)) as again:
        while pending := again.pending(limit=4):
            assert len(pending.releases) <= 5
            found += pending.releases
            again.told(pending)
        assert not again.pending()
    unnamed = sorted(release.reservation for release in found if not release.counters)
    assert unnamed == ["left", *(f"r{number}" for number in range(5))]
    assert [release for release in found if release.counters] == [Release("known", ("a",))]


def test_the_position_moves_with_what_was_settled(path: Path, ledger: Ledger) -> None:
    """It is there after a restart, and stays where nothing was said of it."""
    assert ledger.position() is None
    ledger.record([settlement("one")], position=Position(2**55, 120))
    ledger.record([settlement("two")])
    ledger.close()
    with closing(Ledger(path)) as again:
        assert again.position() == Position(2**55, 120)


def test_an_instance_keeps_its_name(path: Path, ledger: Ledger) -> None:
    """The name is the file's: another file has another one, the same file the same."""
    with closing(Ledger(path)) as again, closing(Ledger(path.with_name("other.sqlite"))) as other:
        assert again.instance == ledger.instance != other.instance


def test_rows_are_never_changed(path: Path, ledger: Ledger) -> None:
    """The file itself refuses to change a row."""
    ledger.record([settlement("one")])
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        connection.execute("update ledger set cost_micro_usd = 0")


def test_what_can_never_be_written(ledger: Ledger) -> None:
    """It is told from a file that cannot be written now, so that it is not tried for ever; the rest of it is not done."""
    nowhen = LedgerRow(request="two", attempt=1, at=float("nan"))
    for bad in (Settlement(nowhen), settlement("two", -1), settlement("two", 2**60)):
        with pytest.raises(ValueError, match=r"cannot hold this|a charge"):
            ledger.record([settlement("one"), bad], position=Position(1, 2))
    assert ledger.position() is None
    assert ledger.record([settlement("one")]).fresh == (True,)


def test_what_another_store_is_to_be_told(path: Path) -> None:
    """Totals and releases stay pending until they were told; a total that has changed meanwhile stays longer."""
    with closing(Ledger(path, tells=True)) as ledger:
        ledger.record([settlement("one")], [Release("one", ("a", "b"))])
        pending = ledger.pending()
        assert pending == Pending((Total("a", 960, 5, 1_020),), (Release("one", ("a", "b")),))
        ledger.record([settlement("two")])
        ledger.told(pending)
        assert ledger.pending() == Pending((Total("a", 960, 10, 1_020),), ())
    with closing(Ledger(path, tells=True)) as again:
        again.told(again.pending())
        assert not again.pending()
        assert (again.tell_again(NOW), again.tell_again(NOW)) == (1, 0)
        assert again.pending().totals == (Total("a", 960, 10, 1_020),)


def test_nothing_is_pending_where_nobody_is_to_be_told(ledger: Ledger) -> None:
    """With counters in the file itself there is nobody to tell."""
    ledger.record([settlement("one")], [Release("one", ("a",))])
    assert not ledger.pending()


def test_a_counter_is_told_as_a_whole(path: Path) -> None:
    """The limit is one of counters, and those behind it come next, even while the first ones change."""
    with closing(Ledger(path, tells=True)) as ledger:
        for counter in "abc":
            ledger.record(
                [settlement(counter, 1, counter=counter), settlement(counter, 2, counter=counter, bucket=1, attempt=2)]
            )
        seen = []
        for turn in range(3):
            pending = ledger.pending(1)
            assert len(pending.totals) == 2
            seen.append(pending.totals[0].counter)
            ledger.told(pending)
            ledger.record([settlement(f"again {turn}", counter="a")])
        assert seen == ["a", "b", "c"]
        assert {total.counter for total in ledger.pending(1).totals} == {"a"}


def test_what_is_old_is_forgotten(path: Path, ledger: Ledger) -> None:
    """Old rows, totals long out of any window, ended claims and empty counters go; the rest stays."""
    ledger.record([settlement("one"), settlement("two", counter="b", bucket=9_000)])
    late = LedgerRow(request="late", attempt=1, at=NOW + 1)
    ledger.record([Settlement(late, (Charge("b", 9_000, 1, 99_999),))])
    assert ledger.forget(NOW + 1, NOW) == 2
    assert ledger.forget(NOW + 1, NOW + 9_000) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select request from ledger").fetchall() == [("late",)]
        assert connection.execute("select counter, amount from totals").fetchall() == [("b", 6)]


def test_what_is_forgotten_gives_its_space_back(path: Path, ledger: Ledger) -> None:
    """The file gets smaller, a few thousand rows at a time."""
    ledger.record([settlement(f"r{number}") for number in range(3_000)])
    with closing(sqlite3.connect(path)) as connection:
        before = connection.execute("pragma page_count").fetchone()[0]
        assert [ledger.forget(NOW + 1, NOW) for _ in range(3)] == [2_000, 1_000, 0]
        assert connection.execute("pragma page_count").fetchone()[0] < before / 3


def test_a_broken_file_is_put_aside(path: Path) -> None:
    """A file that is no database does not stop the service; it is kept, and everything begins anew."""
    path.write_bytes(b"no database at all" * 1_000)
    with closing(Ledger(path)) as ledger:
        ledger.record([settlement("one")], position=Position(1, 2))
    assert path.with_name("ledger.sqlite.broken").read_bytes().startswith(b"no database")


def test_a_newer_file_is_refused(path: Path, ledger: Ledger) -> None:
    """What a newer version wrote is neither read wrongly nor put aside."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")
    for opening in (Ledger, SqliteCounters):
        with pytest.raises(StoreError, match="newer version"):
            opening(path)
    assert path.exists()
