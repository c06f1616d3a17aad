"""The bound on bodies in memory."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.extproc.body_budget import BodyBudget


async def test_what_does_not_fit_waits_its_turn() -> None:
    """The second body is read only once the first has been released."""
    budget = BodyBudget(100)
    order: list[str] = []

    async def one(name: str, size: int, release: asyncio.Event) -> None:
        async with budget.hold(size):
            order.append(name)
            await release.wait()

    first, second = asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(one("first", 80, first)), asyncio.create_task(one("second", 30, second))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == ["first"]
    first.set()
    second.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "second"]
    assert budget.held == 0


async def test_a_body_larger_than_the_limit_is_admitted_alone() -> None:
    """It would otherwise wait for ever."""
    budget = BodyBudget(10)
    async with budget.hold(50):
        assert budget.held == 10


async def test_a_caller_that_gives_up_leaves_no_trace() -> None:
    """Cancelling a waiter neither leaks bytes nor blocks those behind it."""
    budget = BodyBudget(10)
    async with budget.hold(10):
        waiter = asyncio.create_task(budget.hold(10).__aenter__())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    async with budget.hold(10):
        assert budget.held == 10
    assert budget.held == 0


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=30))
@settings(max_examples=50)
def test_the_limit_holds_and_everybody_is_served(bodies: list[tuple[int, bool]]) -> None:
    """Whatever comes, held bytes never exceed the limit, and nothing is held in the end."""

    async def run() -> None:
        budget = BodyBudget(50)

        async def one(size: int, *, slow: bool) -> None:
            async with budget.hold(size):
                assert budget.held <= budget.limit
                if slow:
                    await asyncio.sleep(0)

        await asyncio.gather(*(one(size, slow=slow) for size, slow in bodies))
        assert budget.held == 0

    asyncio.run(run())


async def test_who_must_wait_is_known_beforehand() -> None:
    """Envoy is asked for patience only where there is no room, and a body above the limit needs room for itself alone."""
    budget = BodyBudget(10)
    assert not budget.must_wait(10)
    assert not budget.must_wait(11)
    async with budget.hold(4):
        assert not budget.must_wait(6)
        assert budget.must_wait(7)
        assert budget.must_wait(11)
    assert not budget.must_wait(11)
