"""The shared SQLite file in trouble: locked, full, broken, removed, opened by many at once. Errors, never wrong answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sqlite3
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from router_extproc.store import group_commit
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Position, Settlement, spent
from router_extproc.store.sqlite_counters import SqliteCounters
from router_extproc.store.sqlite_file import WriteTurn, put_aside, suspicion

NOW = 1_000.0
HOLDER = """
import sys
from pathlib import Path
from router_extproc.store.sqlite_file import WriteTurn
WriteTurn(Path(sys.argv[1])).take()
print("mine", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
async def counters(path: Path) -> AsyncIterator[SqliteCounters]:
    opened = SqliteCounters(path, deadline_seconds=5.0)
    yield opened
    await opened.aclose()


def hold(amount: int = 10, counter: str = "a") -> Hold:
    return Hold(counter, bucket=960, since=900, amount=amount, limit=100, kind="enforce", expires_at=1_020)


def settlement(request: str) -> Settlement:
    return Settlement(LedgerRow(request=request, attempt=1, at=NOW, cost_micro_usd=5), (Charge("a", 960, 5, 1_020),))


def modes_in(folder: Path) -> dict[str, int]:
    """Who may read and write each file, as the bits of chmod(2)."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


async def test_nobody_else_reads_the_file_or_what_lies_beside_it(tmp_path: Path) -> None:
    """The database, what SQLite keeps beside it, and files that an older version left open are the owner's alone."""
    path = tmp_path / "ledger.sqlite"
    for _ in range(2):
        before = os.umask(0o022)
        try:
            opened = SqliteCounters(path, deadline_seconds=5.0)
            assert not (await opened.reserve("r", [hold()], NOW + 60, NOW)).refused
        finally:
            os.umask(before)
        modes = modes_in(tmp_path)
        assert {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"} <= set(modes)
        assert set(modes.values()) == {0o600}
        await opened.aclose()
        path.chmod(0o644)


@contextmanager
def turn_taken(path: Path) -> Iterator[None]:
    """Somebody else's turn."""
    turn = WriteTurn(path)
    with turn.taken():
        yield
    turn.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process can grow beyond what the database and its log have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = max(file.stat().st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def overwrite(path: Path, offset: int = 0, size: int | None = None) -> None:
    """The file is damaged, as a whole or some bytes of it; its log is empty."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0] == 0
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"damaged " * ((size or path.stat().st_size) // 8))


def remove(path: Path) -> None:
    """As somebody would who does not know of the files beside it."""
    path.unlink()


async def test_who_waits_too_long_is_told(path: Path) -> None:
    """While another process has the turn and does not pass it on, the event loop goes on and the deadline holds; what was
    not begun by then is not done later.
    """
    counters = SqliteCounters(path, deadline_seconds=0.5)
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0.002)

    counting = asyncio.create_task(count_rounds())
    with turn_taken(path):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"did not answer within 0\.5 s"):
            await counters.reserve("late", [hold()], NOW + 60, NOW)
        assert time.monotonic() - began < 10.0
        assert rounds > 5
    counting.cancel()
    await counters.reserve("next", [hold(1)], NOW + 60, NOW)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 1),)
    await counters.aclose()


async def test_opening_while_somebody_does_not_pass_the_turn_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers start, and get errors until they can write; the observer is told, and tries again."""
    monkeypatch.setattr(group_commit, "_OPENING_SECONDS", 0.05)
    with turn_taken(path):
        counters = SqliteCounters(path, deadline_seconds=0.1)
        with pytest.raises(StoreUnavailableError):
            await counters.reserve("early", [hold()], NOW + 60, NOW)
        with pytest.raises(StoreUnavailableError, match="does not end"):
            Ledger(path)
    assert (await counters.reserve("one", [hold()], NOW + 60, NOW)).levels == (Level(),)
    await counters.aclose()


async def test_who_is_cancelled_sets_nothing_aside(path: Path, counters: SqliteCounters) -> None:
    """A client that goes away while others write leaves nothing behind."""
    with turn_taken(path):
        asked = asyncio.create_task(counters.reserve("gone", [hold()], NOW + 60, NOW))
        await asyncio.sleep(0.01)
        asked.cancel()
    await counters.release([], NOW)
    assert await counters.read([Query("a", 0)], NOW) == (Level(),)


async def test_a_killed_process_passes_its_turn_on(path: Path, counters: SqliteCounters) -> None:
    """Whoever dies in its turn keeps nobody waiting."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(path), cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"mine\n"
    asked = asyncio.create_task(counters.reserve("one", [hold()], NOW + 60, NOW))
    await asyncio.sleep(0.05)
    assert not asked.done()
    holder.kill()
    assert (await asked).refused == ()
    await holder.wait()


async def test_a_lock_by_somebody_who_takes_no_turns(path: Path, counters: SqliteCounters) -> None:
    """A shell on the file delays everybody, without an error, until it lets go."""
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("begin immediate")
        asked = asyncio.create_task(counters.reserve("one", [hold()], NOW + 60, NOW))
        await asyncio.sleep(0.05)
        assert not asked.done()
        with (
            closing(Ledger(path.with_name("other.sqlite"))),
            pytest.raises(StoreUnavailableError),
            closing(Ledger(path)) as ledger,
        ):
            ledger.record([settlement("one")])
        shell.execute("rollback")
    assert (await asked).refused == ()


async def test_a_full_disk(path: Path, counters: SqliteCounters, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is set aside or settled by halves; it is said once; when there is room again all goes on by itself."""
    caplog.set_level(logging.WARNING)
    wide = "counter " + "x" * 200
    with closing(Ledger(path)) as ledger, full_disk(path):
        refused = 0
        for number in range(200):
            try:
                await counters.reserve(f"r{number}", [hold(0, f"{wide}{number}")], NOW + 60, NOW)
            except StoreUnavailableError:
                refused += 1
        assert refused > 2
        with pytest.raises(StoreUnavailableError):
            ledger.record([settlement(f"{wide}{number}") for number in range(500)], position=Position(1, 2))
    assert caplog.text.count("database cannot be written") == 1
    with closing(Ledger(path)) as ledger:
        assert ledger.position() is None
        assert spent(path) == []
        ledger.record([settlement("one")])
    assert (await counters.reserve("last", [hold(95)], NOW + 60, NOW)).levels == (Level(5, 0),)
    assert caplog.text.count("database can be written again") == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


async def test_a_file_that_is_damaged_while_in_use(path: Path, counters: SqliteCounters) -> None:
    """Workers get errors until the observer puts it aside and begins anew, from the beginning of the log; then they go on
    without a restart.
    """
    with closing(Ledger(path)) as ledger:
        ledger.record([settlement("one")], position=Position(1, 2))
        overwrite(path)
        with pytest.raises(StoreUnavailableError):
            await counters.reserve("one", [hold()], NOW + 60, NOW)
        assert not path.with_name("ledger.sqlite.broken").exists()
        with pytest.raises(StoreUnavailableError):
            ledger.record([settlement("two")], position=Position(1, 3))
        assert ledger.position() is None
        ledger.record([settlement("one"), settlement("two")], position=Position(1, 3))
    assert (await counters.reserve("one", [hold()], NOW + 60, NOW)).levels == (Level(10, 0),)
    assert path.with_name("ledger.sqlite.broken").exists()


async def test_a_broken_file_that_cannot_be_put_aside(path: Path, counters: SqliteCounters) -> None:
    """The observer is told, whether it reads or writes, and nobody else waits for it; it tries again until it can."""
    in_the_way = path.with_name("ledger.sqlite.broken")
    (in_the_way / "full").mkdir(parents=True)
    with closing(Ledger(path)) as ledger:
        ledger.record([settlement("one")], position=Position(1, 2))
        overwrite(path)
        for ask in (ledger.position, ledger.pending, lambda: ledger.record([settlement("two")])):
            with pytest.raises(StoreUnavailableError):
                ask()
            with closing(WriteTurn(path)) as turn:
                assert turn.take(0.0), "the turn was kept"
        (in_the_way / "full").rmdir()
        in_the_way.rmdir()
        with contextlib.suppress(StoreUnavailableError):
            ledger.position()
        assert ledger.position() is None
    assert (await counters.reserve("one", [hold()], NOW + 60, NOW)).refused == ()


def test_a_file_of_a_newer_version_in_place_of_ours(path: Path) -> None:
    """Who finds one under its feet says so, and touches nothing; with the old one back all goes on."""
    with closing(Ledger(path)) as ledger:
        ledger.record([settlement("one")])
        ours = path.with_name("ours")
        path.rename(ours)
        with closing(sqlite3.connect(path)) as newer:
            newer.execute("pragma user_version = 99")
        with pytest.raises(StoreUnavailableError, match="newer version"):
            ledger.record([settlement("two")])
        with pytest.raises(StoreUnavailableError, match="newer version"):
            ledger.position()
        assert not path.with_name("ledger.sqlite.broken").exists()
        ours.replace(path)
        assert ledger.record([settlement("two")]).fresh == (True,)


async def test_damage_that_only_workers_meet(path: Path, counters: SqliteCounters) -> None:
    """Where the observer never looks, workers tell it, and it looks: nobody is locked out for good."""
    with closing(Ledger(path)) as ledger:
        for number in range(50):
            await counters.reserve(f"r{number}", [hold(1, f"{number}" + "x" * 100)], NOW + 60, NOW)
        with closing(sqlite3.connect(path)) as connection:
            page = connection.execute("select rootpage from sqlite_master where name = 'counters'").fetchone()[0]
            size = connection.execute("pragma page_size").fetchone()[0]
        overwrite(path, (page - 1) * size, size)
        with pytest.raises(StoreUnavailableError):
            await counters.reserve("one", [hold()], NOW + 60, NOW)
        with pytest.raises(StoreUnavailableError, match="began anew"):
            ledger.record([], position=Position(1, 2))
        assert (await counters.reserve("one", [hold()], NOW + 60, NOW)).refused == ()
        assert ledger.position() is None
        ledger.record([], position=Position(1, 2))
    assert path.with_name("ledger.sqlite.broken").exists()


async def test_a_suspicion_without_reason(path: Path, counters: SqliteCounters) -> None:
    """A sound file is looked at once and stays."""
    await counters.reserve("one", [hold()], NOW + 60, NOW)
    with closing(Ledger(path)) as ledger:
        suspicion(path).touch()
        ledger.record([], position=Position(1, 2))
    assert not suspicion(path).exists()
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 10),)


async def test_a_file_that_is_removed_or_replaced(path: Path, counters: SqliteCounters) -> None:
    """Nobody goes on writing into a file that nobody else sees."""
    await counters.reserve("one", [hold()], NOW + 60, NOW)
    put_aside(path, "test")
    await counters.reserve("two", [hold(7)], NOW + 60, NOW)
    other = SqliteCounters(path)
    assert await other.read([Query("a", 0)], NOW) == (Level(0, 7),)
    await other.aclose()
    remove(path)
    with closing(Ledger(path)) as ledger:
        remove(path)
        assert not ledger.pending()
        ledger.record([settlement("one")])
        with pytest.raises(StoreUnavailableError, match="began anew"):
            ledger.record([settlement("two")], position=Position(1, 2))
    remove(path)
    await counters.reserve("three", [hold(5)], NOW + 60, NOW)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 5),)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """It is told when the file is opened."""
    for opening in (SqliteCounters, Ledger):
        with pytest.raises(OSError, match="not there"):
            opening(tmp_path / "not there" / "ledger.sqlite")


