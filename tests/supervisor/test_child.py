"""One kept process, with small real programs in the child's place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from router_extproc.errors import StartError
from router_extproc.supervisor import child as module
from router_extproc.supervisor.child import Child

# Says what the first argument asks for, in the order written, and then does nothing until it is ended.
SPEAKER = """
import os, signal, sys, time
words, fd = sys.argv[1].split(","), int(sys.argv[-1])
signal.signal(signal.SIGTERM, lambda *_: (os.write(fd, b"draining\\n"), time.sleep(float(sys.argv[2])), sys.exit(0)))
for word in words:
    os.write(fd, word.encode() + b"\\n")
time.sleep(60)
"""


def speaker(words: str = "ready", seconds_to_drain: float = 0) -> list[str]:
    return [sys.executable, "-c", SPEAKER, words, str(seconds_to_drain)]


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


@contextlib.asynccontextmanager
async def kept(child: Child) -> AsyncIterator[asyncio.Task[None]]:
    """The child is kept alive for the time of the block."""
    task = asyncio.create_task(child.run())
    try:
        yield task
    finally:
        await child.stop(20)
        await asyncio.wait_for(task, 30)


def pids() -> list[int]:
    """The children of this process."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def test_ready_follows_what_the_process_says() -> None:
    """It is ready once it says so, and not ready any more once it is gone."""
    child = Child("speaker", speaker(), speaks=True)
    async with kept(child):
        await asyncio.wait_for(child.ready.wait(), 30)
        os.kill(pids()[0], signal.SIGKILL)
        await until(lambda: not child.ready.is_set())
        await asyncio.wait_for(child.ready.wait(), 30)
        assert child.restarts == 1
    assert pids() == []


async def test_a_process_that_drains_gets_its_successor_at_once() -> None:
    """While the old one still works the new one runs beside it, and both end with the child."""
    child = Child("speaker", speaker(seconds_to_drain=60), speaks=True)
    async with kept(child):
        await asyncio.wait_for(child.ready.wait(), 30)
        [first] = pids()
        os.kill(first, signal.SIGTERM)
        await until(lambda: len(pids()) == 2)
        assert first in pids()
        await until(child.ready.is_set)
        # Its work is done.
        os.kill(first, signal.SIGKILL)
        await until(lambda: first not in pids())
        [second] = pids()
        child.retire()
        os.kill(second, signal.SIGKILL)
    assert pids() == []


async def test_what_dies_is_started_again_with_longer_and_longer_pauses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pauses double up to the longest, and every end is logged with its status."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0.04)
    child = Child("failing", script("raise SystemExit(3)"))
    async with kept(child):
        await until(lambda: child.restarts >= 4)
    ends = [record for record in caplog.records if record.message == "process ended, starting it again"]
    assert [record.pause_seconds for record in ends][:4] == [0.01, 0.02, 0.04, 0.04]
    assert {record.status for record in ends} == {3}


async def test_a_process_that_lived_long_is_started_again_at_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause is for what cannot even start, not for what fails once a day."""
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEALTHY_SECONDS", 0.0)
    child = Child("failing", script("pass"))
    async with kept(child):
        await until(lambda: child.restarts >= 3)
    assert {record.pause_seconds for record in caplog.records if hasattr(record, "pause_seconds")} == {0.01}


async def test_stopping_does_not_wait_for_a_pause() -> None:
    """A child that is waiting to start again ends when it is told to."""
    child = Child("failing", script("raise SystemExit(1)"))
    async with kept(child):
        await until(lambda: child.restarts >= 3)
        child.retire()
    assert child.restarts < 10


async def test_what_does_not_end_in_time_is_killed() -> None:
    """A process that ignores SIGTERM cannot hold up the end."""
    text = "import signal, os, sys, time; signal.signal(15, signal.SIG_IGN); "
    text += "os.write(int(sys.argv[-1]), b'ready\\n'); time.sleep(60)"
    child = Child("deaf", script(text), speaks=True)
    task = asyncio.create_task(child.run())
    await asyncio.wait_for(child.ready.wait(), 30)
    await child.stop(0.1)
    await asyncio.wait_for(task, 30)
    assert pids() == []


async def test_a_retired_child_is_not_started_again() -> None:
    """Its process goes on, and when it ends that is the end."""
    child = Child("speaker", speaker(), speaks=True)
    async with kept(child) as task:
        await asyncio.wait_for(child.ready.wait(), 30)
        child.retire()
        assert len(pids()) == 1
        os.kill(pids()[0], signal.SIGKILL)
        await asyncio.wait_for(asyncio.shield(task), 30)
        assert pids() == []


async def test_a_program_that_is_not_there_is_a_clear_error() -> None:
    """The error names the child and the program."""
    with pytest.raises(StartError, match="ghost: cannot start /nowhere/ghost: No such file or directory"):
        await Child("ghost", ["/nowhere/ghost"]).run()


async def test_output_and_surroundings(tmp_path: Path) -> None:
    """Output is appended to its file; Ctrl-C does not reach it, descriptors are plenty, and the parent's death is fatal."""
    text = """
import ctypes, resource, signal
number = ctypes.c_int()
ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []), resource.getrlimit(resource.RLIMIT_NOFILE), number.value)
"""
    (tmp_path / "log").write_text("before\n")
    child = Child("one", script(text), output=tmp_path / "log")
    async with kept(child):
        await until(lambda: child.restarts == 1)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert (tmp_path / "log").read_text().splitlines()[:2] == ["before", f"True {(most, most)} {int(signal.SIGKILL)}"]
