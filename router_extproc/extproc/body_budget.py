"""Bounds the request bodies that one worker holds: what does not fit waits before it is read from the socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BodyBudget:
    """``limit`` bytes, given out first come first served. A body larger than the limit is admitted alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def must_wait(self, size: int) -> bool:
        """Whether ``hold`` would have to wait now."""
        return bool(self._waiting) or self.held + min(size, self.limit) > self.limit

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Holds ``size`` bytes for the time of the block."""
        size = min(size, self.limit)
        if self.must_wait(size):
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, place))
            try:
                await place
            except asyncio.CancelledError:
                # A place may have been granted in the same turn of the loop in which the caller gave up.
                if place.done() and not place.cancelled():
                    self._release(size)
                else:
                    self._waiting = deque(entry for entry in self._waiting if entry[1] is not place)
                raise
        else:
            self.held += size
        try:
            yield
        finally:
            self._release(size)

    def _release(self, size: int) -> None:
        self.held -= size
        while self._waiting and self.held + self._waiting[0][0] <= self.limit:
            next_size, place = self._waiting.popleft()
            if not place.done():
                self.held += next_size
                place.set_result(None)
