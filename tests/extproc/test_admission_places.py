"""Places whose own limits are full: passed over, waited for, refused with the time of their reset."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from msgspec.structs import replace

from router_extproc.extproc import full_places
from router_extproc.registry.health import DeploymentHealth, Health
from router_extproc.registry.spending import (
    Budget,
    Waiting,
    Window,
)
from router_extproc.store.counters import Release
from tests.extproc.admission_stage import Stage, registry, usd


def rpm(cap: int, model: str) -> Budget:
    return Budget(
        f"provider:{model}", "requests", cap, Window(rolling_seconds=60), match=(("model", model),), downgrade_at=None
    )


async def test_a_full_place_is_passed_over(stage: Stage) -> None:
    """The next one of the chain answers, as long as there is one."""
    view = registry(rpm(1, "large"), waiting=Waiting(max_wait_ms=0))
    assert [(await stage.ask(view, "either")).first for _ in range(3)] == ["large", "small", "small"]
    assert (await stage.ask(view, "large")).status == 429


async def test_a_place_that_was_full_a_moment_ago_is_passed_over_without_asking(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question a request, as when there is room everywhere; where nobody else has room the store is asked all the same."""
    monkeypatch.setattr(full_places, "REMEMBERED_SECONDS", 60)
    view = registry(rpm(1, "large"), usd(100_000), waiting=Waiting(max_wait_ms=0))
    for _ in range(2):
        await stage.ask(view, "either")
    before = stage.shared.questions
    told = await stage.ask(view, "either")
    assert (told.first, stage.shared.questions - before) == ("small", 1)
    assert (await stage.ask(view, "large")).status == 429
    assert stage.shared.questions - before == 2


async def test_when_no_place_has_room_a_request_waits_for_one(stage: Stage) -> None:
    """Envoy is told to be patient, and the request goes on as soon as another one has ended."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, waiting=Waiting(max_wait_ms=3_000))
    first = await stage.ask(view, id="first")
    assert first.account.held[0].amount == 1
    second = asyncio.create_task(stage.ask(view))
    await stage.is_waiting.wait()
    assert not second.done()
    await stage.shared.release([Release("first", (first.account.held[0].counter,))], time.time())
    async with asyncio.timeout(5):
        assert (await second).status == 200
    assert stage.tally.waited >= 1


async def test_waiting_has_an_end(stage: Stage) -> None:
    """Who has waited long enough is refused with the time after which it is worth while."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, waiting=Waiting(max_wait_ms=150))
    await stage.ask(view)
    started = time.monotonic()
    assert (await stage.ask(view)).status == 429
    assert 0.1 < time.monotonic() - started < 3


async def test_a_client_that_leaves_takes_nothing_with_it(stage: Stage) -> None:
    """What was asked for in its name is given back."""
    parallel = Budget("provider:p", "parallel", 1, Window(), match=(("provider", "p"),), downgrade_at=None)
    view = registry(parallel, usd(1_000), waiting=Waiting(max_wait_ms=3_000))
    await stage.ask(view)
    waiting = asyncio.create_task(stage.ask(view, id="gone"))
    await stage.is_waiting.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stage.admission.aclose()
    assert "gone" in {release.reservation for release in stage.shared.released}


def quota(seconds: float, unit: str = "requests") -> Health:
    return Health(deployments={"p/small@1": DeploymentHealth(quota_until=time.time() + seconds, quota_unit=unit)})


@pytest.mark.parametrize("budgets", [(), (usd(1_000),)], ids=["unlimited", "limited"])
async def test_a_request_waits_for_a_quota_that_its_provider_gives_back_soon(stage: Stage, budgets: tuple[Budget, ...]) -> None:
    """Only when no other place has room, and no longer than anybody may wait."""
    view = registry(*budgets, waiting=Waiting(max_wait_ms=5_000))
    started = time.monotonic()
    stage.health = quota(0.5)
    assert (await stage.ask(view)).status == 200
    assert 0.4 < time.monotonic() - started < 5
    assert stage.is_waiting.is_set()
    stage.is_waiting.clear()
    stage.health = quota(0.2)
    assert (await stage.ask(view, "either")).status == 200
    assert not stage.is_waiting.is_set()


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@pytest.mark.parametrize("budgets", [(), (usd(1_000),)], ids=["unlimited", "limited"])
@pytest.mark.parametrize(
    ("seconds", "waiting"), [(30.9, Waiting()), (1.9, Waiting(max_waiters=0))], ids=["too long", "a full waiting room"]
)
async def test_a_quota_that_nobody_can_wait_for_is_a_429(
    stage: Stage, budgets: tuple[Budget, ...], seconds: float, waiting: Waiting, unit: str
) -> None:
    """It says of what the quota is and when it resets; the provider is asked all the same only where that is wished."""
    stage.health = quota(seconds, unit)
    refused = await stage.ask(registry(*budgets, waiting=waiting))
    assert (refused.status, refused.error["code"], refused.error["type"]) == (429, "rate_limit_exceeded", unit)
    assert refused.headers["retry-after"] == str(math.ceil(seconds))
    told = {name: value for name, value in refused.headers.items() if name.startswith("x-ratelimit-")}
    assert told == {f"x-ratelimit-remaining-{unit}": "0", f"x-ratelimit-reset-{unit}": f"{math.ceil(seconds)}s"}
    assert refused.headers["x-should-retry"] == "false"
    anyway = replace(waiting, learned="try")
    assert (await stage.ask(registry(*budgets, waiting=anyway))).status == 200
