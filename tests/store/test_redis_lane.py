"""Waiting for Redis: a dead server costs little, a busy process or a burst of requests is no dead server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.redis_connections import Connections
from router_extproc.store.redis_lane import Lane, UnansweredError
from router_extproc.store.redis_scripts import Command, Script
from tests.redis_servers import RedisServer, single_redis
from tests.store.redis_counting import eventually

DEADLINE = 0.1
# For what is not about time.
PATIENT = 10.0
ECHO = Script("echo", "return ARGV[1]", "c6c29b6e2a8c8b9b8e3f0e2b1b1e1a8a7c0d9e1f")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@asynccontextmanager
async def opened(server: RedisServer, deadline: float) -> AsyncIterator[Lane]:
    connections = Connections(StoreSettings(kind="redis", urls=(server.url,)), {})
    lane = Lane("redis", connections.link(connections.addresses[0]), deadline)
    await eventually(lambda: lane.call(echo("first")))
    yield lane
    await lane.aclose()


@pytest_asyncio.fixture
async def lane(server: RedisServer) -> AsyncIterator[Lane]:
    """One that soon gives up."""
    async with opened(server, DEADLINE) as made:
        yield made


@pytest_asyncio.fixture
async def patient(server: RedisServer) -> AsyncIterator[Lane]:
    """One that waits for a server that stands still for a moment."""
    async with opened(server, PATIENT) as made:
        yield made


def echo(word: str) -> Command:
    return Command(ECHO, (), (word,))


async def test_everybody_gets_the_own_answer(patient: Lane) -> None:
    """Calls travel together and their answers come apart again; a script that the server has never seen is sent."""
    answers = await asyncio.gather(*(patient.call(echo(f"word {number}")) for number in range(1_000)))
    assert answers == [f"word {number}".encode() for number in range(1_000)]


async def test_a_busy_process_is_no_dead_server(lane: Lane) -> None:
    """Where this process itself did not listen for longer than the deadline, the answers that lie there are taken."""
    calls = [asyncio.create_task(lane.call(echo("late"))) for _ in range(20)]
    await asyncio.sleep(0)
    # What a burst of requests does to the loop.
    time.sleep(3 * DEADLINE)  # noqa: ASYNC251 - it is meant to block
    assert await asyncio.gather(*calls) == [b"late"] * 20
    assert not lane.is_broken


async def test_a_silent_server_is_given_up(server: RedisServer, lane: Lane) -> None:
    """Callers wait for the deadline until it is clear that the server is dead, then they do not wait; then it is back."""
    server.pause()
    began = time.monotonic()
    while not lane.is_broken:
        with pytest.raises(StoreUnavailableError, match="did not answer within 100 ms"):
            await lane.call(echo("x"))
        assert time.monotonic() - began < 100 * DEADLINE
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreUnavailableError):
            await lane.call(echo("x"))
    # Each that waited would have taken the deadline.
    assert time.monotonic() - began < 50 * DEADLINE
    server.go_on()
    assert await eventually(lambda: lane.call(echo("back"))) == b"back"


async def test_what_became_of_a_call_that_was_given_up_is_told(server: RedisServer, lane: Lane) -> None:
    """The answer that came too late, or that there will be none."""
    outcomes: asyncio.Queue[object] = asyncio.Queue()
    server.pause()
    with pytest.raises(StoreUnavailableError):
        await lane.call(echo("late"), outcomes.put_nowait)
    server.go_on()
    assert await asyncio.wait_for(outcomes.get(), 10) == b"late"
    await eventually(lambda: lane.call(echo("back")))
    server.pause()
    with pytest.raises(StoreUnavailableError):
        await lane.call(echo("lost"), outcomes.put_nowait)
    server.kill()
    assert isinstance(await asyncio.wait_for(outcomes.get(), 10), UnansweredError)


async def test_a_lost_connection_is_an_error_at_once(server: RedisServer, patient: Lane) -> None:
    """When the server ends, whoever waits is told without waiting for the deadline, and others fail at once."""
    server.kill()
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await patient.call(echo("x"))
    assert time.monotonic() - began < PATIENT / 2
    assert patient.is_broken
    server.start()
    assert await eventually(lambda: patient.call(echo("back"))) == b"back"


async def test_an_error_of_one_script_is_that_caller_s_alone(patient: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """A script that fails breaks nothing for others, and is in the log once, not once a request."""
    wrong = Command(Script("wrong", "return redis.call('GET')", "0" * 40), (), ())
    answers = await asyncio.gather(
        *(patient.call(command) for command in (echo("one"), wrong, echo("two"), wrong)), return_exceptions=True
    )
    assert [answers[0], answers[2]] == [b"one", b"two"]
    assert all(isinstance(answers[place], StoreUnavailableError) for place in (1, 3))
    assert not patient.is_broken
    assert [record.message for record in caplog.records] == ["store refuses"]


async def test_a_closed_lane_keeps_nobody_waiting(server: RedisServer, lane: Lane) -> None:
    """Closing ends what is under way and what waits, each with an error."""
    server.pause()
    calls = [asyncio.create_task(lane.call(echo("x"), deadline=60)) for _ in range(300)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(lane.aclose(), 5)
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert {type(outcome) for outcome in outcomes} <= {StoreUnavailableError, UnansweredError}
    server.go_on()
