"""Log, ledger, store and alerts put together: in this process, and in the real one that is killed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from router_extproc.account import Account
from router_extproc.config.state import StateDirectory
from router_extproc.observer.bookkeeping import Bookkeeping
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import AuthSettings, Budget, KeyGrant, LoopGuard, Spending, StoreSettings
from router_extproc.store.counters import Query
from tests.observer.lines import ACCOUNT, MONEY, request_line
from tests.observer.process import ObserverProcess, eventually

COST = 575
KEY = KeyGrant("k1", "acme", ())
NEAR = replace(MONEY, limit=1_000, warn_at=(0.5, 0.9, 1.0), expires_at=int(time.time()) + 3_600)


def write(log: Path, *lines: bytes) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))


def paid_by(decision: str, account: Account = ACCOUNT) -> bytes:
    return request_line(decision, replace(account, reservation=decision))


def rows(state: Path) -> list[str]:
    path = state / "ledger.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return [request for (request,) in connection.execute("select request from ledger order by sequence")]
        except sqlite3.OperationalError:
            return []


class Books:
    """Bookkeeping over a directory, with its figures."""

    def __init__(self, folder: Path) -> None:
        self.state = StateDirectory(folder)
        self.figures = CollectorRegistry()
        self.keeping = Bookkeeping(self.state, SpendingMetrics(self.figures), time.time, {})

    def figure(self, name: str, **labels: str) -> float | None:
        return self.figures.get_sample_value(name, labels)


@pytest.fixture
async def books(tmp_path: Path) -> Any:
    made = Books(tmp_path)
    yield made
    await made.keeping.aclose()


async def test_without_a_configuration_nothing_happens(books: Books) -> None:
    """The store is named by the configuration: until it is known there are no books."""
    write(books.state.access_log, paid_by("d-1"))
    await books.keeping.settle()
    await books.keeping.tell()
    assert books.keeping.store is None
    assert rows(books.state.root) == []


async def test_what_is_settled_is_counted(books: Books) -> None:
    """Once, by purpose and by who counted; lines that say nothing are counted too."""
    books.keeping.know(Registry(spending=Spending(budgets=(Budget("month", "usd", 10**6),))))
    write(books.state.access_log, paid_by("d-1"), paid_by("d-1"), paid_by("d-2"), b"nonsense")
    await books.keeping.settle()
    await books.keeping.settle()
    await books.keeping.tell()
    labels = {"purpose": "answer", "counted_by": "provider"}
    assert books.figure("router_settled_calls_total", **labels) == 2
    assert books.figure("router_settled_usd_total", **labels) == pytest.approx(2 * COST / 1e6)
    assert books.figure("router_settlement_failures_total", reason="unreadable_line") == 1
    assert books.figure("router_store_up") == 1
    assert books.figure("router_settlement_behind_bytes") == 0
    store = books.keeping.store
    assert store is not None
    [level] = await store.read([Query(MONEY.counter, MONEY.since)], time.time())
    assert level.settled == 2 * COST


async def test_what_holds_nothing_is_settled_with_what_comes_after_it(books: Books) -> None:
    """It waits where there is patience, and the figure says how much waits; what holds something takes it along at once."""
    free = replace(ACCOUNT, held=())
    books.keeping.know(Registry(spending=Spending(budgets=(Budget("month", "usd", 10**6),))))
    write(books.state.access_log, paid_by("d-1"))
    await books.keeping.settle(3_600.0)
    assert rows(books.state.root) == ["d-1"]
    assert books.keeping.news.is_set()
    books.keeping.news.clear()
    write(books.state.access_log, paid_by("d-2", free))
    await books.keeping.settle(3_600.0)
    assert rows(books.state.root) == ["d-1"]
    assert books.figure("router_settlement_behind_bytes") == len(paid_by("d-2", free)) + 1
    assert not books.keeping.news.is_set()
    write(books.state.access_log, paid_by("d-3"))
    await books.keeping.settle(3_600.0)
    assert rows(books.state.root) == ["d-1", "d-2", "d-3"]
    assert books.figure("router_settlement_behind_bytes") == 0
    assert books.keeping.news.is_set()


@pytest.mark.parametrize(
    ("spending", "is_limiting"),
    [
        (Spending(), False),
        (Spending(auth=AuthSettings("none"), keys={"k1": KEY}), False),
        (Spending(keys={"k1": KEY}), True),
        (Spending(auth=AuthSettings("keys")), True),
        (Spending(auth=AuthSettings("none"), budgets=(Budget("month", "usd", 10**6),)), True),
        (Spending(loop_guard=LoopGuard("observe")), True),
    ],
)
async def test_whether_anybody_may_wait_for_what_is_given_back(books: Books, spending: Spending, *, is_limiting: bool) -> None:
    """Wherever a budget, a key or the loop guard may set something aside; and before it is known that nothing does."""
    assert books.keeping.is_limiting
    books.keeping.know(Registry(spending=spending))
    assert books.keeping.is_limiting == is_limiting


async def test_the_first_key_may_have_a_budget(books: Books) -> None:
    """Made at run time it leaves a flag, and from then on somebody may wait."""
    books.keeping.know(Registry())
    assert not books.keeping.is_limiting
    books.state.keys_exist.touch()
    assert books.keeping.is_limiting


async def test_what_waits_is_settled_before_the_end(books: Books) -> None:
    """Whoever had patience a moment ago has none left when everything is closed."""
    books.keeping.know(Registry())
    write(books.state.access_log, paid_by("d-1"))
    await books.keeping.settle(3_600.0)
    write(books.state.access_log, paid_by("d-2", replace(ACCOUNT, held=())))
    await books.keeping.settle(3_600.0)
    await books.keeping.aclose()
    assert rows(books.state.root) == ["d-1", "d-2"]
    assert books.figure("router_settlement_behind_bytes") == 0


async def test_each_threshold_alerts_once(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    """As the total passes it: one alert each, told in log and figures, however much follows."""
    books.keeping.know(Registry(spending=Spending(budgets=(Budget("month", "usd", 1_000),))))
    for number in range(4):
        write(books.state.access_log, paid_by(f"d-{number}", replace(ACCOUNT, held=(NEAR,))))
        await books.keeping.settle()
        await books.keeping.tell()
        await books.keeping.tell()
    for threshold in ("0.5", "0.9", "1"):
        assert books.figure("router_budget_alerts_total", budget="month", threshold=threshold) == 1
    told = [record.__dict__["text"] for record in caplog.records if record.message == "budget has reached a threshold"]
    assert told == [
        "Budget month (tenant=acme) has used 50 % of 0.001000 USD: 0.000575 USD.",
        "Budget month (tenant=acme) has used 90 % of 0.001000 USD: 0.001150 USD.",
        "Budget month (tenant=acme) has used 100 % of 0.001000 USD: 0.001150 USD.",
    ]
    outbox = books.keeping.outbox
    assert outbox is not None
    assert [(each.alert.threshold, each.state) for each in outbox.recent()] == [(1.0, "told"), (0.9, "told"), (0.5, "told")]


async def test_the_next_observer_does_not_alert_again(books: Books, tmp_path: Path) -> None:
    """Who raised it is remembered by the store, not by the process."""
    registry = Registry(spending=Spending(budgets=(Budget("month", "usd", 1_000),)))
    books.keeping.know(registry)
    write(books.state.access_log, paid_by("d-1", replace(ACCOUNT, held=(NEAR,))))
    await books.keeping.settle()
    await books.keeping.tell()
    await books.keeping.aclose()
    successor = Books(tmp_path)
    successor.keeping.know(registry)
    write(books.state.access_log, paid_by("d-2", replace(ACCOUNT, held=(replace(NEAR, warn_at=(0.5,)),))))
    await successor.keeping.settle()
    await successor.keeping.tell()
    assert successor.figure("router_budget_alerts_total", budget="month", threshold="0.5") is None
    assert successor.figure("router_settled_calls_total", purpose="answer", counted_by="provider") == 1
    await successor.keeping.aclose()


async def test_a_store_that_cannot_be_had_is_told_and_tried_again(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is settled meanwhile, nothing is lost, and the log is not filled."""
    write(books.state.access_log, paid_by("d-1"))
    broken = StoreSettings(kind="redis", urls=("redis://127.0.0.1:1",), password_env="NOT_THERE")  # noqa: S106 - a name
    books.keeping.know(Registry(spending=Spending(store=broken)))
    for _ in range(3):
        await books.keeping.settle()
        await books.keeping.tell()
    assert books.figure("router_settlement_failures_total", reason="ledger") == 3
    assert len([record for record in caplog.records if record.message == "settling does not get on"]) == 1
    books.keeping.know(Registry())
    await books.keeping.settle()
    assert rows(books.state.root) == ["d-1"]


