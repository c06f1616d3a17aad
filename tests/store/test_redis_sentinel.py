"""Counters behind sentinels: when the master is lost its replica is used, once it has been told what it may have missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_identities import RedisIdentities
from router_extproc.store.redis_start import check_redis
from tests.redis_servers import RedisServer, WatchedRedis, password_guard, user_guard, watched_redis
from tests.store.redis_counting import NOW, UNTIL, hold, opened, ready, shown_in_vain, until_refused

TOTAL = Total("c", 0, 9, int(NOW) + 3_600)
ENVIRON = {"REDIS_PASSWORD": "horse", "SENTINEL_PASSWORD": "battery"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRedis]:
    with watched_redis(tmp_path_factory.mktemp("sentinel")) as started:
        yield started


@pytest.fixture
def written(watched: WatchedRedis) -> StoreSettings:
    # One that is gone is among those written down.
    urls = ("redis://127.0.0.1:1", *watched.urls)
    return StoreSettings(kind="redis_sentinel", urls=urls, sentinel_service=watched.service, deadline_ms=500)


async def test_a_lost_master_is_replaced(watched: WatchedRedis, written: StoreSettings) -> None:
    """Between the loss and the moment when the new master knows all totals every call fails, and fast; nothing is admitted
    against what was forgotten. Everybody finds the new master, and a claim that was given stays given.
    """
    await check_redis(written, {})
    async with opened(written) as store:
        memory = await store.memory()
        await store.settle([TOTAL], [], NOW)
        assert await store.claim("alert", UNTIL, NOW)
        lost = watched.master()
        lost.kill()
        unavailable, slowest, is_told_again = 0, 0.0, False
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            began = time.monotonic()
            try:
                verdict = await store.reserve("a", [hold("c", 2, 10)], UNTIL, NOW)
            except StoreUnavailableError:
                unavailable += 1
                slowest = max(slowest, time.monotonic() - began)
            else:
                assert verdict.refused == (0,), "admitted against totals that were lost"
                break
            if not is_told_again:
                is_told_again = await _tell_again(store, memory)
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the lost master is not replaced")
        assert unavailable
        assert slowest < 2.0
        assert is_told_again
        assert watched.master() is not lost
        assert await store.read([Query("c", 0)], NOW) == (Level(9, 0),)
        assert not await store.claim("alert", UNTIL, NOW)


@pytest.fixture(scope="module", params=["password", "user"])
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WatchedRedis, StoreSettings]]:
    """Sentinels that let in only who has their password, or over TLS who has their user's; servers that have others."""
    folder = tmp_path_factory.mktemp(request.param)
    by_user = request.param == "user"
    guard = user_guard(folder, ("router", "horse"), ("watcher", "battery")) if by_user else password_guard("horse", "battery")
    with watched_redis(folder, guard) as watched:
        yield (
            watched,
            StoreSettings(
                kind="redis_sentinel",
                urls=watched.urls,
                sentinel_service=watched.service,
                username="router" if by_user else None,
                password_env="REDIS_PASSWORD",  # noqa: S106 - a variable's name
                sentinel_username="watcher" if by_user else None,
                sentinel_password_env="SENTINEL_PASSWORD",  # noqa: S106 - a variable's name
                certificate_authority=str(folder / "authority.pem") if by_user else None,
                deadline_ms=500,
            ),
        )


async def test_sentinels_that_ask_who_is_there(guarded: tuple[WatchedRedis, StoreSettings]) -> None:
    """Each has its own password: with both of them, and the rights that the documentation names, everything works."""
    _, written = guarded
    await check_redis(written, ENVIRON)
    store, identities = RedisCounters(written, ENVIRON, "ledger"), RedisIdentities(written, ENVIRON)
    try:
        await ready(store)
        await store.settle([TOTAL], [], NOW)
        assert await store.read([Query("c", 0)], NOW) == (Level(9, 0),)
        assert (await identities.latest(0)).changes.keys == ()
    finally:
        await store.aclose()
        await identities.aclose()


@pytest.mark.parametrize("environ", [None, "wrong-battery", "horse"])
async def test_sentinels_that_let_nobody_in_are_named_at_the_start(
    guarded: tuple[WatchedRedis, StoreSettings], caplog: pytest.LogCaptureFixture, environ: str | None
) -> None:
    """Without a password, or with another one, the servers' included: the start ends with the keys to look at, every call
    later fails, and no password is shown.
    """
    caplog.set_level(logging.DEBUG)
    _, written = guarded
    given = {"REDIS_PASSWORD": "horse", "SENTINEL_PASSWORD": environ or ""}
    if environ is None:
        written = replace(written, sentinel_username=None, sentinel_password_env=None)
    with pytest.raises(StartError, match=r"store\.redis\.sentinel\.username and store\.redis\.sentinel\.password") as refused:
        await until_refused(written, given)
    assert str(refused.value).startswith("store.redis.sentinel: the Sentinel at 127.0.0.1:")
    shown = [str(refused.value), *(await shown_in_vain(written, given)), *(repr(record.__dict__) for record in caplog.records)]
    assert not [text for text in shown if "battery" in text or "horse" in text]


