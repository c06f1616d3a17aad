"""The Lua scripts answer as the plain model does, whatever is asked: on one server, and spread over the tags of a cluster."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.store.counters import Hold, Query, Release, Total
from tests.redis_servers import RedisServer, single_redis
from tests.store.counter_model import CounterModel
from tests.store.redis_counting import opened, single, undone

NOW = 1_000.0
_numbers = itertools.count()
# Eight names, so that those of a cluster lie in several places.
_NAMES = [f"budget per tenant|tenant={name}" for name in ("a", "b%7B", "c", "d", "e", "f", "g", "h")]
_COUNTERS = st.sampled_from(_NAMES)
_HOLDS = st.lists(
    st.builds(
        Hold,
        _COUNTERS,
        bucket=st.sampled_from([940, 960]),
        since=st.sampled_from([900, 940, 960]),
        amount=st.integers(0, 40),
        limit=st.integers(0, 100),
        kind=st.sampled_from(["enforce", "observe", "count"]),
        expires_at=st.just(100_000),
    ),
    max_size=4,
    unique_by=lambda one: one.counter,
)
_RESERVATIONS = st.sampled_from(["r1", "r2", "r3", "r4"])
_RELEASES = st.lists(st.builds(Release, _RESERVATIONS, st.lists(_COUNTERS, max_size=3).map(tuple)), max_size=2)
_TOTALS = st.lists(
    st.builds(Total, _COUNTERS, st.sampled_from([900, 940, 960]), st.integers(0, 60), st.just(100_000)), max_size=3
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), _RESERVATIONS, _HOLDS, st.integers(1, 30)),
        st.tuples(st.just("settle"), _TOTALS, _RELEASES),
        st.tuples(st.just("claim"), st.sampled_from(["x", "y"]), st.integers(1, 30)),
        st.tuples(st.just("wait"), st.integers(1, 20)),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.mark.parametrize("tags", [("r0",), ("r0", "r1", "r2")], ids=["one place", "several places"])
@settings(max_examples=60)
@given(steps=_STEPS)
def test_it_answers_as_the_model_does(server: RedisServer, tags: tuple[str, ...], steps: list[tuple[Any, ...]]) -> None:
    """Every verdict, level and claim is the model's; refusals give back what other places had set aside."""

    async def play() -> None:
        model, now = CounterModel(), NOW
        async with opened(single(server, prefix=f"model-{next(_numbers)}")) as store:
            for step in steps:
                match step:
                    case ("reserve", reservation, holds, seconds):
                        answer = await store.reserve(reservation, holds, now + seconds, now)
                        assert answer == model.reserve(reservation, holds, now + seconds, now)
                        await undone(store)
                    case ("settle", totals, releases):
                        await store.settle(totals, releases, now)
                        model.settle(totals, releases)
                    case ("claim", name, seconds):
                        assert await store.claim(name, now + seconds, now) == model.claim(name, now + seconds, now)
                    case (_, seconds):
                        now += seconds
            queries = [Query(counter, since) for counter in _NAMES for since in (0, 940)]
            assert await store.read(queries, now) == model.read(queries, now)
        with server.client() as client:
            for key in map(str, client.scan_iter(f"{store._prefix}:*:held:*")):
                amounts = client.hgetall(key)
                assert int(amounts.pop("")) == sum(int(value.split()[0]) for value in amounts.values())
                assert set(amounts) == set(client.zrange(key.replace(":held:", ":ends:"), 0, -1))
                for reservation in amounts:
                    assert client.hexists(_list_of(key, str(reservation)), key.partition("}:held:")[2])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("router_extproc.store.redis_recovery.WAIT_MS", 0)
        patched.setattr("router_extproc.store.redis_servers.OneServer.tags", tags)
        asyncio.run(play())


def _list_of(held: str, reservation: str) -> str:
    """Where it stands in which counters of the same place the reservation has something."""
    return f"{held.partition(':held:')[0]}:of:{reservation}"


@settings(max_examples=20)
@given(limit=st.integers(0, 30), amounts=st.lists(st.integers(0, 9), max_size=20), totals=st.lists(st.integers(0, 9)))
def test_at_once_no_limit_is_exceeded(server: RedisServer, limit: int, amounts: list[int], totals: list[int]) -> None:
    """However reservations and settlements of several places are mixed, what was admitted fits into every limit."""

    async def play() -> None:
        # What fits into one place does not fit into the next: refusals have something to give back.
        limits = {"a": limit + 6, "b": limit + 3, "c": limit}
        async with opened(single(server, prefix=f"model-{next(_numbers)}")) as store:
            asked = [
                store.reserve(
                    f"r{number}",
                    [Hold(name, 0, 0, amount, most, "enforce", 100_000) for name, most in limits.items()],
                    2e3,
                    NOW,
                )
                for number, amount in enumerate(amounts)
            ]
            settled = [store.settle([Total("other", 0, total, 100_000)], [], NOW) for total in totals]
            verdicts, _ = await asyncio.gather(asyncio.gather(*asked), asyncio.gather(*settled))
            await undone(store)
            admitted = sum(amount for amount, verdict in zip(amounts, verdicts, strict=True) if not verdict.refused)
            levels = await store.read([Query(name, 0) for name in limits], NOW)
        assert admitted <= limit
        assert [level.held for level in levels] == [admitted] * len(limits)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("router_extproc.store.redis_recovery.WAIT_MS", 0)
        patched.setattr("router_extproc.store.redis_servers.OneServer.tags", ("r0", "r1", "r2"))
        asyncio.run(play())
