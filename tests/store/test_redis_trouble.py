"""A Redis in trouble: without memory, without the right to write, behind a dead wire, with another password. Errors within the
deadline that say what is wrong, nothing done by halves, and all goes on by itself afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import ReadOnlyError, ResponseError

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Level, Query, Release, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters
from router_extproc.store.redis_link import is_of_a_replica
from router_extproc.store.redis_start import check_redis
from tests.redis_servers import RedisServer, encrypted_redis, single_redis, until
from tests.store.redis_counting import NOW, UNTIL, encrypted, eventually, hold, opened, ready, single
from tests.store.redis_wire import wire_to

LATER = int(NOW) + 3_600


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@contextmanager
def configured(server: RedisServer, name: str, value: int, afterwards: int) -> Iterator[None]:
    """The server with another setting for the length of a block."""
    with server.client() as client:
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, afterwards)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_a_server_without_memory_takes_nothing_by_halves(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is set aside, and it is said once; what has ended is settled all the same, because that frees memory."""
    async with opened(single(server)) as store:
        await store.reserve("old", [hold("a", 7, 100), hold("b", 7, 100)], UNTIL, NOW)
        with configured(server, "maxmemory", 1, 0):
            for number in range(3):
                with pytest.raises(StoreUnavailableError, match="maxmemory"):
                    await store.reserve(f"r{number}", [hold("a", 1, 100), hold("b", 1, 100)], UNTIL, NOW)
            assert await store.read([Query("a", 0), Query("b", 0)], NOW) == (Level(0, 7), Level(0, 7))
            await store.settle([Total("a", 0, 5, LATER), Total("b", 0, 5, LATER)], [Release("old", ("a", "b"))], NOW)
            assert await store.read([Query("a", 0), Query("b", 0)], NOW) == (Level(5, 0), Level(5, 0))
        assert messages(caplog).count("store refuses") == 1
        assert (await store.reserve("new", [hold("a", 95, 100)], UNTIL, NOW)).refused == ()


@pytest.mark.parametrize(("setting", "value", "afterwards"), [("min-replicas-to-write", 1, 0), ("maxmemory", 1, 0)])
async def test_what_is_refused_costs_no_deadline(server: RedisServer, setting: str, value: int, afterwards: int) -> None:
    """A server that answers that it cannot write keeps nobody waiting."""
    async with opened(single(server, deadline_ms=5_000)) as store:
        with configured(server, setting, value, afterwards):
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
            assert time.monotonic() - began < 2.0
        assert (await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)).levels == (Level(0, 0),)


