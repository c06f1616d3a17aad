"""From log lines to the ledger: once each, whatever dies, breaks or cannot be understood."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router_extproc.account import Account, Rates
from router_extproc.observer.settlement import Place
from router_extproc.observer.settling import Settling, Stretch
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.ledger import Ledger, Recorded, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.observer.lines import ACCOUNT, MONEY, attempt_line, request_line
from tests.tied import tied

NOW = 1_772_366_401.0
PLACES = {"openai/small": Place("small", "openai")}
COST = 575  # of one line


def write(log: Path, *lines: bytes) -> None:
    with log.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


FREE = replace(ACCOUNT, held=())


def lines_of(first: int, last: int, account: Account = ACCOUNT) -> list[bytes]:
    """Requests with these numbers, their attempts before them."""
    return [
        line
        for number in range(first, last)
        for line in (
            attempt_line(f"d-{number}"),
            request_line(f"d-{number}", replace(account, reservation=f"d-{number}")),
        )
    ]


def settle_all(settling: Settling, now: float = NOW) -> list[Stretch]:
    found = []
    while True:
        found.append(settling.step(PLACES, now))
        if not found[-1].more:
            return found


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.jsonl"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def books(database: Path) -> Iterator[Ledger]:
    with closing(Ledger(database)) as opened:
        yield opened


@pytest.fixture
def settling(log: Path, books: Ledger) -> Iterator[Settling]:
    with closing(Settling(log, books)) as opened:
        yield opened


def total(database: Path) -> tuple[int, int]:
    """Calls and micro-dollars in the ledger."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        calls, cost = connection.execute("select count(*), total(cost_micro_usd) from ledger").fetchone()
    return calls, int(cost)


async def test_what_was_set_aside_becomes_what_was_spent(log: Path, database: Path, settling: Settling) -> None:
    """The reservation is gone and the total has grown, at once; the row says who paid."""
    counters = SqliteCounters(database)
    hold = Hold(MONEY.counter, MONEY.bucket, MONEY.since, MONEY.amount, MONEY.limit, "enforce", MONEY.expires_at)
    await counters.reserve("d-1", [hold], NOW + 3_600, NOW)
    write(log, attempt_line(), request_line())
    [stretch] = settle_all(settling)
    assert [row.request for row in stretch.rows] == ["d-1"]
    assert stretch.held == {MONEY.counter: MONEY}
    [level] = await counters.read([Query(MONEY.counter, MONEY.since)], NOW)
    assert (level.settled, level.held) == (COST, 0)
    [row] = stretch.rows
    assert (row.tenant, row.provider, row.cost_micro_usd) == ("acme", "openai", COST)
    await counters.aclose()


def test_a_line_that_is_read_again_adds_nothing(log: Path, database: Path, books: Ledger, settling: Settling) -> None:
    """The same lines in another file, as after a lost position: rows and totals stay."""
    write(log, *lines_of(0, 5))
    settle_all(settling)
    log.write_bytes(b"\n".join([b"", *lines_of(0, 6), b""]))
    with closing(Settling(log, books)) as again:
        fresh = [row.request for stretch in settle_all(again) for row in stretch.rows]
    assert fresh == ["d-5"]
    assert total(database) == (6, 6 * COST)


async def test_what_a_late_worker_sets_aside_is_given_back(log: Path, database: Path, settling: Settling) -> None:
    """A client left before a decision came: what is set aside before and after its line is read is free again."""
    counters = SqliteCounters(database)
    hold = Hold("a", 0, 0, 5, 100, "enforce", int(NOW) + 3_600)
    await counters.reserve("left", [hold], NOW + 3_600, NOW)
    undecided = {"attempts": 0, "tried": None, "deployment": None, "status": 0, "flags": "DC"}
    write(log, request_line("left", account=None, **undecided))
    settle_all(settling)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 0),)
    await counters.reserve("left", [hold], NOW + 3_600, NOW)
    settle_all(settling, NOW + 0.5)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 5),)
    settle_all(settling, NOW + 1)
    assert await counters.read([Query("a", 0)], NOW) == (Level(0, 0),)
    await counters.aclose()


def test_the_next_observer_goes_on(log: Path, database: Path, books: Ledger, settling: Settling) -> None:
    """Position and rows are stored together."""
    write(log, *lines_of(0, 3))
    settle_all(settling)
    write(log, *lines_of(3, 5))
    with closing(Settling(log, books)) as successor:
        assert [row.request for stretch in settle_all(successor) for row in stretch.rows] == ["d-3", "d-4"]


