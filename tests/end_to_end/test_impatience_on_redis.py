"""Requests over Redis that nobody waits for or decides any more: nothing that was set aside for them stays so."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Hold
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until
from tests.end_to_end.spending import MODEL
from tests.redis_servers import RedisServer, single_redis
from tests.store.redis_counting import opened

pytestmark = [pytest.mark.end_to_end, pytest.mark.soak]

SIMULATED = {"one": {"models": ["small"]}}
CONFIGURATION = f"""
auth: {{mode: none}}
workers: {{count: 2}}
store: {{redis: {{url: "REDIS"}}, deadline: 1s}}
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  small: {{deployments: [{{provider: one}}],
{MODEL}}}
routes:
  open: {{targets: [small]}}
budgets:
  money: {{usd: 100, window: month, match: {{route: open}}}}
  often: {{requests: 100000, window: {{rolling: 1h}}, match: {{route: open}}}}
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with single_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def instance(simulators: Simulators, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    configuration = simulators.fill(CONFIGURATION).replace("REDIS", redis.url)
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


def set_aside(redis: RedisServer) -> list[str]:
    """Counters in which something is set aside, and requests that have something there."""
    with redis.client() as client:
        return [*client.scan_iter("router:*:held:*"), *client.scan_iter("router:*:of:*")]


def undecided(instance: Instance) -> list[str]:
    """Requests that ended before a worker's decision came, by their ids."""
    requests = (line for line in instance.access_lines() if line["kind"] == "request")
    return [line["decision"] for line in requests if not line["account"]]


def test_impatience(instance: Instance, redis: RedisServer) -> None:
    """They leave before, while and after something is set aside for them: a few seconds later nothing is."""
    chance, lock = random.Random(5), threading.Lock()  # noqa: S311 - draws when they leave

    def ask(number: int) -> None:
        with lock:
            patience = chance.uniform(0.002, 0.03)
        body = {"model": "open", "messages": HELLO, "max_tokens": 20, "stream": number % 2 == 0}
        with suppress(httpx.TransportError), instance.http() as client:
            client.post(CHAT, json=body, timeout=httpx.Timeout(5, read=patience))

    until(lambda: instance.ask("open", max_tokens=20).headers.get("x-router-degraded") is None)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(ask, range(300)))
    assert len(undecided(instance)) > 5
    until(lambda: not set_aside(redis), seconds=20, step=0.2)


async def test_a_worker_that_dies_while_it_decides(instance: Instance, redis: RedisServer) -> None:
    """What a killed worker had set aside, and what Redis sets aside for it even later, is given back all the same."""
    assert instance.process is not None
    before = len(undecided(instance))
    os.kill(instance.process.pid, signal.SIGSTOP)
    try:
        for pid in instance.pids("worker"):
            os.kill(pid, signal.SIGKILL)
        until(lambda: instance.ask("open", max_tokens=20).status_code == 503)
        until(lambda: len(undecided(instance)) > before)
        [*_, decision] = undecided(instance)
        now = time.time()
        holds = [Hold(name, 0, 0, 9, 10**9, "enforce", int(now) + 86_400) for name in ("usd:money", "requests:often")]
        # As the killed worker would have.
        async with opened(StoreSettings(kind="redis", urls=(redis.url,), deadline_ms=1_000)) as store:
            await store.reserve(decision, holds, now + 3_600, now)
    finally:
        os.kill(instance.process.pid, signal.SIGCONT)
    until(lambda: not set_aside(redis), seconds=20, step=0.2)
