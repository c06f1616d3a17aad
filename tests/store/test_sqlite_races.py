"""Processes that race at a cap and are killed: never a micro-dollar above it, nothing lost, nothing counted twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from router_extproc.store.ledger import Ledger, spent
from tests.store.spender import CAP, LARGEST, PARTS, SHARED, Line

SEEDS = range(int(os.environ.get("SOAK_SEEDS", "3")))
_ROOT = Path(__file__).parents[2]
_SPENDERS = 3
_KILLS = 8
_SECONDS = 30.0


class Crew:
    """Spenders and a settler, each replaced when it is killed."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.roles = ["settle", *["spend"] * _SPENDERS]
        self.outputs: list[Path] = []
        self.processes = [self._start(role) for role in self.roles]

    def _start(self, role: str) -> subprocess.Popen[bytes]:
        output = self.folder / f"{role}-{len(self.outputs)}.out"
        if role == "spend":
            self.outputs.append(output)
        words = [sys.executable, "-m", "tests.store.spender", role, str(self.folder), str(self.chance.getrandbits(32))]
        with output.open("ab") as written, (self.folder / "errors").open("ab") as errors:
            return subprocess.Popen(words, stdout=written, stderr=errors, cwd=_ROOT)

    def kill_one(self) -> None:
        place = self.chance.randrange(len(self.processes))
        self._kill(place)
        self.processes[place] = self._start(self.roles[place])

    def kill_spenders(self) -> None:
        for place, role in enumerate(self.roles):
            if role == "spend":
                self._kill(place)

    def kill_all(self) -> None:
        for place in range(len(self.processes)):
            self._kill(place)

    def admitted(self) -> dict[str, int]:
        lines = b"".join(output.read_bytes() for output in self.outputs).splitlines()
        return {reservation.decode(): int(amount) for reservation, amount in (line.split() for line in lines)}

    def _kill(self, place: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.processes[place].send_signal(signal.SIGKILL)
        self.processes[place].wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def levels(connection: sqlite3.Connection) -> dict[str, int]:
    """What counts against the cap, by the rows themselves, as one moment has it."""
    statement = (
        "select counter, sum(amount) from (select counter, amount from totals union all select counter, amount from holds)"
    )
    return dict(connection.execute(f"{statement} group by counter").fetchall())


def lines(folder: Path) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in (folder / "log").read_bytes().splitlines()]


def wait_for(condition: object) -> None:
    ends = time.monotonic() + _SECONDS
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.02)


@pytest.fixture
def crew(folder: Path, seed: int) -> Iterator[Crew]:
    with closing(Ledger(folder / "ledger.sqlite")):
        crew = Crew(folder, random.Random(seed))  # noqa: S311 - repeatable, not secret
    yield crew
    crew.kill_all()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_beyond_the_cap_whoever_is_killed(folder: Path, crew: Crew, seed: int) -> None:
    """Workers and observer are killed at random moments while they race: settled and set aside stay within every cap at any
    moment; what was told admitted is set aside or settled; in the end ledger, totals and log agree to the micro-dollar.
    """
    file, fullest = folder / "ledger.sqlite", 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
        for _ in range(_KILLS):
            seen = len(crew.admitted())
            wait_for(lambda: len(crew.admitted()) > seen or levels(reader).get(SHARED, 0) > CAP * 0.99)  # noqa: B023 - called at once
            ends = time.monotonic() + crew.chance.random() * 0.4
            while time.monotonic() < ends:
                found = levels(reader)
                assert found.get(SHARED, 0) <= CAP
                fullest = max(fullest, found.get(SHARED, 0))
                assert all(found.get(part, 0) <= CAP // 2 for part in PARTS)
            crew.kill_one()
        crew.kill_spenders()
        log = lines(folder)
        wait_for(lambda: sum(sums.calls for sums in spent(file)) == len(log))
        crew.kill_all()
        totals = dict(reader.execute("select counter, amount from totals").fetchall())
        left = dict(reader.execute("select reservation, amount from holds where counter = ?", (SHARED,)).fetchall())
        kept = reader.execute("select held from counters where counter = ?", (SHARED,)).fetchone()[0]
    costs = {name: sum(line.cost for line in log if name in line.counters) for name in (SHARED, *PARTS)}
    assert {name: totals.get(name, 0) for name in costs} == costs
    assert spent(file)[0].cost_micro_usd == costs[SHARED] <= CAP
    assert fullest > CAP - LARGEST
    admitted = crew.admitted()
    assert {line.reservation for line in log} <= admitted.keys()
    # Whoever died between being admitted and spending still holds: until it expires.
    assert admitted.keys() - {line.reservation for line in log} <= left.keys()
    assert sum(left.values()) == kept
    assert not (folder / "errors").read_bytes()
