"""Three processes race at one limit in one Redis, and are killed at random moments: it is spent to the last, and no more."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router_extproc.store.counters import Query
from tests.redis_servers import RedisServer, single_redis, until
from tests.store.redis_counting import opened, single
from tests.store.redis_racer import COUNTER, HELD_SECONDS

LIMIT = 2_000
INSTANCES = ("one", "two", "three")
SECONDS = 60.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_racing_processes_spend_exactly_the_limit(tmp_path: Path, seed: int) -> None:
    """What the processes wrote down as spent is at no time more than the limit, and in the end equals it and what Redis says;
    what the killed ones had set aside is free again when it expires.
    """
    chance = random.Random(seed)  # noqa: S311 - for variety, not for secrets
    with single_redis(tmp_path / "redis") as server:

        def start(instance: str) -> subprocess.Popen[bytes]:
            arguments = [server.url, str(tmp_path), instance, str(LIMIT), str(chance.getrandbits(32))]
            return subprocess.Popen([sys.executable, "-m", "tests.store.redis_racer", *arguments])

        def spent() -> int:
            return sum(sum(map(int, file.read_text().split())) for file in tmp_path.glob("*.spent"))

        processes = {instance: start(instance) for instance in INSTANCES}
        try:
            until(lambda: spent() > 0, "the race to begin", SECONDS)
            for _ in range(4):
                time.sleep(chance.uniform(0.02, 0.3))
                victim = chance.choice(INSTANCES)
                processes[victim].kill()
                processes[victim].wait()
                processes[victim] = start(victim)
                assert spent() <= LIMIT
            until(lambda: all(process.poll() == 0 for process in processes.values()), "the race to end", SECONDS)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
        assert spent() == LIMIT
        with server.client() as client:
            assert client.hgetall(f"router:{{r0}}:settled:{COUNTER}") == {"0": str(LIMIT)}
        # What a killed process had set aside for what it wrote down and did not tell.
        until(lambda: asyncio.run(held(server)) == 0, "reservations to expire", HELD_SECONDS + SECONDS)


async def held(server: RedisServer) -> int:
    async with opened(single(server), "") as store:
        (level,) = await store.read([Query(COUNTER, 0)], time.time())
        return level.held
