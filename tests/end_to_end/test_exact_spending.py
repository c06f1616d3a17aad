"""Caps and limits under a crowd, through the real Envoy: exact on one SQLite file and on one Redis, kills included."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.load import Outcome, chat
from tests.end_to_end.running import until
from tests.end_to_end.spending import INPUT, OUTPUT, World, billed, micro_usd, world
from tests.redis_servers import RedisServer, single_redis

pytestmark = [pytest.mark.end_to_end, pytest.mark.alone]

CAP_USD = "0.02"
ALLOWED_REQUESTS = 40
# Every tenant of these tests may spend freely but the one whose requests are counted.
COUNTED = f"""
budgets:
  counted: {{requests: {ALLOWED_REQUESTS}, window: {{rolling: 1h}}, match: {{tenant: counted}}}}
"""
BODIES = [
    chat("small", max_tokens=60),
    chat("small", max_tokens=60, stream=True),
    chat("small", max_tokens=60, stream=True, stream_options={"include_usage": True}),
    chat("small", size=3_000, max_tokens=30),
]
SERVED = {(200, "named")}
# A store that is too busy to answer in time refuses what it cannot count: these budgets say so.
REFUSED = {(429, "budget_exceeded"), (429, "rate_limit_exceeded"), (503, "store_unavailable")}
KILLED = {(503, "router_unavailable")}
SEEDS = range(int(os.environ.get("SOAK_SEEDS", "3")))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def spending(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One instance of two workers on one SQLite file; three replicas on one Redis."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with world(folder, replicas=1, workers=2, more=COUNTED) as built:
            yield built
        return
    server: RedisServer = request.getfixturevalue("redis")
    with world(folder, replicas=3, workers=1, more=COUNTED, store=f"store: {{redis: {{url: {server.url}}}}}") as built:
        yield built


@pytest.fixture(autouse=True)
def _healed(spending: World) -> None:
    spending.simulators.heal()


def _told(outcome: Outcome) -> tuple[int, str]:
    """Status and reason; that an answer was made shorter to fit is as good."""
    return outcome.status, outcome.headers.get("x-router-reason", "").partition("+")[0]


def test_a_crowd_never_spends_more_than_the_cap(spending: World) -> None:
    """Of 500 requests at once some are served and none beyond the cap; ledger, store and bill are equal to the micro-dollar."""
    key = spending.create_key("crowd", "--budget-usd", CAP_USD, "--window", "month")
    before = len(spending.ledger())
    with spending.load(key, BODIES, requests=500, connections=500) as load:
        load.join()
    assert set(load.by(_told)) <= SERVED | REFUSED, load.by(_told)
    shown = spending.settled("crowd")
    bill = spending.billed()
    assert bill, "nothing was served at all"
    assert micro_usd(shown["settled_usd"]) == sum(bill)
    assert sum(row["cost_micro_usd"] for row in spending.ledger()[before:] if row["tenant"] == "crowd") == sum(bill)
    assert sum(bill) <= micro_usd(CAP_USD)
    assert micro_usd(shown["remaining_usd"]) == micro_usd(CAP_USD) - sum(bill)
    assert len(bill) == sum(outcome.is_served for outcome in load.outcomes)


def test_what_is_left_is_spent_in_the_end(spending: World) -> None:
    """One after the other, requests are served until the next would not fit: nothing set aside is lost."""
    key = spending.create_key("patient", "--budget-usd", "0.004", "--window", "month")
    served, is_settled = 0, False
    while True:
        with spending.load(key, [chat("small", max_tokens=60)], requests=1, connections=1) as load:
            load.join()
        [outcome] = load.outcomes
        served += outcome.is_served
        if outcome.is_served:
            is_settled = False
        elif is_settled and outcome.status == 429:
            break
        else:
            # What is under way was in the way, or the store was too busy: once it is quiet, a refusal is the last word.
            assert _told(outcome) in REFUSED, outcome
            spending.settled("patient")
            is_settled = True
    bill = spending.billed()
    assert served == len(bill)
    # The longest answer it asks for, and a prompt of fewer tokens than 40.
    bound = 60 * OUTPUT + 40 * INPUT
    assert 0 <= 4_000 - sum(bill) < bound


def test_a_request_limit_is_exact(spending: World) -> None:
    """Of 300 requests at once exactly as many are served as the limit says."""
    key = spending.create_key("counted")
    with spending.load(key, BODIES[:1], requests=300, connections=150) as load:
        load.join()
    assert set(load.by(_told)) <= SERVED | REFUSED, load.by(_told)
    served = load.by(lambda outcome: outcome.status)[200]
    while (503, "store_unavailable") in load.by(_told) and served < ALLOWED_REQUESTS:
        # What a busy store set aside for nobody is given back, and there for whoever comes next.
        with spending.load(key, BODIES[:1], requests=1, connections=1, pause=0.1) as late:
            late.join()
        served += late.outcomes[0].is_served
    assert served == ALLOWED_REQUESTS
    assert spending.simulators.stats("one")["requests"] == ALLOWED_REQUESTS


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_lose_nothing_and_allow_nothing(spending: World, seed: int) -> None:
    """Workers and observers are killed at random moments: the cap holds, and all three sums are equal once it is quiet."""
    chance = random.Random(seed)  # noqa: S311 - draws moments and victims
    tenant = f"killed-{seed}-{time.monotonic_ns()}"
    key = spending.create_key(tenant, "--budget-usd", CAP_USD, "--window", "month")
    with spending.load(key, BODIES, requests=None, connections=24, pause=0.01) as load:
        for _ in range(4):
            time.sleep(chance.uniform(0.05, 0.6))
            instance = chance.choice(spending.instances)
            victims = instance.pids(chance.choice(["worker", "worker", "observer"]))
            if victims:
                os.kill(chance.choice(victims), signal.SIGKILL)
        time.sleep(chance.uniform(0.05, 0.3))
    assert set(load.by(_told)) <= SERVED | REFUSED | KILLED, load.by(_told)
    for instance in spending.instances:
        until(instance.is_ready, seconds=30)
    shown = spending.settled(tenant)
    bill = billed(spending.simulators, ["one"])
    rows = [row for row in spending.ledger() if row["tenant"] == tenant]
    assert sum(row["cost_micro_usd"] for row in rows) == sum(bill)
    assert micro_usd(shown["settled_usd"]) == sum(bill)
    assert sum(bill) <= micro_usd(CAP_USD)
    assert bill, "nothing was served at all"
