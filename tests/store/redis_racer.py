"""A process that spends from one counter in Redis as fast as it can, writing down what it spent before it tells.

Arguments: the URL of Redis, a folder, the name of the instance, the limit, a seed. It ends when nothing is left.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from router_extproc.registry.spending import StoreSettings
from router_extproc.store.counters import Hold, Query, Release, StoreUnavailableError, Total
from router_extproc.store.redis_counters import RedisCounters

COUNTER = "budget raced"
DEADLINE_SECONDS = 5.0
# Whoever waits for Redis as long as that still has what it set aside.
HELD_SECONDS = DEADLINE_SECONDS + 1
_AT_ONCE = 8
_WINDOW_SECONDS = 3_600


class Racer:
    """``spent`` is what the file says: as a ledger would, it survives the process."""

    def __init__(self, store: RedisCounters, folder: Path, instance: str, limit: int, seed: int) -> None:
        self._store = store
        self._file = folder / f"{instance}.spent"
        self._instance = instance
        self._limit = limit
        self._random = random.Random(seed)  # noqa: S311 - for variety, not for secrets
        self._bucket = 0
        self._expires = int(time.time()) + _WINDOW_SECONDS

    def spent(self) -> int:
        """The sum of the lines."""
        return sum(map(int, self._file.read_text().split())) if self._file.exists() else 0

    async def run(self) -> None:
        """Until nothing is left: everything that may be spent is, and was told."""
        await self._tell(())
        while True:
            outcomes = await asyncio.gather(*(self._spend() for _ in range(_AT_ONCE)))
            (level,) = await self._store.read([Query(COUNTER, 0)], time.time())
            if not any(outcomes) and level.settled >= self._limit:
                return

    async def _spend(self) -> bool:
        reservation = f"{self._instance}-{self._random.getrandbits(64)}"
        amount = self._random.randint(1, 5)
        now = time.time()
        hold = Hold(COUNTER, self._bucket, 0, amount, self._limit, "enforce", self._expires)
        verdict = await self._store.reserve(reservation, [hold], now + HELD_SECONDS, now)
        if verdict.refused:
            # The last few are spent one by one.
            hold = Hold(COUNTER, self._bucket, 0, 1, self._limit, "enforce", self._expires)
            verdict = await self._store.reserve(reservation, [hold], now + HELD_SECONDS, now)
            amount = 1
        if verdict.refused:
            return False
        await asyncio.sleep(self._random.uniform(0, 0.003))
        if self._random.random() < 0.1:
            await self._store.release([Release(reservation, (COUNTER,))], time.time())
            return True
        with self._file.open("a") as file:
            file.write(f"{amount}\n")
        await self._tell((Release(reservation, (COUNTER,)),))
        return True

    async def _tell(self, releases: tuple[Release, ...]) -> None:
        total = Total(COUNTER, self._bucket, self.spent(), self._expires)
        await self._store.settle([total], releases, time.time())


async def _main(url: str, folder: str, instance: str, limit: str, seed: str) -> None:
    store = RedisCounters(StoreSettings(kind="redis", urls=(url,), deadline_ms=round(DEADLINE_SECONDS * 1_000)), {}, instance)
    await store.start()
    while True:
        try:
            await store.read([Query(COUNTER, 0)], time.time())
        except StoreUnavailableError:
            await asyncio.sleep(0.02)
        else:
            break
    await Racer(store, Path(folder), instance, int(limit), int(seed)).run()
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
