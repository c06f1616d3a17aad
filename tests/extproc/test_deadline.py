"""The deadline: it ends synchronous work, and only that."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.extproc.deadline import PATIENCE, AlarmGuard, DeadlinePassedError, unguarded

# The other way to time a test out is SIGALRM, which is what is tested here.
pytestmark = pytest.mark.timeout(60, method="thread")

LIMIT = 0.02
# A machine with more to do than it has processors lets a process wait; a deadline that never comes waits for ever.
AT_MOST = 2.0
RIVAL = "import os\nos.sched_setaffinity(0, %r)\nwhile True: pass"


@pytest.fixture
def guard() -> Iterator[AlarmGuard]:
    guard = AlarmGuard()
    yield guard
    guard.close()


def spin() -> Never:
    """Python that never ends."""
    while True:
        pass


def swallow_everything() -> Never:
    """Careless code that takes whatever is raised for an error of its own."""
    while True:
        with contextlib.suppress(Exception):
            spin()


class Swallowing:
    """A finaliser: what is raised there is reported and forgotten."""

    def __del__(self) -> None:
        spin()


def finalise() -> Never:
    """The first alarm finds a finaliser and is lost there."""
    Swallowing()
    spin()


def took(guard: AlarmGuard, work: object) -> float:
    started = time.monotonic()
    with pytest.raises(DeadlinePassedError, match=r"not done within 20 ms"):
        guard(work, LIMIT)  # type: ignore[arg-type, misc]
    return time.monotonic() - started


@pytest.mark.parametrize(
    "work",
    [spin, swallow_everything, lambda: time.sleep(30), threading.Event().wait, lambda: all(map(is_number, itertools.count()))],
    ids=["python", "except-exception", "sleep", "lock", "callback-of-c"],
)
def test_work_is_interrupted_wherever_it_is(guard: AlarmGuard, work: object) -> None:
    """Python code, a sleep, a lock that never comes and a callback of C code all end at the deadline, not before."""
    assert LIMIT <= took(guard, work) < AT_MOST


def is_number(_: int) -> bool:
    """What C code asks for ever."""
    return True


def test_an_alarm_that_was_swallowed_comes_again(guard: AlarmGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finaliser loses the exception that is raised in it; the next alarm ends the work all the same."""
    swallowed: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: swallowed.append(unraisable.exc_type))
    assert LIMIT <= took(guard, finalise) < AT_MOST
    assert len(swallowed) == 1


def test_time_that_others_had_the_core_is_not_the_works(guard: AlarmGuard) -> None:
    """Work that needs half of its time is done however late, where several processes of higher rank want its only core."""
    mine = os.sched_getaffinity(0)
    core = {min(mine)}
    rivals = [subprocess.Popen([sys.executable, "-c", RIVAL % core]) for _ in range(3)]
    os.sched_setaffinity(0, core)
    try:
        outcomes = []
        for _ in range(5):
            until = time.thread_time() + 2.5 * LIMIT

            def work(until: float = until) -> str:
                while time.thread_time() < until:
                    pass
                return "done"

            began = time.monotonic()
            outcomes.append((guard(work, 5 * LIMIT), time.monotonic() - began))
    finally:
        os.sched_setaffinity(0, mine)
        for rival in rivals:
            rival.kill()
            rival.wait()
    assert [outcome for outcome, _ in outcomes] == ["done"] * 5
    assert max(took for _, took in outcomes) > 5 * LIMIT, "nobody had the core meanwhile: nothing was tested"


