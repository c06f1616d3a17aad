"""Limits on requests in parallel when Envoy is killed: its requests leave their places, those of other Envoys keep theirs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, until
from tests.end_to_end.spending import World, shown_budget, world
from tests.redis_servers import redis_cluster, single_redis

pytestmark = pytest.mark.end_to_end

PLACES = 5
MORE = f"""
budgets:
  slots: {{parallel: {PLACES}}}
  house: {{usd: 100, window: month}}
"""
# Streams that have begun and do not end by themselves.
ENDLESS = {"tokens": 2, "inter_token_ms": 60_000}
# From Envoy's first accepted connection on; it was seen to take one. Two cores run all of this.
FREE_SECONDS = 10
# Several times as long as the observer needs to see that an Envoy has gone.
WATCHED_SECONDS = 4.0


@contextlib.contextmanager
def _store(kind: str, folder: Path) -> Iterator[str]:
    """The lines of the configuration that name a store."""
    if kind == "sqlite":
        yield ""
    elif kind == "single":
        with single_redis(folder / "redis") as server:
            yield f"store: {{deadline: 5s, redis: {{url: {server.url}}}}}"
    else:
        with redis_cluster(folder / "redis") as cluster:
            yield f"store: {{deadline: 5s, redis: {{cluster: [{', '.join(cluster.urls)}]}}}}"


@pytest.fixture(scope="module")
def spending(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One instance of two workers on one SQLite file; two replicas on one Redis."""
    folder = tmp_path_factory.mktemp(request.param)
    is_alone = request.param == "sqlite"
    replicas, workers = (1, 2) if is_alone else (2, 1)
    with (
        _store(request.param, folder) as store,
        world(folder, replicas=replicas, workers=workers, more=MORE, store=store, auth="none") as built,
    ):
        yield built


@pytest.fixture(autouse=True)
def _endless(spending: World) -> None:
    spending.simulators.heal()
    spending.simulators.faults("one", **ENDLESS)
    until(lambda: _taken(spending) == 0)


def _taken(spending: World) -> int:
    return int(shown_budget(spending.instances[0], "slots")["reserved"])


@contextlib.contextmanager
def stream(instance: Instance) -> Iterator[tuple[int, str]]:
    """Status and error code of a stream that goes on inside the block."""
    body = {"model": "small", "messages": HELLO, "stream": True}
    with instance.http() as http, http.stream("POST", CHAT, json=body) as answer:
        code = "" if answer.status_code == 200 else str(json.loads(answer.read())["error"]["code"])
        yield answer.status_code, code


def _kill(instance: Instance, role: str) -> None:
    """``kill -9`` of all processes of that kind, which are then started again."""
    before = instance.pids(role)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(now := instance.pids(role)) == len(before) and not set(now) & set(before))


def _kill_all(instance: Instance) -> None:
    """``kill -9`` of the supervisor, with which everything dies; somebody starts it again."""
    assert instance.process is not None
    instance.process.kill()
    instance.process.wait(10)
    until(lambda: not instance.accepts_connections())
    instance.start()


def fill(stack: ExitStack, instance: Instance, count: int) -> None:
    found = [stack.enter_context(stream(instance)) for _ in range(count)]
    assert found == [(200, "")] * count


def assert_full(instance: Instance) -> None:
    with stream(instance) as found:
        assert found == (429, "rate_limit_exceeded")


# Who dies matters to the processes, not to the store that all of them ask.
@pytest.mark.parametrize(
    ("spending", "dies_too"),
    [
        ("sqlite", None),
        ("sqlite", "observer"),
        ("sqlite", "worker"),
        ("sqlite", "everything"),
        ("single", None),
        ("single", "everything"),
        ("cluster", None),
    ],
    indirect=["spending"],
)
def test_a_killed_envoy_leaves_all_its_places(spending: World, dies_too: str | None) -> None:
    """All can be taken again soon after its restart, whoever else was killed, and no more than that: a stream through another
    Envoy keeps its place. Money stays set aside.
    """
    dying, living = spending.instances[0], spending.instances[1:]
    with ExitStack() as streams:
        for other in living:
            fill(streams, other, 1)
        with ExitStack() as orphans:
            fill(orphans, dying, PLACES - len(living))
            assert_full(dying)
            if dies_too == "everything":
                _kill_all(dying)
            else:
                for role in filter(None, ("envoy", dies_too)):
                    _kill(dying, role)
        until(lambda: dying.accepts_connections() and dying.is_ready() and dying.serving_workers())
        until(lambda: _taken(spending) == len(living), FREE_SECONDS)
        fill(streams, dying, PLACES - len(living))
        for instance in spending.instances:
            assert_full(instance)
        assert Decimal(shown_budget(dying, "house")["reserved_usd"]) > 0
    until(lambda: _taken(spending) == 0)


@pytest.mark.parametrize("spending", ["sqlite", "single"], indirect=True)
def test_nobody_else_that_dies_makes_room(spending: World) -> None:
    """Observers and workers that are killed are no dead Envoy: what runs keeps its places, and gives them back at its end."""
    instance = spending.instances[0]
    with ExitStack() as streams:
        fill(streams, instance, PLACES)
        _kill(instance, "observer")
        _kill(instance, "worker")
        until(lambda: instance.is_ready() and instance.serving_workers())
        give_up = time.monotonic() + WATCHED_SECONDS
        while time.monotonic() < give_up:
            assert_full(instance)
            time.sleep(0.2)
        assert _taken(spending) == PLACES
    until(lambda: _taken(spending) == 0)
