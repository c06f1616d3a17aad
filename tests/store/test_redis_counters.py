"""Counters in Redis: exact while many ask, mended after losses, silent about what they do not know."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_asyncio

from router_extproc.errors import StartError
from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, Release, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters
from tests.redis_servers import RedisServer, single_redis
from tests.store.redis_counting import NOW, UNTIL, eventually, hold, opened, ready, single, undone

LATER = int(NOW) + 3_600
_prefixes = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """For what is killed, stopped or emptied."""
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest_asyncio.fixture
async def store(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisCounters]:
    monkeypatch.setattr("router_extproc.store.redis_recovery.WAIT_MS", 0)
    async with opened(single(server, prefix=f"test-{next(_prefixes)}")) as store:
        yield store


async def test_amounts_are_set_aside_and_given_back(store: RedisCounters) -> None:
    """What is set aside counts until it is given back."""
    verdict = await store.reserve("a", [hold("c", 7, 10)], UNTIL, NOW)
    assert verdict.levels == (Level(0, 0),)
    assert not verdict.refused
    assert (await store.reserve("b", [hold("c", 4, 10)], UNTIL, NOW)).refused == (0,)
    assert await store.read([Query("c", 0), Query("unknown", 0)], NOW) == (Level(0, 7), Level())
    await store.release([Release("a", ("c", "elsewhere"))], NOW)
    assert not (await store.reserve("b", [hold("c", 10, 10)], UNTIL, NOW)).refused


async def test_who_knows_no_counters_gives_all_back(server: RedisServer, store: RedisCounters) -> None:
    """All that a reservation has is found, also what was added or raised later; what others have stays."""
    for reservation in ("gone", "stays"):
        await store.reserve(reservation, [hold("a", 7, 99), hold("b", 7, 99)], UNTIL, NOW)
    await store.reserve("gone", [hold("b", 9, 99), hold("c", 1, 99)], UNTIL + 60, NOW)
    await store.release([Release("gone", ("a",))], NOW)
    queries = [Query(name, 0) for name in "abc"]
    assert await store.read(queries, NOW) == (Level(0, 7), Level(0, 16), Level(0, 1))
    others = [Release(f"unknown {number}", ()) for number in range(250)]
    await store.settle([Total("a", 0, 5, LATER)], [*others, Release("gone", ())], NOW)
    assert await store.read(queries, NOW) == (Level(5, 7), Level(0, 7), Level(0, 0))
    with server.client() as client:
        lists = list(client.scan_iter(f"{store._prefix}:*:of:*"))
        assert lists == [store._key("r0", "of", "stays")]
        assert set(client.hkeys(lists[0])) == {"a", "b"}
        assert UNTIL - NOW < client.pttl(lists[0]) / 1_000 < 2 * (UNTIL - NOW) + 60


async def test_totals_are_taken_over_together_with_what_was_set_aside(store: RedisCounters) -> None:
    """Settling turns what was set aside into what is settled; telling it again, or late, changes nothing."""
    await store.reserve("a", [hold("c", 7, 10)], UNTIL, NOW)
    await store.settle([Total("c", 0, 5, LATER)], [Release("a", ("c",))], NOW)
    assert await store.read([Query("c", 0)], NOW) == (Level(5, 0),)
    for total in (Total("c", 0, 9, LATER), Total("c", 0, 9, LATER), Total("c", 0, 5, LATER)):
        await store.settle([total], [], NOW)
    assert await store.read([Query("c", 0)], NOW) == (Level(9, 0),)


async def test_totals_of_instances_add_up(server: RedisServer, store: RedisCounters) -> None:
    """Each instance tells what it settled itself; what counts is all of it."""
    settings = single(server, prefix=store._prefix)
    async with opened(settings, "ledger-two") as other:
        await store.settle([Total("c", 0, 5, LATER)], [], NOW)
        await other.settle([Total("c", 0, 6, LATER)], [], NOW)
        assert await store.read([Query("c", 0)], NOW) == (Level(11, 0),)


async def test_who_reserves_only_has_no_totals(server: RedisServer, store: RedisCounters) -> None:
    """A store that was opened without an instance cannot say whose totals these are."""
    async with opened(single(server, prefix=store._prefix), "") as nobody:
        with pytest.raises(ValueError, match="instance"):
            await nobody.settle([Total("c", 0, 5, LATER)], [], NOW)
        await nobody.release([Release("a", ("c",))], NOW)


async def test_what_is_no_reservation(store: RedisCounters) -> None:
    """Two holds on one counter, and amounts that Lua cannot add exactly, are errors of the caller."""
    for holds in ([hold("c", 1, 1), hold("c", 1, 1)], [hold("c", -1, 1)], [hold("c", 2**60, 1)]):
        with pytest.raises(ValueError, match=r"counter|amount"):
            await store.reserve("a", holds, UNTIL, NOW)


async def test_amounts_are_exact_up_to_the_largest(store: RedisCounters) -> None:
    """No amount is rounded on its way through Lua: sums of micro-dollars are exact to the last one."""
    large = 2**51 + 1
    await store.reserve("a", [hold("c", large, 2**52)], UNTIL, NOW)
    await store.settle([Total("d", 0, large, LATER)], [], NOW)
    await store.settle([Total("d", 0, large + 2, LATER)], [], NOW)
    assert await store.read([Query("c", 0), Query("d", 0)], NOW) == (Level(0, large), Level(large + 2, 0))
    assert (await store.reserve("b", [hold("c", 2**52 - large + 1, 2**52)], UNTIL, NOW)).refused == (0,)
    assert not (await store.reserve("b", [hold("c", 2**52 - large, 2**52)], UNTIL, NOW)).refused


async def test_five_hundred_at_once_never_exceed_a_limit(store: RedisCounters) -> None:
    """Of five hundred that ask at the same time exactly as many fit as the limit has room for."""
    verdicts = await asyncio.gather(*(store.reserve(f"r{n}", [hold("c", 1, 123)], UNTIL, NOW) for n in range(500)))
    assert sum(not verdict.refused for verdict in verdicts) == 123
    assert await store.read([Query("c", 0)], NOW) == (Level(0, 123),)


async def test_a_request_is_one_script(server: RedisServer, store: RedisCounters) -> None:
    """Whatever the number of its budgets; and what comes at the same time comes in few messages."""
    wanted = [hold(f"budget {number}", 1, 10_000) for number in range(5)]
    with server.client() as client:
        for at_once, scripts in ((False, 20), (True, 200)):
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            reads = client.info("stats")["total_reads_processed"]
            asked = [store.reserve(f"{at_once} {number}", wanted, UNTIL, NOW) for number in range(scripts)]
            if at_once:
                await asyncio.gather(*asked)
            else:
                for each in asked:
                    await each
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before == scripts
        # Twice this test's own questions, and a message may be read in several pieces.
        assert client.info("stats")["total_reads_processed"] - reads < 100


async def test_a_claim_is_given_once(server: RedisServer, store: RedisCounters) -> None:
    """Of all who ask, one gets it, until it expires."""
    async with opened(single(server, prefix=store._prefix), "ledger-two") as other:
        answers = await asyncio.gather(*(who.claim("alert:x", NOW + 60, NOW) for who in (store, other) * 8))
        assert sum(answers) == 1
        assert not await other.claim("alert:x", NOW + 99, NOW + 59)
        assert await other.claim("alert:x", NOW + 99, NOW + 60)


async def test_nothing_is_left_of_what_is_over(server: RedisServer, store: RedisCounters) -> None:
    """Counters without reservations, and parts of windows that are over, take no memory; the rest expires by itself."""
    await store.reserve("a", [hold("c", 7, 10)], UNTIL, NOW)
    await store.settle([Total("c", 100, 5, int(NOW) + 10), Total("d", 0, 1, int(NOW) - 1)], [Release("a", ("c",))], NOW)
    await store.settle([Total("c", int(NOW), 6, LATER)], [], NOW + 11)
    pattern = f"{store._prefix}:*"
    with server.client() as client:
        names = {key.split(":")[2] for key in client.scan_iter(pattern)}
        assert names == {"ready", "settled", "told"}
        assert client.hgetall(f"{store._prefix}:{{r0}}:settled:c") == {str(int(NOW)): "6"}
        lives = [client.pttl(key) for key in client.scan_iter(pattern) if not key.endswith(":ready")]
    assert all(0 < life < 10_000_000 for life in lives)


async def test_a_counter_takes_little_memory(own_server: RedisServer) -> None:
    """A counter of each tenant costs Redis about half a kilobyte, and a request that is under way less than one."""
    names = [f"usd:monthly|tenant=tenant-{number:05}" for number in range(4_000)]
    async with opened(single(own_server, deadline_ms=5_000), "0123456789abcdef") as store:
        with own_server.client() as client:
            empty = client.info("memory")["used_memory"]
            for first in range(0, len(names), 500):
                await store.settle([Total(name, 0, 123_456, LATER) for name in names[first : first + 500]], [], NOW)
            settled = client.info("memory")["used_memory"]
            for first in range(0, len(names), 500):
                portion = names[first : first + 500]
                await asyncio.gather(*(store.reserve(f"{name:>36}", [hold(name, 9, 10**9)], UNTIL, NOW) for name in portion))
            held = client.info("memory")["used_memory"]
    assert (settled - empty) / len(names) < 700
    assert (held - settled) / len(names) < 800


async def test_a_server_that_does_not_answer_costs_the_deadline_once(own_server: RedisServer) -> None:
    """The first call fails after the deadline, all others at once; when the server goes on, so do they."""
    async with opened(single(own_server, deadline_ms=50)) as store:
        own_server.pause()
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="50 ms"):
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        first = time.monotonic() - began
        began = time.monotonic()
        for number in range(200):
            with pytest.raises(StoreUnavailableError):
                await store.reserve(f"b{number}", [hold("c", 1, 10)], UNTIL, NOW)
        others = time.monotonic() - began
        own_server.go_on()
        assert 0.04 < first < 1.0
        assert others < 1.0
        await ready(store)


async def test_what_was_set_aside_for_nobody_is_given_back(own_server: RedisServer) -> None:
    """A call that was given up may still set something aside; it does not lie there until it expires."""
    async with opened(single(own_server, deadline_ms=50)) as store:
        own_server.pause()
        with pytest.raises(StoreUnavailableError):
            await store.reserve("a", [hold("c", 10, 10)], UNTIL, NOW)
        own_server.go_on()
        await ready(store)
        await undone(store)
        assert await store.read([Query("c", 0)], NOW) == (Level(0, 0),)


async def test_a_caller_that_went_away_holds_nothing(store: RedisCounters) -> None:
    """Who is cancelled while it waits has nothing set aside in the end."""
    task = asyncio.create_task(store.reserve("a", [hold("c", 10, 10)], UNTIL, NOW))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    for _ in range(100):
        await asyncio.sleep(0.01)
        await undone(store)
    assert await store.read([Query("c", 0)], NOW) == (Level(0, 0),)


async def test_an_undone_call_takes_nothing_from_the_next(store: RedisCounters) -> None:
    """A reservation that was asked for again belongs to the later call: undoing the earlier one leaves it."""
    wanted = [hold("c", 10, 10)]
    await store.reserve("a", wanted, UNTIL, NOW)
    earlier = f"{store._caller}{next(store._calls) - 1}"
    await store.reserve("a", wanted, UNTIL, NOW)
    store._undo("r0", wanted, "a", earlier)
    await undone(store)
    assert await store.read([Query("c", 0)], NOW) == (Level(0, 10),)


async def test_undoing_a_call_takes_back_what_it_added(server: RedisServer, store: RedisCounters) -> None:
    """What was there before a call was given up stays, whether the call raised it or found it large enough; once only."""
    calls = []
    for amount in (10, 30, 20):
        await store.reserve("one", [hold("a", amount, 100)], UNTIL, NOW)
        calls.append(_last_call(server, store))
    wanted = [hold("a", 30, 100)]
    store._undo("r0", wanted, "one", calls[2])
    await undone(store)
    assert await store.read([Query("a", 0)], NOW) == (Level(0, 30),)
    await store.reserve("one", [hold("a", 70, 100)], UNTIL, NOW)
    last = _last_call(server, store)
    for call, left in ((calls[1], 70), (last, 30), (last, 30)):
        store._undo("r0", wanted, "one", call)
        await undone(store)
        assert await store.read([Query("a", 0)], NOW) == (Level(0, left),)
    await store.release([Release("one", ("a",))], NOW)
    assert await store.read([Query("a", 0)], NOW) == (Level(),)


def _last_call(server: RedisServer, store: RedisCounters) -> str:
    """The call that made or raised what the reservation "one" has in the counter "a"."""
    with server.client() as client:
        return str(client.hget(store._key("r0", "held", "a"), "one")).split()[1]


async def test_no_time_is_told_while_only_others_are_in_the_way(store: RedisCounters) -> None:
    """Where what is settled leaves room enough, its leaving the window changes nothing: nobody can say when there is room."""
    await store.settle([Total("a", 0, 10, LATER)], [], NOW)
    await store.reserve("other", [hold("a", 50, 60)], UNTIL, NOW)
    verdict = await store.reserve("one", [hold("a", 20, 60)], UNTIL, NOW)
    assert (verdict.refused, verdict.free_at) == ((0,), (None,))


async def test_an_emptied_server_is_not_believed_until_it_was_told_again(own_server: RedisServer) -> None:
    """Where totals were lost nothing is admitted as if nothing had been spent; told again, all is as before."""
    async with opened(single(own_server)) as store:
        await store.settle([Total("c", 0, 10, LATER)], [], NOW)
        memory = await store.memory()
        assert await store.memory() == memory
        with own_server.client() as client:
            client.flushall()
        with pytest.raises(StoreUnavailableError, match="lost"):
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        assert await store.memory() != memory
        await store.settle([Total("c", 0, 10, LATER)], [], NOW)
        verdict = await eventually(lambda: store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW))
        assert verdict.refused == (0,)  # type: ignore[attr-defined]


async def test_a_restarted_server_is_not_believed_until_it_was_told_again(own_server: RedisServer) -> None:
    """Also one that has kept its data: they may be older than what was settled last."""
    own_server.options = ["appendonly yes", "appendfsync always"]
    own_server.kill()
    own_server.start()
    async with opened(single(own_server)) as store:
        await store.settle([Total("c", 0, 10, LATER)], [], NOW)
        memory = await store.memory()
        own_server.kill()
        with pytest.raises(StoreUnavailableError):
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        own_server.start()
        assert await eventually(store.memory) != memory
        with pytest.raises(StoreUnavailableError):
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        await ready(store)
        assert await store.read([Query("c", 0)], NOW) == (Level(10, 0),)


async def test_an_instance_that_is_telling_is_waited_for(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an instance says that it is not done, the counters are not used, though the wait is over."""
    monkeypatch.setattr("router_extproc.store.redis_recovery.WAIT_MS", 0)
    store = RedisCounters(single(own_server), {}, "ledger-one")
    try:
        with own_server.client() as client:
            client.set("router:{r0}:telling", 1, px=60_000)
        for _ in range(20):
            with pytest.raises(StoreUnavailableError):
                await store.read([Query("c", 0)], NOW)
            await asyncio.sleep(0.01)
        with own_server.client() as client:
            client.delete("router:{r0}:telling")
        await ready(store)
    finally:
        await store.aclose()


