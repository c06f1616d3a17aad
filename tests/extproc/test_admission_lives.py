"""What takes part in limits on requests in parallel is counted in the life of the Envoy that asks."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from router_extproc.registry.spending import (
    Budget,
)
from router_extproc.store.lives import counter_of
from tests.extproc.admission_stage import Stage, registry, usd

SLOTS = Budget("slots", "parallel", 1, downgrade_at=None)


def _held(folder: Path, store: str = "shared") -> set[tuple[str, str]]:
    """What is set aside, by counter and reservation, of every counter."""
    with closing(sqlite3.connect(folder / f"{store}.sqlite")) as connection:
        return set(connection.execute("select counter, reservation from holds"))


async def test_a_request_in_parallel_is_counted_in_its_envoys_life(stage: Stage, tmp_path: Path) -> None:
    """In the same reservation; its account names that counter too, so that its line gives both back."""
    told = await stage.ask(registry(SLOTS, usd(1_000)), id="id-7", life="one")
    [slots, money, life] = told.account.held
    assert life.counter == counter_of(stage.lives.mark("one"), slots.counter)
    assert (life.unit, life.amount, life.limit, life.budget) == ("parallel", 1, 0, "")
    assert _held(tmp_path) == {(held.counter, "id-7") for held in (slots, money, life)}
    assert told.own["budget_remaining"] == "0.000900"


@pytest.mark.parametrize(("budget", "life"), [(SLOTS, ""), (SLOTS, "-"), (usd(1_000), "one")])
async def test_nothing_is_counted_in_a_life_without_need(stage: Stage, budget: Budget, life: str) -> None:
    """Where Envoy has no name, and where nothing ends with it."""
    told = await stage.ask(registry(budget), life=life)
    assert [held.budget for held in told.account.held] == [budget.name]


async def test_a_refused_request_is_in_no_life(stage: Stage, tmp_path: Path) -> None:
    """It has nothing set aside at all."""
    view = registry(SLOTS)
    await stage.ask(view, id="first", life="one")
    refused = await stage.ask(view, life="one")
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert {reservation for _, reservation in _held(tmp_path)} == {"first"}


async def test_a_request_that_becomes_a_smaller_one_is_in_its_life_once(stage: Stage, tmp_path: Path) -> None:
    """What was set aside for the dearer model is given back with its place in the life, and set aside anew."""
    view = registry(replace(SLOTS, cap=9), usd(10_000, downgrade_at=0.5))
    for number in range(5):
        await stage.ask(view, "either", id=f"id-{number}", life="one")
    told = await stage.ask(view, "either", id="id-7", life="one")
    assert told.reason.endswith("+budget-downgrade:money")
    own = {(counter, reservation) for counter, reservation in _held(tmp_path) if reservation == "id-7"}
    assert own == {(held.counter, "id-7") for held in told.account.held}
    assert len(told.account.held) == 3


async def test_without_the_store_a_life_is_counted_in_this_instances_own(stage: Stage, tmp_path: Path) -> None:
    """Beside the share that is taken there; the line gives back whatever the silent store may have set aside as well."""
    stage.shared.is_away = True
    told = await stage.ask(registry(replace(SLOTS, on_store_failure="local_share", local_share=1.0)), id="id-7", life="one")
    counters = {held.counter for held in told.account.held}
    assert {counter for counter, _ in _held(tmp_path, "local")} < counters
    assert len(counters) == 4