def test_patience_has_an_end(guard: AlarmGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the core is never given back for long enough, the work ends after a multiple of its time."""
    monkeypatch.setattr(time, "thread_time", lambda: 0.0)
    assert PATIENCE * LIMIT <= took(guard, spin) < AT_MOST


def test_work_in_time_gives_its_result_and_nothing_comes_late(guard: AlarmGuard) -> None:
    """After a section that ended in time its timer is off, and waiting beyond the limit is not interrupted."""
    assert guard(lambda: 5, LIMIT) == 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    time.sleep(2 * LIMIT)


def test_an_error_of_the_work_is_its_own(guard: AlarmGuard) -> None:
    """What the work raises comes out as it is, and the timer is off."""
    with pytest.raises(ZeroDivisionError):
        guard(lambda: 1 / 0, LIMIT)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert guard(lambda: 5, LIMIT) == 5


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30))
@settings(max_examples=30)
def test_no_alarm_hits_what_comes_after(microseconds: list[int]) -> None:
    """Work that ends at about its deadline either gives its result or has passed it; what follows is never interrupted."""
    guard = AlarmGuard()
    try:
        for duration in microseconds:
            until = time.perf_counter() + duration / 1e6

            def work(until: float = until) -> bool:
                while time.perf_counter() < until:
                    pass
                return True

            with contextlib.suppress(DeadlinePassedError):
                assert guard(work, 150e-6)
            for _ in range(200):
                assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    finally:
        guard.close()


def test_a_stray_alarm_hits_nothing(guard: AlarmGuard) -> None:
    """A SIGALRM from anywhere while nothing is guarded is ignored, and the next section has all of its time."""
    os.kill(os.getpid(), signal.SIGALRM)
    time.sleep(0.01)
    assert guard(lambda: 5, LIMIT) == 5


def test_within_guarded_work_the_outer_limit_holds(guard: AlarmGuard) -> None:
    """A guard in a guard neither prolongs the outer deadline nor switches it off."""
    inner: list[int] = []

    def work() -> None:
        inner.append(guard(lambda: 5, 30.0))
        spin()

    assert LIMIT <= took(guard, work) < AT_MOST
    assert inner == [5]
    assert guard(lambda: 6, LIMIT) == 6


def test_only_the_main_thread_is_guarded(guard: AlarmGuard) -> None:
    """Another thread, which no signal reaches, is refused instead of running without a limit."""
    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            guard(lambda: 5, LIMIT)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert [str(error) for error in raised] == ["only the main thread can be interrupted"]


def test_other_threads_go_on(guard: AlarmGuard) -> None:
    """While the main thread's work is interrupted a thread beside it sleeps undisturbed."""
    slept: list[float] = []

    def sleep() -> None:
        started = time.monotonic()
        time.sleep(0.1)
        slept.append(time.monotonic() - started)

    thread = threading.Thread(target=sleep)
    thread.start()
    took(guard, spin)
    thread.join()
    assert slept[0] >= 0.1


def test_without_a_guard_there_is_no_limit() -> None:
    """The plain guard just runs the work."""
    assert unguarded(lambda: time.sleep(0.002) or 5, 0.001) == 5


# What a worker does: work in an event loop of uvloop, which handles signals in a way of its own.
IN_A_LOOP = """
import asyncio, os, signal, sys, time
import uvloop
from router_extproc.extproc.deadline import AlarmGuard, DeadlinePassedError

def spin():
    while True:
        pass

async def main():
    guard = AlarmGuard()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    passed = 0
    ticks = 0
    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1
    ticking = asyncio.create_task(tick())
    for work in (spin, lambda: time.sleep(30)) * 5:
        try:
            guard(work, 0.01)
        except DeadlinePassedError:
            passed += 1
        await asyncio.sleep(0.005)
    # SIGTERM amid guarded work is neither lost nor does it end the work.
    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        return "went on"
    result = guard(terminated, 1.0)
    def terminated_and_slow():
        os.kill(os.getpid(), signal.SIGTERM)
        spin()
    try:
        guard(terminated_and_slow, 0.01)
    except DeadlinePassedError:
        passed += 1
    await asyncio.wait_for(stopping.wait(), 5)
    ticking.cancel()
    print(passed, result, ticks > 10)

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


def test_a_workers_event_loop_goes_on() -> None:
    """Under uvloop the alarm interrupts synchronous work, the loop's other tasks go on, and SIGTERM still gets through."""
    run = subprocess.run([sys.executable, "-c", IN_A_LOOP], capture_output=True, text=True, timeout=50, check=False)
    assert (run.stdout.strip(), run.stderr) == ("11 went on True", "")


async def test_a_section_in_a_coroutine_leaves_other_tasks_alone(guard: AlarmGuard) -> None:
    """A task that waits while another's work is interrupted is not."""
    waited = asyncio.create_task(asyncio.sleep(0.05, "waited"))
    await asyncio.sleep(0)
    took(guard, spin)
    assert await waited == "waited"