async def test_a_server_that_takes_no_writes_does_not_stop_the_start(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica may be promoted and memory be freed: the log says what is the matter, and nobody is sent to look at rights."""
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        await check_redis(single(server), {})
        client.replicaof("no", "one")
    for setting, value, afterwards in (("min-replicas-to-write", 1, 0), ("maxmemory", 1, 0)):
        with configured(server, setting, value, afterwards):
            await check_redis(single(server), {})
    reasons = [record.__dict__["reason"] for record in caplog.records if record.getMessage() == "store takes no writes for now"]
    assert [reason.split()[0] for reason in reasons] == ["READONLY", "NOREPLICAS", "OOM"]
    caplog.clear()
    await check_redis(single(server), {})
    assert not caplog.records


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ReadOnlyError("You can't write against a read only replica."), True),
        (
            ResponseError("Error running script (call to f_6b1b): @user_script:9: @user_script: 9: -READONLY You can't write"),
            True,
        ),
        (ResponseError("OOM command not allowed when used memory > 'maxmemory'."), False),
        ([b"READONLY "], False),
    ],
)
def test_a_replicas_refusal_is_known_in_old_and_new_words(answer: object, *, expected: bool) -> None:
    """Redis 6 wraps what a command in a script is refused with, Redis 7 passes it on."""
    assert is_of_a_replica(answer) == expected


async def test_a_master_that_became_a_replica_is_left(server: RedisServer, tmp_path: Path) -> None:
    """Where another server took over its name, new connections find that one: nobody has to restart anything."""
    with single_redis(tmp_path / "next") as following:
        async with wire_to(server.port) as wire:
            settings = StoreSettings(kind="redis", urls=(wire.url,), deadline_ms=2_000)
            async with opened(settings) as store:
                with server.client() as client:
                    client.replicaof("127.0.0.1", following.port)
                wire.target = following.port
                # As soon as somebody answers, it is told what was spent.
                await eventually(lambda: store.reserve("first", [hold("other", 1, 10)], UNTIL, NOW))
                await store.settle([Total("c", 0, 9, LATER)], [], NOW)
                assert (await store.reserve("a", [hold("c", 2, 10)], UNTIL, NOW)).refused == (0,)
                with following.client() as client:
                    assert client.exists("router:{r0}:settled:c")


async def test_a_dead_wire_costs_a_few_deadlines(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that carry nothing any more and were never closed are given up as soon as the server answers on a new one:
    it is lost once, and is back once.
    """
    caplog.set_level(logging.INFO)
    async with wire_to(server.port) as wire, opened(StoreSettings(kind="redis", urls=(wire.url,), deadline_ms=500)) as store:
        # Several connections are in use.
        asked = [store.reserve(f"r{number}", [hold("c", 1, 999)], UNTIL, NOW) for number in range(300)]
        await asyncio.gather(*asked, return_exceptions=True)
        await ready(store)
        caplog.clear()
        wire.cut()
        give_up, back_since = time.monotonic() + 20, 0.0
        # A little longer than until it is back, for whatever might still be found dead.
        while not back_since or time.monotonic() - back_since < 0.5:
            assert time.monotonic() < give_up, "it does not come back"
            if not back_since and "store is back" in messages(caplog):
                back_since = time.monotonic()
            try:
                await store.reserve("after", [hold("c", 1, 999)], UNTIL, NOW)
            except StoreUnavailableError:
                await asyncio.sleep(0.005)
        found = [text for text in messages(caplog) if text in {"store is unavailable", "store is back"}]
        assert found == ["store is unavailable", "store is back"]


async def test_a_node_of_a_cluster_that_gave_its_counters_away(tmp_path: Path) -> None:
    """Who wrote one node of a cluster as the only server is told so when its counters move, and gets no other error."""
    with (
        single_redis(tmp_path / "one", ["cluster-enabled yes"]) as one,
        single_redis(tmp_path / "two", ["cluster-enabled yes"]) as two,
    ):
        _cluster_of(one, two)
        async with opened(single(one)) as store:
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
            _move(one, two, key_slot(b"r0"))
            for ask in (
                lambda: store.reserve("b", [hold("c", 1, 10)], UNTIL, NOW),
                lambda: store.release([Release("a", ("c",))], NOW),
                lambda: store.read([Query("c", 0)], NOW),
                store.memory,
            ):
                with pytest.raises(StoreUnavailableError, match=r"store\.redis\.cluster"):
                    await ask()


async def test_a_slot_that_is_being_moved(tmp_path: Path) -> None:
    """While a slot is on its way its counters are away, never wrong; once it has arrived they are there, with all that they
    had, and counters in other slots never noticed.
    """
    with (
        single_redis(tmp_path / "one", ["cluster-enabled yes"]) as one,
        single_redis(tmp_path / "two", ["cluster-enabled yes"]) as two,
    ):
        _cluster_of(one, two)
        names = [f"counter {number}" for number in range(300)]
        settings = StoreSettings(kind="redis_cluster", urls=(one.url,), deadline_ms=500)
        async with opened(settings) as store:
            tag = "r7"
            moved = [names[place] for found, places in store._groups(names) if found == tag for place in places]
            stays = next(names[places[0]] for found, places in store._groups(names) if found != tag)
            assert len(moved) > 1
            await store.settle([Total(name, 0, 9, LATER) for name in (*moved, stays)], [], NOW)
            slot = key_slot(tag.encode())
            mover = _Mover(one, two, slot)
            mover.begin()
            mover.move_some()
            for name in moved:
                try:
                    verdict = await store.reserve("a", [hold(name, 2, 10)], UNTIL, NOW)
                except StoreUnavailableError:
                    continue
                assert verdict.refused == (0,), "admitted against what is on its way"
            assert (await store.reserve("b", [hold(stays, 2, 10)], UNTIL, NOW)).refused == (0,)
            mover.move_all()
            mover.end()
            await ready(store)
            assert set(await store.read([Query(name, 0) for name in moved], NOW)) == {Level(9, 0)}
            for name in moved:
                assert (await store.reserve("c", [hold(name, 2, 10)], UNTIL, NOW)).refused == (0,)


class _Mover:
    """Moves a slot as ``redis-cli --cluster reshard`` does, step by step."""

    def __init__(self, source: RedisServer, target: RedisServer, slot: int) -> None:
        self._source, self._target, self._slot = source, target, slot

    def begin(self) -> None:
        with self._source.client() as source, self._target.client() as target:
            target.execute_command("CLUSTER", "SETSLOT", self._slot, "IMPORTING", _id(self._source))
            source.execute_command("CLUSTER", "SETSLOT", self._slot, "MIGRATING", _id(self._target))

    def move_some(self) -> None:
        with self._source.client() as source:
            keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", self._slot, 1_000)
            assert len(keys) > 2
            self._migrate(keys[::2])

    def move_all(self) -> None:
        with self._source.client() as source:
            while keys := source.execute_command("CLUSTER", "GETKEYSINSLOT", self._slot, 1_000):
                self._migrate(keys)

    def end(self) -> None:
        for server in (self._target, self._source):
            with server.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", self._slot, "NODE", _id(self._target))

    def _migrate(self, keys: list[str]) -> None:
        with self._source.client() as source:
            source.execute_command("MIGRATE", "127.0.0.1", self._target.port, "", 0, 5_000, "KEYS", *keys)


def _move(source: RedisServer, target: RedisServer, slot: int) -> None:
    mover = _Mover(source, target, slot)
    mover.begin()
    mover.move_all()
    mover.end()


def _cluster_of(one: RedisServer, two: RedisServer) -> None:
    """Both know each other, and the first has all slots."""
    with one.client() as first:
        first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        first.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port, two.port + 10_000)
    until(lambda: all(_has_settled(server) for server in (one, two)), "the nodes to know each other")