async def test_many_open_a_new_file_at_once(path: Path) -> None:
    """Whoever comes first makes it; nobody sees it half made."""
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: SqliteCounters(path), range(8)))
    verdicts = await asyncio.gather(
        *(store.reserve(f"r{number}", [hold(30)], NOW + 60, NOW) for number, store in enumerate(opened))
    )
    assert sorted(len(verdict.refused) for verdict in verdicts) == [0, 0, 0, 1, 1, 1, 1, 1]
    for store in opened:
        await store.aclose()


async def test_a_closed_store_says_so(path: Path) -> None:
    """What was asked before is answered; what is asked later is an error."""
    counters = SqliteCounters(path)
    asked = asyncio.create_task(counters.reserve("one", [hold()], NOW + 60, NOW))
    await asyncio.sleep(0)
    await counters.aclose()
    assert (await asked).refused == ()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await counters.reserve("two", [hold()], NOW + 60, NOW)


async def test_who_still_waits_at_the_close_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process has the turn and does not pass it on, closing leaves nobody waiting for an answer."""
    monkeypatch.setattr(group_commit, "_CLOSING_SECONDS", 0.05)
    counters = SqliteCounters(path, deadline_seconds=30.0)
    with turn_taken(path):
        asked = asyncio.create_task(counters.reserve("one", [hold()], NOW + 60, NOW))
        await asyncio.sleep(0)
        await counters.aclose()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await asked