async def test_a_log_that_cannot_be_read_is_told(books: Books) -> None:
    """Such as a directory in its place."""
    books.state.access_log.mkdir(parents=True)
    books.keeping.know(Registry())
    await books.keeping.settle()
    assert books.figure("router_settlement_failures_total", reason="log") == 1


async def test_the_real_process_settles_across_kills(observers: Callable[..., ObserverProcess]) -> None:
    """Killed twice while lines come, and ended in order: every request is in the ledger once, and the figures are there."""
    observer = observers()
    log = observer.state / "logs" / "access.jsonl"
    expected = []
    for round_number in range(3):
        observer.start()
        for number in range(20):
            expected.append(f"d-{round_number}-{number}")
            write(log, paid_by(expected[-1]))
        if round_number < 2:
            await eventually(lambda: len(rows(observer.state)) >= len(expected) // 2)
            observer.kill()
    await eventually(lambda: len(rows(observer.state)) == len(expected))
    assert rows(observer.state) == expected
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{observer.port}/metrics")).text
    assert 'router_settled_calls_total{counted_by="provider",purpose="answer"}' in metrics


async def test_what_was_written_last_is_settled_before_the_end(observers: Callable[..., ObserverProcess]) -> None:
    """SIGTERM comes when Envoy has ended: its last lines are settled before the observer ends."""
    observer = observers()
    process = observer.start()
    write(observer.state / "logs" / "access.jsonl", paid_by("d-last"))
    process.terminate()
    assert process.wait(30) == 0
    assert rows(observer.state) == ["d-last"]
