"""A worker or an observer in small, to be started several times and killed: it spends, or settles, until its end.

``python -m tests.store.spender spend|settle FOLDER SEED``. What is spent is written as lines into ``FOLDER/log``, as Envoy
does; what was admitted is told on standard output first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import sys
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from router_extproc.store.counters import Hold, Release, StoreUnavailableError
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Position, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters

CAP = 12_000
LARGEST = 100
BUCKET, FAR = 0, 2_000_000_000
# Each request counts in the first and in one of the others, which have half of the cap.
SHARED, PARTS = "all", ("part-0", "part-1", "part-2")
_AT_ONCE = 12


class Line(msgspec.Struct):
    """What one request has cost."""

    reservation: str
    counters: tuple[str, str]
    cost: int


async def spend(folder: Path, seed: int) -> None:
    """Reserves, spends less than that, and goes on when it is refused: others settle meanwhile."""
    counters = SqliteCounters(folder / "ledger.sqlite", deadline_seconds=5.0)
    log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    numbers, chance = itertools.count(), random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def go_on() -> None:
        while True:
            reservation, amount, part = f"{os.getpid()}-{next(numbers)}", chance.randint(1, LARGEST), chance.choice(PARTS)
            names = (SHARED, part)
            holds = [Hold(name, BUCKET, 0, amount, CAP if name == SHARED else CAP // 2, "enforce", FAR) for name in names]
            verdict = await counters.reserve(reservation, holds, FAR, time.time())
            if verdict.refused:
                await asyncio.sleep(0.005)
                continue
            os.write(1, f"{reservation} {amount}\n".encode())
            await asyncio.sleep(chance.random() * 0.02)
            os.write(log, msgspec.json.encode(Line(reservation, names, chance.randint(0, amount))) + b"\n")

    await asyncio.gather(*(go_on() for _ in range(_AT_ONCE)))


def settle(folder: Path) -> None:
    """Settles the log's whole lines from where the ledger says; while others write too long it tries again, as observers do."""
    (folder / "log").touch()
    ledger: Ledger | None = None
    with (folder / "log").open("rb") as log:
        while True:
            with contextlib.suppress(StoreUnavailableError):
                ledger = ledger or Ledger(folder / "ledger.sqlite")
                if not _settle(ledger, log):
                    os.write(1, b"settled\n")
                    time.sleep(0.01)


def _settle(ledger: Ledger, log: BinaryIO) -> bool:
    """Whether there was a whole line."""
    position = ledger.position()
    log.seek(0 if position is None else position.offset)
    read = log.read(20_000)
    whole = read[: read.rfind(b"\n") + 1]
    if not whole:
        return False
    lines = [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
    ledger.record(
        [
            Settlement(
                LedgerRow(request=line.reservation, attempt=1, at=time.time(), cost_micro_usd=line.cost),
                tuple(Charge(counter, BUCKET, line.cost, FAR) for counter in line.counters),
            )
            for line in lines
        ],
        [Release(line.reservation, line.counters) for line in lines],
        Position(1, log.tell() - len(read) + len(whole)),
    )
    return True


if __name__ == "__main__":
    if sys.argv[1] == "spend":
        asyncio.run(spend(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        settle(Path(sys.argv[2]))