def test_nothing_to_settle_is_no_writing(log: Path, database: Path, settling: Settling) -> None:
    """Lines without account cost no transaction each, and their position is stored once a second."""
    write(log, *(request_line(f"d-{number}", None) for number in range(3)))
    settle_all(settling, NOW)
    stored = database.read_bytes()
    write(log, request_line("d-4", None))
    settle_all(settling, NOW + 0.5)
    assert database.read_bytes() == stored
    with closing(Ledger(database)) as reader:
        settle_all(settling, NOW + 2)
        position = reader.position()
    assert position is not None
    assert position.offset == log.stat().st_size


def test_what_cannot_be_understood_is_passed_over_and_counted(
    log: Path, database: Path, settling: Settling, caplog: pytest.LogCaptureFixture
) -> None:
    """The lines around it count, and nothing of it stands in our log."""
    write(log, *lines_of(0, 1), b'{"tenant": "secret-tenant"', b"secret", *lines_of(1, 2))
    [stretch] = settle_all(settling)
    assert (stretch.unreadable, len(stretch.rows)) == (2, 2)
    assert "secret" not in caplog.text
    assert total(database) == (2, 2 * COST)


class Refusing(Ledger):
    """A ledger that cannot take one request, whatever it is asked together with."""

    def record(self, settlements: Sequence[Settlement], *rest: Any) -> Recorded:
        if any(one.row.request == "d-x" for one in settlements):
            raise OverflowError("too large")
        return super().record(settlements, *rest)


