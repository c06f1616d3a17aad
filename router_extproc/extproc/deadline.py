"""A deadline that ends synchronous work: analysis that takes too long must not keep a request waiting, or the worker.

Work in the event loop's own thread cannot be timed out by the loop. The kernel's timer can: its signal interrupts Python
code between two instructions, and system calls that wait.

Rules of this file
- Only code that runs below ``_guarded`` is ever interrupted, whenever the signal comes: its handler looks at the stack.
  So no alarm can hit what comes after, and none has to be switched off in time.
- The alarm repeats until the work has ended, because something may swallow the first: a finaliser, a careless ``except``.
- Time for which the machine gave the core to others is not the work's: it gets its own time, and waits for the core at most
  ``PATIENCE`` times as long. Work that waits for anything else has only its time.
- C code that neither returns nor looks for signals is not interrupted; what analysis gives to C is bounded in size.
"""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol, TypeVar

REPEAT_SECONDS = 0.005
PATIENCE = 10
# Of the time that has passed, the work had at least this share of the core unless somebody else had it.
_UNDISTURBED = 0.8

_Result = TypeVar("_Result")


class DeadlinePassedError(Exception):
    """The work did not end in time; nothing of it is left to wait for."""


class Guard(Protocol):
    """Runs work under a time limit."""

    def __call__(self, work: Callable[[], _Result], seconds: float) -> _Result:
        """The result of ``work``.

        Raises:
            DeadlinePassedError: it did not come within ``seconds``.
        """


def unguarded(work: Callable[[], _Result], seconds: float) -> _Result:  # noqa: ARG001 - a ``Guard``
    """No limit: where there is time, and in threads that no signal reaches."""
    return work()


class AlarmGuard:
    """A ``Guard`` by SIGALRM, which belongs to it from then on. Only for the main thread, where signals are handled."""

    def __init__(self) -> None:
        """Takes the signal.

        Raises:
            ValueError: this is not the main thread.
        """
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        self._thread = threading.get_ident()
        self._is_running = False
        self._seconds = self._began = self._worked = 0.0
        self._waits = 0

    def __call__(self, work: Callable[[], _Result], seconds: float) -> _Result:
        """The result of ``work``. Within work that is guarded already the outer limit holds.

        Raises:
            DeadlinePassedError: it did not come within ``seconds``.
            RuntimeError: this is not the thread that the guard was made in.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError("only the main thread can be interrupted")
        if self._is_running:
            return work()
        self._is_running = True
        self._seconds, self._began, self._worked = seconds, time.monotonic(), time.thread_time()
        self._waits = _waits()
        signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_SECONDS)
        try:
            return _guarded(work)
        except _Interruption:
            raise DeadlinePassedError(f"not done within {seconds * 1_000:g} ms") from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_running = False

    def close(self) -> None:
        """Gives the signal back to whoever had it before."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _interrupt(self, _: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code is _GUARDED:
                if self._is_robbed():
                    return
                raise _Interruption
            frame = frame.f_back

    def _is_robbed(self) -> bool:
        """Whether the work would have ended, or gone further, had others not had the core: it never waited by itself."""
        worked, passed = time.thread_time() - self._worked, time.monotonic() - self._began
        return worked < _UNDISTURBED * self._seconds and passed < PATIENCE * self._seconds and _waits() == self._waits


class _Interruption(BaseException):
    """Unwinds the work; no ``except Exception`` of the work may take it for an error of its own."""


def _waits() -> int:
    """How often this thread has waited for something else than the core."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _guarded(work: Callable[[], _Result]) -> _Result:
    return work()


_GUARDED = _guarded.__code__