def _has_settled(server: RedisServer) -> bool:
    with server.client() as client:
        info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == 2


def _id(server: RedisServer) -> str:
    with server.client() as client:
        return str(client.execute_command("CLUSTER", "MYID"))


async def test_a_password_that_is_wrong_later_on_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log and the error tell why the server stays away, not only how its connection ended; the password is in neither."""
    with encrypted_redis(tmp_path / "redis", "router", "horse") as server:
        store = RedisCounters(encrypted(server), {"REDIS_PASSWORD": "horse"})
        try:
            await ready(store)
            with server.client() as looker:
                looker.execute_command("ACL", "SETUSER", "router", "resetpass", ">staple")
                looker.client_kill_filter(_type="normal", skipme=True)
            reason = await _until_said(store, "password")
            assert "horse" not in reason
            told = [record for record in caplog.records if record.getMessage() == "store stays unavailable"]
            assert len(told) == 1
            assert "horse" not in repr(told[0].__dict__)
            with server.client() as looker:
                looker.execute_command("ACL", "SETUSER", "router", "resetpass", ">horse")
            await ready(store)
        finally:
            await store.aclose()


async def test_a_server_that_is_loading_says_so(tmp_path: Path) -> None:
    """Nobody waits for a server that reads its data, however long that takes."""
    # A millisecond a key, and an answer after each kilobyte: it loads for seconds, and talks meanwhile.
    options = ["appendonly yes", "key-load-delay 1000", "loading-process-events-interval-bytes 1024"]
    with single_redis(tmp_path / "redis", options) as server:
        async with opened(single(server)) as store:
            with server.client() as client:
                client.mset({f"key {number}": "x" * 100 for number in range(8_000)})
                # Only what is in the form of a dump is loaded so.
                client.bgrewriteaof()
                until(lambda: is_rewritten(client.info("persistence")), "the file to be rewritten")
            server.kill()
            with server.log.open("ab") as log:
                server.process = subprocess.Popen(  # noqa: ASYNC220 - started, not waited for
                    ["redis-server", str(server.folder / "redis.conf")], stdout=log, stderr=log, cwd=server.folder
                )
            assert await _until_said(store, "loading")


def is_rewritten(told: dict[str, object]) -> bool:
    return told["aof_rewrite_in_progress"] == told["aof_rewrite_scheduled"] == 0


async def _until_said(store: RedisCounters, word: str) -> str:
    """The error that has the word, at last; none takes longer than the deadline allows."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError) as refused:
            await store.reserve("a", [hold("c", 1, 10)], UNTIL, NOW)
        assert time.monotonic() - began < 2.0
        if word in str(refused.value):
            return str(refused.value)
        await asyncio.sleep(0.02)
    raise AssertionError(f"nothing was said of {word}: {refused.value}")
