"""Measures what is promised in seconds on machines that stand still now and then."""

from __future__ import annotations

import threading
import time
from typing import Self

_STEP_SECONDS = 0.01
# So much later than it wished may anybody wake up on a machine that is only busy.
_LATE_SECONDS = 0.03


class Stopwatch:
    """The time that a block takes, but for what the machine lost: while it stood still nobody could have kept a promise.

    A thread that does nothing but sleep notices: by how much too late it wakes up is not counted.
    """

    def __init__(self) -> None:
        self.lost = 0.0
        self._began = self._ended = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """What it took, once the block is over."""
        return self._ended - self._began - self.lost

    def _look(self) -> None:
        before = time.monotonic()
        while not self._over.wait(_STEP_SECONDS):
            now = time.monotonic()
            late = now - before - _STEP_SECONDS
            self.lost += late if late > _LATE_SECONDS else 0.0
            before = now


if __name__ == "__main__":
    with Stopwatch() as watch:
        print("running", flush=True)  # noqa: T201 - this is a program for the test of the watch
        input()
    print(watch.lost, watch.seconds)  # noqa: T201