async def test_a_wrong_password_of_the_servers_is_not_blamed_on_the_sentinels(
    guarded: tuple[WatchedRedis, StoreSettings],
) -> None:
    """Which of the two passwords is wrong can be told from the message."""
    _, written = guarded
    with pytest.raises(StartError, match=r"store\.redis: Redis refuses .*store\.redis\.username and store\.redis\.password"):
        await until_refused(written, ENVIRON | {"REDIS_PASSWORD": "battery"})


async def test_a_sentinel_that_refuses_is_passed_over(
    guarded: tuple[WatchedRedis, StoreSettings], caplog: pytest.LogCaptureFixture
) -> None:
    """While others let us in the store works, and the log says which one does not."""
    watched, written = guarded
    refusing = watched.sentinels[0]
    _change_password(refusing, written, "staple")
    refusal = f"the Sentinel at 127.0.0.1:{refusing.port} refuses"
    try:
        async with asyncio.timeout(20):
            # One that answers late, on a busy machine, is only away.
            while not any(refusal in getattr(record, "reason", "") for record in caplog.records):
                await check_redis(written, ENVIRON)
        async with _opened(written, ENVIRON) as store:
            await ready(store)
    finally:
        _change_password(refusing, written, "battery")


async def test_the_sentinels_password_is_read_when_a_connection_is_made(
    guarded: tuple[WatchedRedis, StoreSettings], tmp_path: Path
) -> None:
    """A password that is changed in its file is used by the next connection, without a restart."""
    watched, written = guarded
    file = tmp_path / "password"
    file.write_text("battery\n")
    async with _opened(replace(written, sentinel_password_env=None, sentinel_password_file=str(file)), ENVIRON) as store:
        await ready(store)
        try:
            for sentinel in watched.sentinels:
                _change_password(sentinel, written, "staple")
            file.write_text("staple")
            with watched.master().client() as looker:
                looker.client_kill_filter(_type="normal", skipme=True)
            await ready(store)
        finally:
            for sentinel in watched.sentinels:
                _change_password(sentinel, written, "battery")


def _change_password(sentinel: RedisServer, written: StoreSettings, password: str) -> None:
    """Connections that are there already are ended."""
    name = written.sentinel_username or "default"
    with sentinel.client() as looker:
        looker.execute_command("ACL", "SETUSER", name, "resetpass", f">{password}")
        looker.client_kill_filter(_type="normal", skipme=True)
    if name == "default":
        sentinel.client_options["password"] = password


@asynccontextmanager
async def _opened(written: StoreSettings, environ: dict[str, str]) -> AsyncIterator[RedisCounters]:
    store = RedisCounters(written, environ, "ledger")
    try:
        yield store
    finally:
        await store.aclose()


async def test_servers_that_are_no_sentinels_are_said(guarded: tuple[WatchedRedis, StoreSettings]) -> None:
    """The servers' own addresses under `sentinel.urls` can never work: the start ends, and says what was asked."""
    watched, written = guarded
    given = replace(written, urls=tuple(server.url for server in watched.servers), sentinel_username=written.username)
    with pytest.raises(StartError, match=r"store\.redis\.sentinel: .*(?i:sentinel)"):
        await until_refused(given, ENVIRON | {"SENTINEL_PASSWORD": "horse"})


async def test_a_password_of_the_sentinels_that_is_nowhere(written: StoreSettings) -> None:
    """A variable that is not set and a file that does not exist end the start, by the key's name."""
    for source, what in (
        ({"sentinel_password_env": "NOT_SET"}, "NOT_SET"),
        ({"sentinel_password_file": "/nonexistent"}, "cannot"),
    ):
        with pytest.raises(StartError, match=rf"store\.redis\.sentinel\.password: .*{what}"):
            await until_refused(replace(written, **source), {})


async def _tell_again(store: RedisCounters, memory: str) -> bool:
    """What an observer does, several times a second."""
    try:
        if await store.memory() == memory:
            return False
        await store.settle([TOTAL], [], NOW)
    except StoreUnavailableError:
        return False
    return True
