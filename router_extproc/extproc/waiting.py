"""The waiting room: requests for which nothing has room now, but will have soon.

Rules of this file
- Nobody waits uninvited: whoever waits knows until when, and there are no more than so many at once.
- When the time has come they go one by one, interactive work before batch, each kind in the order in which it came.
- A full room sends batch work away before it turns interactive work down.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from router_extproc.caller import INTERACTIVE

# By so much batch work comes later than what was told to come at the same time.
_BEHIND_SECONDS = 0.01


class NoRoomError(Exception):
    """The room is full, or the place was needed for more urgent work."""


class _Waiter:
    """One place; ``turn`` is done when it is this one's turn, or with an error when its place is needed."""

    def __init__(self, lane: str, arrival: int, *, is_batch: bool) -> None:
        self.lane = lane
        self.is_batch = is_batch
        self.rank = (is_batch, arrival)
        self.is_due = False
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class WaitingRoom:
    """Everybody who waits in this process. A ``lane`` is what they wait for: the name of a budget."""

    def __init__(self) -> None:
        self._waiters: list[_Waiter] = []
        self._served: dict[str, _Waiter] = {}
        self._arrivals = itertools.count()

    def __len__(self) -> int:
        return len(self._waiters)

    def taken_before(self, priority: str, lanes: Iterable[str]) -> str | None:
        """One of these lanes in which more urgent work waits already; None where there is none."""
        if priority == INTERACTIVE or not self._waiters:
            return None
        taken = {waiter.lane for waiter in self._waiters if not waiter.is_batch}
        return next((lane for lane in lanes if lane in taken), None)

    @asynccontextmanager
    async def turn(self, lane: str, priority: str, seconds: float, most: int) -> AsyncIterator[None]:
        """Waits ``seconds``, then for whoever goes first; the block is this one's turn. ``most`` may wait at once.

        Raises:
            NoRoomError: see there.
        """
        is_batch = priority != INTERACTIVE
        waiter = _Waiter(lane, next(self._arrivals), is_batch=is_batch)
        self._enter(waiter, most)
        delay = max(0.0, seconds) + (_BEHIND_SECONDS if is_batch else 0.0)
        timer = asyncio.get_running_loop().call_later(delay, self._come_due, waiter)
        try:
            await waiter.turn
            yield
        finally:
            timer.cancel()
            self._leave(waiter)

    def _enter(self, waiter: _Waiter, most: int) -> None:
        if len(self._waiters) >= most:
            last = max(self._waiters, key=lambda other: other.rank, default=None)
            if last is None or not last.is_batch or waiter.is_batch or last.turn.done():
                raise NoRoomError
            self._waiters.remove(last)
            last.turn.set_exception(NoRoomError())
        self._waiters.append(waiter)

    def _come_due(self, waiter: _Waiter) -> None:
        waiter.is_due = True
        self._serve(waiter.lane)

    def _serve(self, lane: str) -> None:
        """Gives the next one its turn, unless somebody has it. Batch work has none while interactive work waits for its own."""
        if lane in self._served:
            return
        here = [waiter for waiter in self._waiters if waiter.lane == lane and not waiter.turn.done()]
        is_interactive_here = any(not waiter.is_batch for waiter in here)
        due = [waiter for waiter in here if waiter.is_due and not (waiter.is_batch and is_interactive_here)]
        if due:
            first = min(due, key=lambda waiter: waiter.rank)
            self._served[lane] = first
            first.turn.set_result(None)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if self._served.get(waiter.lane) is waiter:
            del self._served[waiter.lane]
        self._serve(waiter.lane)