def test_what_cannot_be_written_is_passed_over_and_counted(log: Path, database: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One request that the ledger cannot take stops nobody else's settlement, today and with every later step."""
    write(log, *lines_of(0, 1), request_line("d-x", replace(ACCOUNT, reservation="d-x")), *lines_of(1, 2))
    with closing(Refusing(database)) as books, closing(Settling(log, books)) as settling:
        [stretch] = settle_all(settling)
        assert (stretch.unsettled, len(stretch.rows)) == (1, 2)
        assert caplog.records[-1].__dict__["decision"] == "d-x"
        write(log, *lines_of(2, 3))
        assert [row.request for one in settle_all(settling) for row in one.rows] == ["d-2"]
    assert total(database) == (3, 3 * COST)


def test_a_price_that_no_store_can_count_exactly_is_not_settled(log: Path, database: Path, settling: Settling) -> None:
    """Above 2^53 sums would be rounded, in silence: rather none, and told."""
    absurd = replace(ACCOUNT, reservation="d-x", rates={"openai/small": Rates(10**22, 10**22, 10**22)})
    write(log, request_line("d-x", absurd), *lines_of(0, 1))
    [stretch] = settle_all(settling)
    assert (stretch.unreadable, len(stretch.rows)) == (1, 1)


def test_a_ledger_that_cannot_be_written_is_tried_again(log: Path, database: Path, settling: Settling) -> None:
    """Nothing is skipped: what could not be written is settled once it can be, in order."""
    settle_all(settling)
    write(log, *lines_of(0, 2))
    with database.with_name("ledger.sqlite.lock").open("a") as somebody:
        fcntl.flock(somebody, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailableError):
            settle_all(settling)
    assert [row.request for stretch in settle_all(settling) for row in stretch.rows] == ["d-0", "d-1"]


def test_a_broken_ledger_is_filled_again_from_the_log(log: Path, database: Path) -> None:
    """A file that is found broken is put aside, and everything that the log still says is settled anew."""
    write(log, *lines_of(0, 4))
    with closing(Ledger(database)) as books, closing(Settling(log, books)) as settling:
        settle_all(settling)
    database.write_bytes(b"\xff" * 8_192)
    write(log, *lines_of(4, 6))
    with closing(Ledger(database)) as books, closing(Settling(log, books)) as settling:
        settle_all(settling)
    assert total(database) == (6, 6 * COST)


class Forgetful(Ledger):
    """A ledger whose file turns out to be broken in the middle of its life, and is begun anew."""

    lost = False

    def record(self, *everything: Any) -> Recorded:
        if self.lost:
            self.lost = False
            with self._file.write() as connection:
                connection.execute("delete from settled_log")
                connection.execute("delete from ledger")
                connection.execute("delete from totals")
            raise StoreUnavailableError("put aside")
        return super().record(*everything)


def test_a_ledger_that_lost_everything_is_told_everything(log: Path, database: Path) -> None:
    """Reading begins again where the ledger says, not where this process thinks it is."""
    with closing(Forgetful(database)) as books, closing(Settling(log, books)) as settling:
        write(log, *lines_of(0, 4))
        settle_all(settling)
        books.lost = True
        write(log, *lines_of(4, 6))
        with pytest.raises(StoreUnavailableError):
            settle_all(settling)
        settle_all(settling)
    assert total(database) == (6, 6 * COST)


def test_who_holds_nothing_is_left_in_the_log_for_a_while(log: Path, database: Path, settling: Settling) -> None:
    """So that many are settled in one transaction; nothing of them is known but to the log, which says how many they are."""
    write(log, *lines_of(0, 1))
    assert not settling.may_wait(NOW, 0.2)
    settle_all(settling)
    assert settling.may_wait(NOW, 0.2)
    write(log, *lines_of(1, 3, FREE))
    assert settling.may_wait(NOW + 0.02, 0.2)
    write(log, *lines_of(3, 4, FREE))
    assert settling.may_wait(NOW + 0.21, 0.2)
    assert settling.behind_bytes() == sum(len(line) + 1 for line in lines_of(1, 4, FREE))
    assert total(database) == (1, COST)
    assert not settling.may_wait(NOW + 0.22, 0.2)
    settle_all(settling)
    assert total(database) == (4, 4 * COST)
    write(log, *lines_of(4, 5, FREE))
    assert settling.may_wait(NOW + 0.3, 0.2)


def test_who_holds_something_waits_for_nobody(log: Path, settling: Settling) -> None:
    """Others that were waiting are settled with it; and whoever has no patience waits for nothing."""
    write(log, *lines_of(0, 1))
    settle_all(settling)
    write(log, *lines_of(1, 2, FREE))
    assert not settling.may_wait(NOW, 0.0)
    assert settling.may_wait(NOW, 0.2)
    write(log, *lines_of(2, 3))
    assert not settling.may_wait(NOW + 0.02, 0.2)
    [stretch] = settle_all(settling)
    assert [row.request for row in stretch.rows] == ["d-1", "d-2"]


def test_a_clock_that_goes_back_keeps_nobody_waiting(log: Path, settling: Settling) -> None:
    """What came before the clock was set back is settled, not left until the clock is there again."""
    write(log, *lines_of(0, 1))
    settle_all(settling)
    write(log, *lines_of(1, 2, FREE))
    assert settling.may_wait(NOW, 0.2)
    assert not settling.may_wait(NOW - 3_600, 0.2)


def test_what_is_given_back_again_waits_for_no_line(log: Path, settling: Settling) -> None:
    """Nothing more comes, and yet there is something to do a second after a client left."""
    write(log, request_line("left", None, attempts=0, tried=None, deployment=None, status=0, flags="DC"))
    settle_all(settling)
    assert settling.may_wait(NOW + 0.9, 0.2)
    assert not settling.may_wait(NOW + 1.0, 0.2)
    settle_all(settling, NOW + 1.0)
    assert settling.may_wait(NOW + 1.1, 0.2)


WORKER = """
import sys, time
from pathlib import Path
from router_extproc.observer.settling import Settling
from router_extproc.store.ledger import Ledger, Recorded, Settlement
settling = Settling(Path(sys.argv[1]), Ledger(Path(sys.argv[2])))
print("ready", flush=True)
while True:
    if not settling.may_wait(time.time(), 0.01):
        settling.step({}, time.time())
    time.sleep(0.001)
"""


@pytest.mark.parametrize("seed", range(3))
def test_kill_at_any_moment_loses_and_doubles_nothing(log: Path, database: Path, seed: int) -> None:
    """Killed again and again while lines come and the log is rotated: the ledger holds every request once, also of those that
    were left in the log for a while.
    """
    written = 0
    log.touch()
    for round_number in range(5):
        process = subprocess.Popen(tied([sys.executable, "-c", WORKER, str(log), str(database)]), stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(20):
            write(log, *lines_of(written, written + 7, FREE if round_number < 3 else ACCOUNT))
            written += 7
            time.sleep(0.001 * ((seed * 7 + round_number * 3 + written) % 5))
        if round_number % 2:
            log.replace(log.with_name("access.jsonl.1"))
            log.touch()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with closing(Ledger(database)) as books, closing(Settling(log, books)) as settling:
        settle_all(settling)
    assert total(database) == (written, written * COST)
