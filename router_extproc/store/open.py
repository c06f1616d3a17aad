"""Opens the store of counters that ``router.yaml`` names; what another one needs is not loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import CounterStore


def open_counters(
    settings: StoreSettings, ledger_path: Path, environ: Mapping[str, str], *, instance: str = ""
) -> CounterStore:
    """The store; ``instance`` is the name of the ledger whose totals are settled in it, where one settles.

    Raises:
        StartError: the settings cannot be used: an address, a password that is not where it is said to be.
        StoreError: a newer version of this package wrote the embedded file.
    """
    if settings.kind == "sqlite":
        from router_extproc.store.sqlite_counters import SqliteCounters  # noqa: PLC0415 - only what is used is loaded

        return SqliteCounters(ledger_path)
    from router_extproc.store.redis_counters import RedisCounters  # noqa: PLC0415 - a third of a worker's start

    return RedisCounters(settings, environ, instance)


async def check_store(settings: StoreSettings, environ: Mapping[str, str]) -> None:
    """Whether the store can ever work as it is configured; one that cannot be reached now is logged, since it may come.

    Raises:
        StartError: it cannot; the message says what to change.
    """
    if settings.kind != "sqlite":
        from router_extproc.store.redis_start import check_redis  # noqa: PLC0415 - as above

        await check_redis(settings, environ)
