"""Names that clients invent: what is counted for each is gone from both stores when its window is over."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from router_extproc.limits.windows import part
from router_extproc.registry.spending import Window
from router_extproc.store.counters import Hold, Level, Query, Release, Total
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.redis_servers import single_redis
from tests.store.redis_counting import opened, single

_DAY = 86_400
# What a budget `per: session` has where no window is written.
SESSION = Window(rolling_seconds=30 * _DAY)
_SESSIONS = 300


def _counter(session: int) -> str:
    return f"usd:talks|tenant=acme|session={session}"


async def test_sessions_leave_nothing_in_sqlite(tmp_path: Path) -> None:
    """After the window and half a day not a row of a session is left; one that goes on keeps what still counts."""
    path = tmp_path / "ledger.sqlite"
    began = 1_800_000_000.0
    first, later = part(SESSION, began), part(SESSION, began + 29 * _DAY)
    with closing(Ledger(path)) as ledger:
        ledger.record([_settlement(number, first.bucket, first.expires_at) for number in range(_SESSIONS)])
        ledger.record(
            [
                Settlement(
                    LedgerRow(request="on", attempt=1, at=began), (Charge(_counter(0), later.bucket, 7, later.expires_at),)
                )
            ]
        )
        counters = SqliteCounters(path)
        hold = Hold(_counter(1), later.bucket, later.since, 5, 100, "enforce", later.expires_at)
        await counters.reserve("gone", [hold], began + 29 * _DAY + 60, began + 29 * _DAY)
        assert await counters.read([Query(_counter(1), first.since)], began) == (Level(5, 5),)
        now = began + 31 * _DAY
        while ledger.forget(now, now):
            pass
        since = part(SESSION, now).since
        assert await counters.read([Query(_counter(0), since), Query(_counter(1), since)], now) == (Level(7, 0), Level(0, 0))
        await counters.aclose()
        with ledger._file.read() as connection:
            tables = ("totals", "counters", "holds", "ledger", "untold_totals")
            left = {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}  # noqa: S608 - ours
        assert left == {"totals": 1, "counters": 0, "holds": 0, "ledger": 0, "untold_totals": 0}


def _settlement(session: int, bucket: int, expires_at: int) -> Settlement:
    row = LedgerRow(request=f"r{session}", attempt=1, at=1.0, cost_micro_usd=5)
    return Settlement(row, (Charge(_counter(session), bucket, 5, expires_at),))


async def test_sessions_leave_nothing_in_redis(tmp_path: Path) -> None:
    """Every key of a session has an end, a few days after its window's at most, and its claims of alerts as well."""
    now = time.time()
    window = part(SESSION, now)
    with single_redis(tmp_path / "redis") as server:
        async with opened(single(server)) as store:
            names = [_counter(number) for number in range(_SESSIONS)]
            holds = [Hold(name, window.bucket, window.since, 9, 100, "enforce", window.expires_at) for name in names]
            for name, hold in zip(names, holds, strict=True):
                await store.reserve(f"r {name}", [hold], now + 600, now)
            totals = [Total(name, window.bucket, 5, window.expires_at) for name in names]
            await store.settle(totals, [Release(f"r {name}", (name,)) for name in names], now)
            await store.reserve("under way", holds, now + 600, now)
            assert await store.claim(f"alert:{_counter(0)}:0.8", window.expires_at, now)
            with server.client() as client:
                lives = {key: client.pttl(key) / 1_000 for key in client.scan_iter("router:*session=*")}
        assert len(lives) == 4 * _SESSIONS + 1
        longest = 1.1 * (window.expires_at - now) + 60
        assert all(0 < life <= longest + 1 for life in lives.values())
        assert longest < 34.5 * _DAY