async def test_a_flushed_script_is_sent_again(server: RedisServer, store: RedisCounters) -> None:
    """A server that forgot the scripts gets them in the same call."""
    with server.client() as client:
        client.script_flush()
    assert not (await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)).refused


async def test_no_server_at_all(own_server: RedisServer) -> None:
    """Without a server every call says so within the deadline, and closing waits for nothing."""
    settings = single(own_server, deadline_ms=50)
    own_server.kill()
    store = RedisCounters(settings, {})
    for ask in (
        lambda: store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW),
        lambda: store.read([Query("c", 0)], NOW),
        lambda: store.release([Release("a", ("c",))], NOW),
        lambda: store.claim("x", UNTIL, NOW),
        store.memory,
    ):
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await ask()
        assert time.monotonic() - began < 2.0
    await asyncio.wait_for(store.aclose(), 2)


def test_settings_that_cannot_be_used(own_server: RedisServer) -> None:
    """A missing address or password is an error when the store is opened, and names what is missing."""
    with pytest.raises(StartError, match="no url"):
        RedisCounters(StoreSettings(kind="redis"), {})
    for settings in (
        StoreSettings(kind="redis", urls=(own_server.url,), password_env="NOT_SET"),  # noqa: S106 - a variable's name
        StoreSettings(kind="redis", urls=(own_server.url,), password_file="/nonexistent"),  # noqa: S106 - a file's name
    ):
        with pytest.raises(StartError, match=r"NOT_SET|/nonexistent"):
            RedisCounters(settings, {})
